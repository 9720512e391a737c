"""retrain: fine-tune a model with the feedback of a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import Environment, require_existing
from app.commands.infer import model_path

NAME = "retrain"
SUMMARY = "fine-tune a model with readers' feedback and write a candidate package"
ORDER = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--store", type=Path, required=True, metavar="FILE", help="the store; it is only read")
    parser.add_argument("--base", required=True, metavar="MODEL", help="name or path of the parent package")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for candidate and comparison")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Hand over to the trainer, in this process."""
    require_existing(arguments.store, "store")
    from app.operations.files import require_folder

    base = model_path(environment, arguments.base)
    require_folder(arguments.out)
    return environment.programs.trainer(
        ["retrain", "--store", str(arguments.store), "--base", str(base), "--out", str(arguments.out)]
    )
