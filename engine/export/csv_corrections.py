"""Corrections for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from engine.export.atomic import replacing
from engine.export.report import COLUMNS, CorrectionsReport, fields_of

# What spreadsheets take as the start of a formula, their full-width twins included.
_FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_CONTROL_STARTS = ("\t", "\r", "\n")


class CsvCorrections:
    """UTF-8 CSV with a header, lines ended by CR LF (RFC 4180).

    True and false are written as ``true`` and ``false``, nothing as an empty cell, several UIDs with ``|`` between,
    marks on slices as JSON. Text that a spreadsheet would run as a formula gets an apostrophe in front; JSON Lines is
    the lossless format.
    """

    key = "csv"
    label = "CSV table"
    suffix = ".csv"
    carries_identity = False

    def write(self, report: CorrectionsReport, path: Path) -> None:
        """Write one line per statement.

        Raises
        ------
        ExportError
            If the file cannot be written; what was at `path` before stays.
        """
        with replacing(path) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            table = csv.writer(text)
            table.writerow(COLUMNS)
            for row in report.rows:
                fields = fields_of(row, report)
                table.writerow([_cell(fields[column]) for column in COLUMNS])
            text.flush()
            text.detach()  # or the wrapper would close the stream before it is synced


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, list):
        return _inert("|".join(value))
    return _inert(value) if isinstance(value, str) else repr(value)


def _inert(text: str) -> str:
    """Keep a spreadsheet from running text as a formula."""
    dangerous = text.startswith(_CONTROL_STARTS) or text.lstrip().startswith(_FORMULA_STARTS)
    return f"'{text}" if dangerous else text
