"""The whole result of one run, as ``infer --out`` writes it."""

from __future__ import annotations

from pathlib import Path

from engine.analysis import Analysis
from engine.export.atomic import write_json_atomic


def write_analysis_json(analysis: Analysis, path: Path) -> None:
    """Write ``Analysis.to_json()``. The same input on the same device gives the same bytes, timings apart.

    Raises
    ------
    ExportError
        If the file cannot be written or a number is not finite.
    """
    write_json_atomic(path, analysis.to_json())
