"""Write a draft impression in one of the registered formats."""

from __future__ import annotations

from pathlib import Path

from engine.export.impression import ImpressionDocument
from engine.export.registry import impression_exporter, impression_exporters


def export_impression(format_key: str, path: Path, text: str) -> None:
    """Write what the reader has before them.

    Raises
    ------
    ExportError
        If there is no such format, or the file cannot be written.
    """
    impression_exporter(format_key).write(ImpressionDocument(text), path)


def impression_formats() -> tuple[tuple[str, str, str, bool], ...]:
    """List the exporters: key, label, suffix, whether it carries identity."""
    return tuple((item.key, item.label, item.suffix, item.carries_identity) for item in impression_exporters().values())
