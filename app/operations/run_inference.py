"""Classify a series in this very process: what the command line does. The window uses the compute worker instead.

Torch is imported inside the functions: the window's process imports this package and must never load it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.operations.load_series import LoadedSeries, warning_texts
from engine.analysis import Analysis
from engine.dicom.series import require_analysable
from engine.findings.catalogue import Catalogue
from engine.inference.compute import AUTOMATIC, Computing, DeviceChoice
from engine.progress import NULL_CONTEXT, Context

if TYPE_CHECKING:
    from engine.inference.array_cache import ArrayCache
    from engine.models.backbones.registry import BackboneRegistry

Device = DeviceChoice


def run_inference(
    loaded: LoadedSeries,
    package_path: Path,
    catalogue: Catalogue,
    device: Device,
    context: Context = NULL_CONTEXT,
    *,
    registry: BackboneRegistry | None = None,
    how: Computing = AUTOMATIC,
    cache: ArrayCache | None = None,
) -> Analysis:
    """Prepare and classify a series with one model package, whose backbone is found in the registry.

    What is in the cache already, prepared volume or slice features, is not computed again.

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

    predictor = Predictor.open(package_path, catalogue, device, registry, cache, how)
    return predictor.analyse(
        loaded.volume,
        study_instance_uid=loaded.series.study.instance_uid,
        series_instance_uid=loaded.series.instance_uid,
        read_s=loaded.read_s,
        warnings=warning_texts(loaded.series),
        context=context,
    )
