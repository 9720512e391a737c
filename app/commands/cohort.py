"""cohort: import a labelled cohort: which studies, with which labels, on which side of the split."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.base import ConsoleContext, Environment, require_existing, say

if TYPE_CHECKING:
    from trainer.cohorts.manifest import SplitShares

NAME = "cohort"
SUMMARY = "import a labelled cohort (RSNA 2019, CQ500, CT-ICH, an own table, phantoms) and split it by patient"
ORDER = 45
SIDES = "TRAIN,VALIDATE,CALIBRATE,TEST"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source", type=Path, metavar="IMPORT_PATH", help="the table of labels, or the folder that holds it"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="for cohort.json, labels.csv and the report; a cohort that is there is brought up to date, and no patient "
        "changes sides",
    )
    parser.add_argument("--kind", metavar="KIND", help="the importer (default: recognised by the table's content)")
    parser.add_argument(
        "--shares",
        type=_shares,
        metavar=SIDES,
        help="shares of the patients, for a new cohort (default: 0.7,0.1,0.1,0.1)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of text")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Import, write, and print the report."""
    require_existing(arguments.source, "cohort")
    from app.operations.files import require_folder
    from trainer.cohorts.build import import_cohort

    imported = import_cohort(
        arguments.source,
        require_folder(arguments.out),
        environment.catalogue,
        kind=arguments.kind,
        shares=_split(arguments.shares),
        context=ConsoleContext(),
    )
    print(json.dumps(imported.report, indent=2) if arguments.json else imported.text.rstrip())
    say(f"cohort, labels and report written: {arguments.out}")
    return 0


def _split(shares: tuple[float, ...] | None) -> SplitShares | None:
    if shares is None:
        return None
    from pydantic import ValidationError

    from engine.config import describe_validation
    from engine.errors import ConfigError
    from trainer.cohorts.manifest import SplitShares

    try:
        return SplitShares.of(shares)
    except ValidationError as error:
        raise ConfigError(
            f"The shares {', '.join(map(str, shares))} are refused: {describe_validation(error)}.",
            hint=f"Give four shares that add up to 1, as {SIDES}.",
            code="cohort.shares",
        ) from error


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(float(part) for part in text.split(","))
    if len(shares) != len(SIDES.split(",")):
        raise argparse.ArgumentTypeError(f"must be {SIDES}")
    return shares
