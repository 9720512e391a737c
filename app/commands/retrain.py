"""retrain: fine-tune a model with the feedback of a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import ConsoleContext, Environment, require_existing, say
from app.commands.infer import model_path

NAME = "retrain"
SUMMARY = "fine-tune a model with readers' feedback and write a candidate package"
ORDER = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--store", type=Path, required=True, metavar="FILE", help="the store; it is only read")
    parser.add_argument("--base", required=True, metavar="MODEL", help="name or path of the parent package")
    parser.add_argument(
        "--reference", type=Path, metavar="FILE", help="the parent's reference cohort (default: looked for beside it)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for candidate and comparison")
    parser.add_argument(
        "--cohort",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="an imported cohort: feedback on its test part is not used (may stand several times)",
    )


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Hand over to the trainer, in this process."""
    require_existing(arguments.store, "store")
    for cohort in arguments.cohort:
        require_existing(cohort, "cohort")
    from app.operations.files import require_folder
    from app.operations.retraining import find_reference

    base = model_path(environment, arguments.base)
    paths = environment.paths
    reference = arguments.reference or find_reference(base, (base.parent, paths.resources, paths.models, paths.runs))
    out = require_folder(arguments.out)
    say(
        environment.programs.retrain(
            str(arguments.store),
            base,
            out,
            reference,
            ConsoleContext(),
            environment.paths.backbones,
            arguments.cohort,
        )
    )
    return 0
