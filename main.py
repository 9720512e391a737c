"""Dispatch: the window, a command, or a worker process. Everything heavy is imported where it is used."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from app.commands.base import Environment
    from engine.inference.scored import ScoredStudies
    from engine.progress import Context


def main(argv: Sequence[str]) -> int:
    """Run what the arguments name; the exit code."""
    from engine.inference.threads import use_large_pages, wait_passively

    wait_passively()
    use_large_pages()
    if argv[:2] == ["--worker", "trainer"]:
        return _trainer_worker(argv[2:])
    from app.cli import main as run_command
    from app.commands.base import Programs

    programs = Programs(
        window=_window, shots=_shots, train=_train, retrain=_retrain, evaluate=_evaluate, benchmark=_benchmark
    )
    return run_command(argv, programs)


def _window(environment: Environment, arguments: argparse.Namespace) -> int:
    from app.window import run_window

    return run_window(environment, arguments)


def _shots(environment: Environment, out: Path) -> int:
    from app.window import take_shots

    return take_shots(environment, out)


def _train(config: Path, out: Path, context: Context, backbones: Path, resume: bool) -> str:
    from trainer.__main__ import train_command

    return train_command(config, out, context, backbones, resume).text


def _retrain(
    store: str, base: Path, out: Path, reference: Path, context: Context, backbones: Path, cohorts: Sequence[Path]
) -> str:
    from trainer.__main__ import retrain_command

    return retrain_command(store, base, out, reference, context, backbones=backbones, cohorts=cohorts).text


def _evaluate(scored: ScoredStudies, out: Path) -> str:
    from trainer.evaluation_report import evaluate_to_folder

    return evaluate_to_folder(scored, out)


def _benchmark(
    config: Path, out: Path, context: Context, backbones: Path, names: Mapping[str, str], tables_only: bool
) -> str:
    from trainer.benchmark.command import benchmark_to_folder

    return benchmark_to_folder(config, out, context, backbones, names, tables_only)


def _trainer_worker(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: main.py --worker trainer REQUEST_FILE", file=sys.stderr)
        return 2
    from trainer.__main__ import worker_main

    return worker_main(Path(arguments[0]))


if __name__ == "__main__":
    multiprocessing.freeze_support()
    sys.exit(main(sys.argv[1:]))
