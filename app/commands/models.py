"""models: the library of model packages."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from app.commands.base import Environment, say
from engine.inference.compute import DEVICES

NAME = "models"
SUMMARY = "list, show, verify, install, activate, calibrate model packages, or go back to the one before"
ORDER = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list installed packages; * marks the active one")
    listing.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    for name, text in (
        ("show", "print a package's manifest, notice and measured results"),
        ("verify", "check every hash, key and tensor of a package"),
        ("activate", "use a package from now on"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("model", metavar="NAME|PATH", help="name, digest or path")
        if name == "show":
            action.add_argument("--text", action="store_true", help="a table for people instead of JSON")
    actions.add_parser("install", help="verify a package and add it").add_argument(
        "path", type=Path, metavar="PATH", help="folder or ZIP"
    )
    actions.add_parser("rollback", help="go back to the model that was active before")
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
    parser.add_argument("--device", choices=DEVICES, help="default: as in the settings, else auto")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Do what the sub-command says."""
    return ACTIONS[arguments.action](arguments, environment)


def _list(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.models import open_library

    library = open_library(environment.paths)
    entries = library.list()
    for package in library.broken():
        say(f"{package.path} cannot be used [{package.error.code}]: {package.error.message}")
    if arguments.json:
        print(json.dumps([_entry(entry) for entry in entries], indent=2, ensure_ascii=False))
        return 0
    for entry in entries:
        origin = "bundled" if entry.bundled else "installed"
        print(f"{'*' if entry.active else ' '} {entry.name}  {entry.digest[:12]}  {origin}  {entry.notice}")
    if not entries:
        say("No model package is installed; install one with models install PATH.")
    return 0


def _entry(entry: object) -> dict[str, object]:
    names = ("name", "digest", "notice", "active", "bundled")
    return {**{name: getattr(entry, name) for name in names}, "path": str(getattr(entry, "path"))}  # noqa: B009


def _show(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.models import describe_package, open_library, package_lines, package_path

    path = package_path(open_library(environment.paths), arguments.model)
    description = describe_package(path, environment.registry)
    print("\n".join(package_lines(description)) if arguments.text else json.dumps(description, indent=2))
    return 0


def _verify(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.models import open_library, package_path
    from engine.models.package import verify_package

    path = package_path(open_library(environment.paths), arguments.model)
    manifest = verify_package(path, known_keys=environment.catalogue)
    print(f"{path}: whole and unchanged; {manifest.name} {manifest.version}, {len(manifest.finding_keys)} findings")
    return 0


def _install(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.commands.base import require_existing
    from app.operations.models import open_library

    entry = open_library(environment.paths).install(require_existing(arguments.path, "package"))
    print(f"installed {entry.name} {entry.digest[:12]}; activate it with: models activate {entry.digest[:12]}")
    return 0


def _activate(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.models import open_library

    entry = open_library(environment.paths).activate(arguments.model)
    print(f"active: {entry.name} {entry.digest[:12]} ({entry.notice})")
    return 0


def _rollback(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.models import open_library

    entry = open_library(environment.paths).rollback()
    print(f"active again: {entry.name} {entry.digest[:12]} ({entry.notice})")
    return 0


def _calibrate(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.commands.base import ConsoleContext, require_existing
    from app.operations.calibrate_model import CalibrationRequest, calibrate_model
    from app.operations.models import open_library, package_path
    from app.settings import computing

    request = CalibrationRequest(
        package=package_path(open_library(environment.paths), arguments.model),
        labels=require_existing(arguments.labels, "table of labels"),
        out=arguments.out,
        method=arguments.method,
        rule=arguments.rule,
        target=arguments.target,
        device=arguments.device or environment.settings.device,
        how=computing(environment.paths, environment.settings),
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
    "list": _list,
    "show": _show,
    "verify": _verify,
    "install": _install,
    "activate": _activate,
    "rollback": _rollback,
    "calibrate": _calibrate,
    "params": _params,
    "export-adapter": _export_adapter,
    "import-adapter": _import_adapter,
}
