"""shots: pictures of every screen, from the demo studies."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import Environment

NAME = "shots"
SUMMARY = "write pictures of every screen, from the demo studies"
ORDER = 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Hand over to the window's side."""
    from app.operations.files import require_folder

    return environment.programs.shots(environment, require_folder(arguments.out))
