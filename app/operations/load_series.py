"""Read the voxels of a series."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.dicom.series import Series
from engine.geometry import Volume
from engine.progress import NULL_CONTEXT, Context


@dataclass(frozen=True, eq=False)
class LoadedSeries:
    """A series with its voxels; `read_s` is what reading took."""

    series: Series
    volume: Volume
    read_s: float


def load_series(series: Series, context: Context = NULL_CONTEXT) -> LoadedSeries:
    """Read a volume or stack.

    Raises
    ------
    DicomError
        If the series is refused or a file is damaged.
    """
    from engine.dicom.read import read_series

    began = time.perf_counter()
    volume = read_series(series, context)
    return LoadedSeries(series, volume, time.perf_counter() - began)


def warning_texts(series: Series) -> tuple[str, ...]:
    """Return what a reader of the result should know about the series."""
    return tuple(reason.message for reason in series.warnings)
