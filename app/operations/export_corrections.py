"""Write the readers' corrections in one of the registered formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.export.registry import exporter, exporters
from engine.export.report import corrections_report
from engine.findings.catalogue import Catalogue

if TYPE_CHECKING:
    from engine.store.repository import Store

CORRECTIONS_NAME = "corrections"


def export_corrections(
    store: Store, catalogue: Catalogue, format_key: str, path: Path, *, hidden_from: str = ""
) -> tuple[int, int]:
    """Write every statement that stands, of all studies.

    Parameters
    ----------
    hidden_from
        A reader; statements on series that this reader still reads blind are left out.

    Returns
    -------
    tuple of int
        How many were written, and how many left out.

    Raises
    ------
    ExportError
        If there is no such format, or the file cannot be written.
    StoreError
        If the store cannot be read.
    """
    rows = store.corrections()
    blind = _read_blind(store, {row.series_uid for row in rows}, hidden_from)
    shown = tuple(row for row in rows if row.series_uid not in blind)
    exporter(format_key).write(corrections_report(shown, catalogue), path)
    return len(shown), len(rows) - len(shown)


def _read_blind(store: Store, series_uids: Iterable[str], reader: str) -> set[str]:
    if not reader:
        return set()
    sessions = {uid: store.reading_session(uid, reader) for uid in series_uids}
    return {uid for uid, session in sessions.items() if session is not None and session.hidden}


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
