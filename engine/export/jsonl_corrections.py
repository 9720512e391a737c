"""Corrections for programs: nothing lost, nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

from engine.export.atomic import replacing
from engine.export.report import CorrectionsReport, fields_of

# JSON allows these inside a string, but readers that split on every Unicode line break would cut the object.
_LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class JsonLinesCorrections:
    """UTF-8 JSON Lines: one object a line, keys in the order of the columns, text exactly as typed."""

    key = "jsonl"
    label = "JSON Lines"
    suffix = ".jsonl"
    carries_identity = False

    def write(self, report: CorrectionsReport, path: Path) -> None:
        """Write one line per statement.

        Raises
        ------
        ExportError
            If the file cannot be written; what was at `path` before stays.
        """
        with replacing(path) as stream:
            for row in report.rows:
                line = json.dumps(fields_of(row, report), ensure_ascii=False, allow_nan=False)
                stream.write(line.translate(_LINE_BREAKS).encode("utf-8") + b"\n")
