"""infer: classify one series and write the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.base import Environment, require_existing, say

if TYPE_CHECKING:
    from app.operations.load_series import LoadedSeries
    from engine.analysis import Analysis

NAME = "infer"
SUMMARY = "classify a head CT series and write the result as JSON"
ORDER = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder, file or ZIP of DICOM, or a NIfTI file")
    parser.add_argument("--model", metavar="NAME|PATH", help="a model package (default: the active one)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: as in the settings, else auto")
    parser.add_argument("--series", metavar="UID", help="which series (default: the analysable one with most slices)")
    parser.add_argument("--out", type=Path, required=True, metavar="R.json", help="the result")
    parser.add_argument("--ledger", type=Path, metavar="L.npz", help="also write the exact ledger of every logit")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Read, classify, write."""
    require_existing(arguments.input, "input")
    from app.operations.files import require_output
    from app.operations.run_inference import run_inference
    from engine.export.analysis_json import write_analysis_json
    from engine.export.ledger_npz import write_ledger_npz

    outputs = [path for path in (arguments.out, arguments.ledger) if path is not None]
    for output in outputs:
        require_output(output)
    loaded = load_input(arguments.input, arguments.series, analysable=True, outputs=outputs)
    package = model_path(environment, arguments.model)
    device = arguments.device or environment.settings.device
    analysis = run_inference(loaded, package, environment.catalogue, device)
    write_analysis_json(analysis, arguments.out)
    if arguments.ledger is not None:
        write_ledger_npz(analysis.ledger, arguments.ledger)
    positive = sum(finding.positive is True for finding in analysis.findings)
    say(
        f"{positive} of {len(analysis.ledger.keys)} covered findings at or above their operating point "
        f"(analysis {analysis.timings_s.total:.1f} s on {analysis.device}): {arguments.out}"
    )
    for warning in analysis.warnings:
        say(f"warning: {warning}")
    say(model_line(analysis))
    return 0


def model_line(analysis: Analysis) -> str:
    """Say which model spoke, and what must stand beside its numbers."""
    notice = analysis.model.notice.rstrip(".")
    return f"Model {analysis.model.name}: {notice}. Research use only; not for diagnosis."


def model_path(environment: Environment, name: str | None) -> Path:
    """Return the package that `name` means; the active one without a name."""
    from app.operations.models import open_library, package_path

    return package_path(open_library(environment.paths), name)


def load_input(
    path: Path, series_uid: str | None, *, analysable: bool = False, outputs: Sequence[Path] = ()
) -> LoadedSeries:
    """Scan, choose a series, say which, refuse it or read it; `outputs` must not be files of the input."""
    from app.operations.files import require_apart
    from app.operations.load_series import load_series
    from app.operations.open_paths import choose_series, input_files, open_paths
    from engine.dicom.series import require_analysable, require_readable

    require_apart(outputs, [path])
    report = open_paths([path])
    require_apart(outputs, input_files(report))
    series = choose_series(report, path, series_uid)
    if series_uid is None and len(report.series) > 1:
        say(
            f"{path} holds {len(report.series)} series; chosen: {series.instance_uid} ({series.n_slices} slices). "
            "Choose another with --series UID; inspect lists them."
        )
    (require_analysable if analysable else require_readable)(series)
    return load_series(series)
