"""Dispatch: the window, a command, or a worker process. Everything heavy is imported where it is used."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from app.commands.base import Environment


def main(argv: Sequence[str]) -> int:
    """Run what the arguments name; the exit code."""
    if argv[:2] == ["--worker", "trainer"]:
        return _trainer_worker(argv[2:])
    from app.cli import main as run_command
    from app.commands.base import Programs

    return run_command(argv, Programs(window=_window, trainer=_trainer))


def _window(environment: Environment, arguments: argparse.Namespace) -> int:
    from app.composition import run_window

    return run_window(environment, arguments)


def _trainer(arguments: Sequence[str]) -> int:
    from trainer.__main__ import main as train

    return train(list(arguments))


def _trainer_worker(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: main.py --worker trainer REQUEST_FILE", file=sys.stderr)
        return 2
    from trainer.__main__ import worker_main

    return worker_main(Path(arguments[0]))


if __name__ == "__main__":
    multiprocessing.freeze_support()
    sys.exit(main(sys.argv[1:]))
