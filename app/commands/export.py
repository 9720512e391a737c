"""export: write the readers' corrections of a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import Environment, require_existing, say

NAME = "export"
SUMMARY = "write the readers' corrections of a store as CSV or JSON Lines"
ORDER = 70


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--store", type=Path, required=True, metavar="FILE", help="the store; it is only read")
    parser.add_argument("--format", required=True, metavar="FORMAT", help="csv, jsonl, or another exporter's key")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the file")
    parser.set_defaults(usage_error=parser.error)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Read the store and write one file."""
    from app.operations.export_corrections import default_name, export_corrections, export_formats

    known = [key for key, *_ in export_formats()]
    if arguments.format not in known:
        arguments.usage_error(f"there is no export format '{arguments.format}'; choose one of: {', '.join(known)}")
    require_existing(arguments.store, "store")
    from app.operations.files import require_folder
    from engine.store.repository import Store

    path = require_folder(arguments.out) / default_name(arguments.format)
    with Store.open(arguments.store, read_only=True) as store:
        count, _ = export_corrections(store, environment.catalogue, arguments.format, path)
    say(f"{count} corrections written: {path}")
    return 0
