"""Write the readers' corrections in one of the registered formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.export.registry import exporter, exporters
from engine.export.report import corrections_report
from engine.findings.catalogue import Catalogue

if TYPE_CHECKING:
    from engine.store.repository import Store

CORRECTIONS_NAME = "corrections"


def export_corrections(store: Store, catalogue: Catalogue, format_key: str, path: Path) -> int:
    """Write every statement that stands, of all studies; how many.

    Raises
    ------
    ExportError
        If there is no such format, or the file cannot be written.
    StoreError
        If the store cannot be read.
    """
    rows = store.corrections()
    exporter(format_key).write(corrections_report(rows, catalogue), path)
    return len(rows)


def default_name(format_key: str) -> str:
    """Return the file name that a format's corrections get.

    Raises
    ------
    ExportError
        If there is no such format.
    """
    return f"{CORRECTIONS_NAME}{exporter(format_key).suffix}"


def export_formats() -> tuple[tuple[str, str, str, bool], ...]:
    """List the exporters: key, label, suffix, whether it carries identity."""
    return tuple((item.key, item.label, item.suffix, item.carries_identity) for item in exporters().values())
