"""shots: pictures of every screen, from the demo studies."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from app.commands.base import Environment

NAME = "shots"
SUMMARY = "write pictures of every screen, from the demo studies"
ORDER = 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Hand over to the window's side, in a home of its own: a picture must never show the user's own patients."""
    from app.operations.files import require_folder

    out = require_folder(arguments.out)
    with tempfile.TemporaryDirectory(prefix="head-ct-review-", ignore_cleanup_errors=True) as home:
        return environment.programs.shots(Environment(Path(home), environment.programs), out)
