"""models calibrate, params, export-adapter, import-adapter: packages made from packages, and their numbers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from app.commands._computing import add_computing, chosen_computing, chosen_device
from app.commands.base import Environment, say


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the sub-commands."""
    _add_adapters(actions)
    _add_calibrate(actions.add_parser("calibrate", help="fit a package on own labelled studies, into a new package"))


def _add_adapters(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    params = actions.add_parser("params", help="count the paper's models on shapes alone, beside its Table 2")
    params.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    export = actions.add_parser("export-adapter", help="write a package's LoRA adapters as a PEFT folder, MoLRE beside")
    export.add_argument("model", metavar="NAME|PATH", help="name, digest or path")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder; must not exist")
    read = actions.add_parser("import-adapter", help="put the adapters of a PEFT folder on a package, as a new package")
    read.add_argument("folder", type=Path, metavar="DIR", help="adapter_config.json and adapter_model.safetensors")
    read.add_argument("--base", required=True, metavar="NAME|PATH", help="the package that gives everything else")
    read.add_argument("--name", metavar="NAME", help="of the new package (default: the base's)")
    read.add_argument("--out", type=Path, required=True, metavar="PACKAGE", help="the new package; must not exist")


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME|PATH", help="name, digest or path")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="TABLE.csv",
        help="CSV: a column path (relative to the table), and 1, 0 or nothing in a column per finding key",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new package; must not exist")
    parser.add_argument("--method", choices=("platt", "temperature"), default="platt", help="default: platt")
    parser.add_argument(
        "--rule",
        choices=("youden", "sensitivity", "specificity"),
        default="youden",
        help="of the operating points: Youden's index, or reach --target (default: youden)",
    )
    parser.add_argument("--target", type=float, metavar="X", help="sensitivity or specificity to reach, such as 0.9")
    add_computing(parser)


def _calibrate(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.commands.base import ConsoleContext, require_existing
    from app.operations.calibrate_model import CalibrationRequest, calibrate_model
    from app.operations.models import open_library, package_path

    request = CalibrationRequest(
        package=package_path(open_library(environment.paths), arguments.model),
        labels=require_existing(arguments.labels, "table of labels"),
        out=arguments.out,
        method=arguments.method,
        rule=arguments.rule,
        target=arguments.target,
        device=chosen_device(arguments, environment),
        how=chosen_computing(arguments, environment),
    )
    outcome = calibrate_model(request, environment.catalogue, environment.registry, ConsoleContext())
    for study in outcome.skipped:
        say(f"not used, line {study.line}, {study.path} [{study.code}]: {study.reason}")
    report = outcome.report
    print(
        f"calibrated {report.n_calibrated} findings on {report.fitted.n_studies} studies ({len(outcome.skipped)} not "
        f"used; {len(report.kept)} findings left as they were): {arguments.out} {outcome.digest[:12]}"
    )
    say(f"Look at it with: models show --text {arguments.out}; add it with: models install {arguments.out}")
    return 0


def _params(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.model_parameters import parameter_document, parameter_lines
    from engine.models.parameters import count_parameters

    counts = count_parameters()
    if arguments.json:
        print(json.dumps(parameter_document(counts), indent=2))
    else:
        print("\n".join(parameter_lines(counts)))
    return 0


def _export_adapter(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.model_adapters import export_adapter
    from app.operations.models import open_library, package_path

    package = package_path(open_library(environment.paths), arguments.model)
    export_adapter(package, arguments.out, environment.registry)
    print(f"written: {arguments.out}; PEFT loads it onto the plain network")
    return 0


def _import_adapter(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.commands.base import require_existing
    from app.operations.model_adapters import import_adapter
    from app.operations.models import open_library, package_path

    folder = require_existing(arguments.folder, "adapter folder")
    base = package_path(open_library(environment.paths), arguments.base)
    digest = import_adapter(base, folder, arguments.out, arguments.name, environment.registry)
    print(f"written: {arguments.out} {digest[:12]}; it is neither evaluated nor calibrated")
    say(f"Calibrate it with models calibrate, or add it as it is with: models install {arguments.out}")
    return 0


ACTIONS = {
    "calibrate": _calibrate,
    "params": _params,
    "export-adapter": _export_adapter,
    "import-adapter": _import_adapter,
}
