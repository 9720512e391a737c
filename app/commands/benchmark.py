"""benchmark: backbones with and without MoLRE on one cohort, as the paper's Table 2."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import ConsoleContext, Environment, require_existing

NAME = "benchmark"
SUMMARY = "train backbones with and without MoLRE on one cohort, and compare them"
ORDER = 57


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.toml", help="such as resources/training/benchmark_frozen.toml"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for cohort, runs, tables and figures; what is finished there is not repeated",
    )
    parser.add_argument(
        "--tables-only", action="store_true", help="run nothing: tables and figures of the runs that are finished"
    )


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Hand over to the trainer, in this process."""
    require_existing(arguments.config, "configuration")
    from app.operations.files import require_folder

    require_folder(arguments.out)
    names = {key: finding.label for key, finding in environment.catalogue.items()}
    text = environment.programs.benchmark(
        arguments.config, arguments.out, ConsoleContext(), environment.paths.backbones, names, arguments.tables_only
    )
    print(text)
    return 0
