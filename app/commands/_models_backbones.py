"""models convert, backbones, remove-backbone: the weights that the user brings."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.base import ConsoleContext, Environment, require_existing, say

if TYPE_CHECKING:
    from engine.models.backbones.convert import Terms
    from engine.models.backbones.spec import BackboneEntry

POOLINGS = ("token", "avg", "own")


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the sub-commands."""
    _add_convert(actions.add_parser("convert", help="take the published weights of a backbone into the program"))
    listing = actions.add_parser("backbones", help="list the backbones and the weights that are here for them")
    listing.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    remove = actions.add_parser("remove-backbone", help="delete stored weights")
    remove.add_argument("digest", metavar="DIGEST", help="the start of the weights' digest")
    remove.add_argument("--force", action="store_true", help="even if an installed package needs them")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", type=Path, nargs="?", metavar="FILE", help="safetensors, its index, .pth or .pt")
    source.add_argument("--download", action="store_true", help="timm:NAME only: get the file through timm")
    parser.add_argument("--backbone", required=True, metavar="NAME", help="as models backbones lists it, or timm:NAME")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config.json published beside the weights")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for backbones (default: the program's own)")
    parser.add_argument("--pooled", choices=POOLINGS, help="timm:NAME only: which feature; own is what it does itself")
    parser.add_argument("--licence", metavar="TEXT", help="of the weights, if it is not the one stated")
    parser.add_argument("--origin", metavar="TEXT", help="where the weights come from, if not from where is stated")
    parser.add_argument("--accept", action="store_true", help="accept the licence without being asked")


def _convert(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.backbones import Conversion, already_stored, convert
    from engine.models.backbones.registry import open_registry

    registry = open_registry(arguments.out) if arguments.out is not None else environment.registry
    entry = registry.entry(arguments.backbone)
    conversion = Conversion(_file(arguments), arguments.backbone, arguments.config, arguments.pooled)
    context = ConsoleContext()
    stored = already_stored(conversion, registry, context)
    if stored is None:
        stored = convert(conversion, registry, _terms(arguments, entry), context)
    else:
        say("These weights are stored already; their licence was accepted then.")
    record = stored.record
    print(f"{record.name} {record.weights_digest[:12]}  {record.n_parameters} parameters  {stored.folder}")
    if arguments.out is not None and arguments.out.absolute() != environment.paths.backbones.absolute():
        say(f"The program itself looks in {environment.paths.backbones}.")
    return 0


def _file(arguments: argparse.Namespace) -> Path | None:
    """Return the file to convert; None where it is to be downloaded."""
    from app.operations.backbones import require_downloadable

    if arguments.config is not None:
        require_existing(arguments.config, "configuration")
    if arguments.download:
        require_downloadable(arguments.backbone)
        return None
    return require_existing(arguments.file, "checkpoint")


def _terms(arguments: argparse.Namespace, entry: BackboneEntry) -> Terms:
    from app.operations.backbones import agreed_terms

    def ask(licence: str, origin: str) -> str | None:
        say(f"{entry.spec.display_name}\n  licence: {licence}\n  origin:  {origin}")
        if arguments.accept:
            return origin
        return _ask_on_terminal(origin)

    return agreed_terms(entry, arguments.licence, arguments.origin, ask)


def _ask_on_terminal(origin: str) -> str | None:
    """Ask where the file came from and whether the licence is accepted; None where it is not."""
    from engine.errors import PackageError

    if not sys.stdin.isatty():
        raise PackageError(
            "The licence of these weights has not been accepted, and there is no terminal to ask on.",
            hint="Read licence and origin above; accept them with --accept (--licence and --origin correct them).",
            code="backbone.accept_needed",
        )
    edited = _answer(f"Where does the file come from? [{origin}] ") or origin
    return edited if _answer("Do you accept the licence? [y/N] ").lower() in ("y", "yes") else None


def _answer(question: str) -> str:
    """Ask on stderr: stdout belongs to results."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _backbones(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.backbones import backbone_lines, backbones_document

    document = backbones_document(environment.registry)
    print(json.dumps(document, indent=2, ensure_ascii=False) if arguments.json else "\n".join(backbone_lines(document)))
    for broken in document["broken"]:
        say(f"cannot be used [{broken['code']}]: {broken['message']} {broken['hint']}")
    return 0


def _remove_backbone(arguments: argparse.Namespace, environment: Environment) -> int:
    from app.operations.backbones import remove_backbone
    from app.operations.models import open_library
    from engine.models.backbones.weights import BackboneStore

    store = BackboneStore(environment.paths.backbones)
    removed, needing = remove_backbone(arguments.digest, store, open_library(environment.paths), arguments.force)
    print(f"removed: {removed.record.name} {removed.record.weights_digest[:12]}")
    for entry in needing:
        say(f"{entry.name} {entry.digest[:12]} cannot be used now")
    return 0


ACTIONS = {"convert": _convert, "backbones": _backbones, "remove-backbone": _remove_backbone}
