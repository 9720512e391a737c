"""evaluate: measure a model, or two, on own labelled studies."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands._computing import add_computing, chosen_computing, chosen_device
from app.commands.base import ConsoleContext, Environment, require_existing, say

NAME = "evaluate"
SUMMARY = "measure a model on own labelled studies, and against another one"
ORDER = 55


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="NAME|PATH", help="name, digest or path")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="TABLE.csv",
        help="CSV: a column path (relative to the table), 1, 0 or nothing in a column per finding key, and if studies "
        "share patients a column patient",
    )
    parser.add_argument("--against", metavar="NAME|PATH", help="a second model; differences are it minus the first")
    parser.add_argument(
        "--attributes",
        type=Path,
        metavar="TABLE.csv",
        help="CSV: a column path, and a column per attribute to part the studies by, such as scanner",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for metrics.json and two tables")
    add_computing(parser)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Run the models here, and hand what they said to the trainer's statistics."""
    labels = require_existing(arguments.labels, "table of labels")
    attributes = arguments.attributes and require_existing(arguments.attributes, "table of attributes")
    from app.operations.evaluate_models import EvaluationRequest, require_no_evaluation, score_studies
    from app.operations.files import require_folder
    from app.operations.models import open_library, package_path

    out = require_folder(arguments.out)
    require_no_evaluation(out)
    library = open_library(environment.paths)
    names = [arguments.model] if arguments.against is None else [arguments.model, arguments.against]
    request = EvaluationRequest(
        packages=tuple(package_path(library, name) for name in names),
        labels=labels,
        attributes=attributes,
        device=chosen_device(arguments, environment),
        how=chosen_computing(arguments, environment),
    )
    scored, skipped = score_studies(request, environment.catalogue, environment.registry, ConsoleContext())
    for study in skipped:
        say(f"not used, line {study.line}, {study.path} [{study.code}]: {study.reason}")
    print(environment.programs.evaluate(scored, out))
    return 0
