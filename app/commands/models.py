"""models: the library of model packages."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from app.commands import _models_backbones, _models_derived
from app.commands.base import Environment, say

NAME = "models"
SUMMARY = "list, show, verify, install, activate, calibrate model packages, and bring backbones"
ORDER = 80
AREAS = (_models_derived, _models_backbones)


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
    for area in AREAS:
        area.add_actions(actions)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Do what the sub-command says."""
    own = {name: action for area in AREAS for name, action in area.ACTIONS.items()}
    return (ACTIONS | own)[arguments.action](arguments, environment)


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


ACTIONS = {
    "list": _list,
    "show": _show,
    "verify": _verify,
    "install": _install,
    "activate": _activate,
    "rollback": _rollback,
}
