"""train: train a model from scratch, as a TOML file says."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import ConsoleContext, Environment, require_existing, say

NAME = "train"
SUMMARY = "train a model from scratch and write it as a package"
ORDER = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.toml", help="the run, such as resources/training/phantom_demo.toml"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for package, curve, checkpoints")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in DIR, and refuse to begin anew"
    )


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Hand over to the trainer, in this process."""
    require_existing(arguments.config, "configuration")
    from app.operations.files import require_folder

    require_folder(arguments.out)
    train, backbones = environment.programs.train, environment.paths.backbones
    say(train(arguments.config, arguments.out, ConsoleContext(), backbones, arguments.resume))
    return 0
