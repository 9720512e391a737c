"""phantom: write synthetic head CT studies as DICOM, with their true labels and masks."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import ConsoleContext, Environment, say

NAME = "phantom"
SUMMARY = "write synthetic head CT studies as DICOM, with true labels and masks"
ORDER = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the studies")
    parser.add_argument("--studies", type=_count, required=True, metavar="N", help="how many")
    parser.add_argument("--seed", type=_seed, required=True, metavar="S", help="the same seed gives the same studies")
    parser.add_argument("--matrix", type=_count, metavar="PX", help="rows and columns of a slice")
    parser.add_argument("--slices", type=_count, metavar="N", help="slices of a study")
    parser.add_argument(
        "--anatomy", choices=("plain", "varied"), help="varied: heads of all sizes, ages and poses (default: plain)"
    )
    parser.add_argument(
        "--scanner",
        choices=("plain", "varied"),
        help="varied: slices, tilt, kernel, noise, artefacts and headers are drawn for each study (default: plain)",
    )
    parser.set_defaults(usage_error=parser.error)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Generate and write."""
    if arguments.scanner == "varied" and (arguments.matrix or arguments.slices):
        arguments.usage_error("--matrix and --slices go with a plain scanner; a varied one draws both")
    from pydantic import ValidationError

    from app.operations.files import require_folder
    from app.operations.write_phantoms import write_phantoms
    from engine.config import describe_validation
    from engine.errors import ConfigError
    from engine.phantom.spec import PhantomSpec

    wanted = {
        "matrix": arguments.matrix,
        "n_slices": arguments.slices,
        "anatomy": arguments.anatomy,
        "scanner": arguments.scanner,
    }
    try:
        spec = PhantomSpec(**{key: value for key, value in wanted.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(
            f"Such a phantom cannot be made: {describe_validation(error)}.",
            hint="Choose other sizes.",
            code="phantom.spec",
        ) from error
    write_phantoms(require_folder(arguments.out), arguments.studies, arguments.seed, spec, ConsoleContext())
    say(f"{arguments.studies} studies, labels.csv and masks written: {arguments.out}")
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value
