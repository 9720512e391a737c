"""Classify a series in this very process: what the command line does. The window uses the compute worker instead.

Torch is imported inside the functions: the window's process imports this package and must never load it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from app.operations.files import atomic_output, write_json
from app.operations.load_series import LoadedSeries, warning_texts
from engine.analysis import Analysis
from engine.dicom.series import require_analysable
from engine.findings.catalogue import Catalogue
from engine.progress import NULL_CONTEXT, Context

Device = Literal["auto", "cpu", "cuda"]


def run_inference(
    loaded: LoadedSeries, package_path: Path, catalogue: Catalogue, device: Device, context: Context = NULL_CONTEXT
) -> Analysis:
    """Prepare and classify a series with one model package.

    Raises
    ------
    DicomError
        If the series is out of the classifier's scope.
    PackageError
        If the package is refused.
    InferenceError
        If the device is not there, or the ledger does not add up.
    """
    require_analysable(loaded.series)
    from engine.inference.predictor import Predictor

    predictor = Predictor.open(package_path, catalogue, device)
    return predictor.analyse(
        loaded.volume,
        study_instance_uid=loaded.series.study.instance_uid,
        series_instance_uid=loaded.series.instance_uid,
        read_s=loaded.read_s,
        warnings=warning_texts(loaded.series),
        context=context,
    )


def write_analysis(path: Path, analysis: Analysis) -> None:
    """Write R.json.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    with atomic_output(path) as temporary:
        write_json(temporary, analysis.to_json())


def write_ledger(path: Path, analysis: Analysis) -> None:
    """Write L.npz: ``keys`` (C,), ``ledger`` [C,S,1+K], ``bias`` and ``logits`` (C,).

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    ledger = analysis.ledger
    with atomic_output(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            keys=np.array(ledger.keys),
            ledger=ledger.values,
            bias=ledger.bias,
            logits=ledger.logits,
        )
