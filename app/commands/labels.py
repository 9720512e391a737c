"""labels: from radiology reports to a table of labels, by rules on this machine or by the user's language model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.base import ConsoleContext, Environment, require_existing, say

if TYPE_CHECKING:
    from engine.findings.catalogue import Catalogue
    from trainer.labels.values import Labeller, LabelRun

NAME = "labels"
SUMMARY = "label studies from their radiology reports: 75 findings, present, absent or unknown"
ORDER = 65


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "reports",
        type=Path,
        metavar="REPORTS",
        help="CSV with path and report (or impression), or a folder of .txt files",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="TABLE.csv", help="path and a column a finding: 1, 0, empty"
    )
    parser.add_argument("--compare", type=Path, metavar="MANUAL.csv", help="print the agreement with manual labels")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--endpoint", metavar="URL", help="ask this OpenAI-compatible endpoint instead of the rules")
    parser.add_argument("--model", metavar="NAME", help="with --endpoint: the model's name there")
    parser.add_argument(
        "--key-variable", metavar="VAR", help="with --endpoint: the environment variable that holds the key"
    )
    parser.add_argument(
        "--endpoint-config",
        type=Path,
        metavar="FILE.toml",
        help="url, model, prices and the rest; the options above win",
    )
    parser.add_argument(
        "--consent-remote",
        action="store_true",
        help="I may and will send patient text to an endpoint on another machine; refused without this",
    )


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Label, write the table, compare."""
    from app.errors import EXIT_DONE, EXIT_PARTIAL
    from app.operations.files import require_apart, require_output
    from engine.findings.label_table import read_label_table
    from trainer.labels.tables import read_reports, write_labels

    inputs = [require_existing(arguments.reports, "reports")]
    inputs += [require_existing(path, "file") for path in (arguments.compare, arguments.endpoint_config) if path]
    require_apart([require_output(arguments.out)], inputs)
    catalogue = environment.catalogue
    labeller = _labeller(arguments, environment, catalogue)
    reports = read_reports(arguments.reports)
    if arguments.compare:
        read_label_table(arguments.compare, catalogue)  # a bad table is said before the work, not after it
    found = labeller.label(reports, ConsoleContext())
    write_labels(arguments.out, reports, found.labels, tuple(catalogue))
    compared = None
    if arguments.compare:
        from trainer.labels.agreement import compare_with_table

        compared = compare_with_table(arguments.compare, reports, found.labels, catalogue)
    _tell(arguments, found, compared)
    return EXIT_PARTIAL if found.failed_batches else EXIT_DONE


def _labeller(arguments: argparse.Namespace, environment: Environment, catalogue: Catalogue) -> Labeller:
    given = {"url": arguments.endpoint, "model": arguments.model, "key_variable": arguments.key_variable}
    given = {name: value for name, value in given.items() if value is not None}
    if not given and arguments.endpoint_config is None:
        from trainer.labels.lexicon import load_lexicon
        from trainer.labels.rules import RuleLabeller

        return RuleLabeller(catalogue, load_lexicon(environment.paths.report_lexicon_file, catalogue))
    from trainer.labels.config import read_endpoint_config
    from trainer.labels.endpoint import EndpointLabeller

    config = read_endpoint_config(arguments.endpoint_config, given)
    labeller = EndpointLabeller(
        catalogue, config, environment.paths.report_labels, consent_remote=arguments.consent_remote
    )
    if labeller.endpoint.leaves_machine:
        say(f"The reports' impressions leave this machine, to {labeller.endpoint.host}, as --consent-remote states.")
    return labeller


def _tell(arguments: argparse.Namespace, found: LabelRun, compared: object) -> None:
    from dataclasses import asdict

    from trainer.labels.agreement import Agreement, agreement_lines

    agreement = compared if isinstance(compared, Agreement) else None
    if arguments.json:
        summary = {key: value for key, value in asdict(found).items() if key != "labels"}
        document = {"reports": len(found.labels), **summary, "agreement": agreement and asdict(agreement)}
        print(json.dumps(document, indent=2))
        return
    for line in (*_summary(found), *(agreement_lines(agreement) if agreement else ())):
        print(line)
    say(f"labels written: {arguments.out}")


def _summary(found: LabelRun) -> list[str]:
    values = [value for labels in found.labels for value in labels.values()]
    counts = f"{values.count(1)} present, {values.count(0)} absent, {values.count(-1)} unknown"
    lines = [f"{len(found.labels)} reports: {counts}; {found.spent.seconds_s:.1f} s"]
    if found.without_impression:
        lines.append(f"{found.without_impression} reports have no impression: all of their labels are unknown")
    spent = found.spent
    if spent.requests or spent.cached:
        cost = "no price configured" if spent.cost is None else f"cost {spent.cost:.4f} {spent.currency}"
        bound = f" (at least: {spent.uncounted} answers were not counted)" if spent.uncounted else ""
        lines.append(
            f"{spent.requests} requests, {spent.cached} answers from the cache; "
            f"{spent.input_tokens} + {spent.output_tokens} tokens, {cost}{bound}"
        )
    if found.failed_batches:
        n_batches, n_reports = sum(found.failed_batches.values()), len(found.failed_batches)
        lines.append(
            f"{n_batches} batches of {n_reports} reports got no usable answer; their labels are unknown, and asked for "
            "again by the next run"
        )
    return lines
