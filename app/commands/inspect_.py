"""inspect: say what is in a folder, file or archive, and what may be done with it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.base import Environment, require_existing

if TYPE_CHECKING:
    from engine.dicom.scan import ScanReport
    from engine.dicom.series import Series

NAME = "inspect"
SUMMARY = "list the series of an input: geometry, what may be done with each, what was skipped and why"
ORDER = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder, file or ZIP of DICOM, or a NIfTI file")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Scan and print."""
    require_existing(arguments.input, "input")
    from app.operations.open_paths import choose_series, open_paths

    report = open_paths([arguments.input])
    if arguments.json:
        print(json.dumps(document(report), indent=2, ensure_ascii=False))
    else:
        print_text(report)
    sys.stdout.flush()
    choose_series(report, arguments.input)
    return 0


def document(report: ScanReport) -> dict[str, object]:
    """Return the report as plain values: no patient name, ID or birth date, but the headers' free descriptions."""
    return {
        "schema_version": 1,
        "n_files": report.n_files,
        "series": [series.to_json() for series in report.series],
        "skipped": [{"path": item.path, "code": item.code, "reason": item.reason} for item in report.skipped],
        "summary": report.closing_text(),
    }


def print_text(report: ScanReport) -> None:
    """Print the report for a person."""
    for series in report.series:
        print("\n".join(series_lines(series)))
    for item in report.skipped:
        print(f"skipped {item.path}: {item.reason}")
    print(report.closing_text())


def series_lines(series: Series) -> list[str]:
    """Describe one series: no patient name, ID or birth date, and no description."""
    use = "analysable" if series.analysable else "not for analysis"
    lines = [
        f"series {series.instance_uid}",
        f"  {series.kind}, {use}, {series.n_slices} images, {series.modality} {series.manufacturer}",
    ]
    if series.geometry is not None:
        geometry = series.geometry
        spacing = sorted({round(float(value), 3) for value in geometry.normal_spacing_mm})
        lines.append(
            f"  {geometry.rows} × {geometry.columns}, pixel {geometry.pixel_spacing_mm[0]:g} × "
            f"{geometry.pixel_spacing_mm[1]:g} mm, spacing {', '.join(f'{value:g}' for value in spacing[:6])} mm, "
            f"tilt {geometry.tilt_deg:.1f}°"
        )
    for name in ("reasons", "scope_reasons", "warnings"):
        lines += [f"  {name[:-1].replace('_', ' ')}: {reason.message}" for reason in getattr(series, name)]
    return lines
