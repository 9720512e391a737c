"""Reads a scanned series as a volume: exact Hounsfield units, slices in geometric order, straight into one array."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dicom import nifti
from engine.dicom.archive import Opener
from engine.dicom.frames import stored_frames
from engine.dicom.pixels import read_frame
from engine.dicom.rescale import (
    clean_stored,
    clean_value,
    fits_int16,
    rescaled_range,
    stays_whole,
    stored_range,
)
from engine.dicom.series import FileSource, Instance, PixelLayout, Series, require_readable
from engine.dicom.source import unreadable
from engine.errors import DicomError
from engine.geometry import Volume
from engine.progress import NULL_CONTEXT, Context


def read_series(series: Series, context: Context = NULL_CONTEXT) -> Volume:
    """Read the pixels of a series.

    Parameters
    ----------
    series
        From `engine.dicom.scan.scan`, of kind volume or stack.
    context
        Told of every slice; asked for cancellation before every slice.

    Returns
    -------
    Volume
        Every voxel is the stored value times slope plus intercept of its own slice; int16 where all values are whole
        and fit, else float32. Padding is kept and named.

    Raises
    ------
    DicomError
        If the series is refused, or a file cannot be read or decoded any more.
    """
    require_readable(series)
    first = series.instances[0]
    try:
        if first.layout is None:
            voxels = nifti.read_voxels(first.source)
        else:
            whole = _read_int16(series, context)
            voxels = _read_any(series, context) if whole is None else whole
    except MemoryError as error:
        raise _too_large(series) from error
    return Volume(
        voxels=voxels,
        geometry=series.geometry,
        units="HU" if series.hu else "unknown",
        padding_value=_padding(first),
        sop_instance_uids=tuple(instance.sop_instance_uid for instance in series.instances),
    )


def _shape(series: Series) -> tuple[int, int, int]:
    layout = series.instances[0].layout
    assert layout is not None
    return len(series.instances), layout.rows, layout.columns


def _plain_layout(instance: Instance) -> PixelLayout | None:
    """Return the layout if the slice can be read straight into an int16 volume."""
    layout = instance.layout
    if layout is None or layout.encapsulated or layout.inflated or layout.bits_allocated != 16:
        return None
    return layout if stays_whole(instance.slope, instance.intercept) else None


def _read_int16(series: Series, context: Context) -> NDArray[np.int16] | None:
    """Read uncompressed 16-bit slices without a copy; None if the values do not allow it."""
    layouts = [_plain_layout(instance) for instance in series.instances]
    if any(layout is None for layout in layouts):
        return None
    voxels = np.empty(_shape(series), dtype=np.int16)
    with Opener() as opener:
        for index, (instance, layout) in enumerate(zip(series.instances, layouts, strict=True)):
            context.raise_if_cancelled()
            assert layout is not None
            _read_stored(opener, instance, layout, voxels[index])
            if not _rescale_in_place(voxels[index], instance, layout):
                return None
            context.progress(index + 1, len(layouts), "Reading slices")
    return voxels


def _read_stored(opener: Opener, instance: Instance, layout: PixelLayout, target: NDArray[np.int16]) -> None:
    reader = opener.open(instance.source)
    try:
        read_frame(reader, instance.source, layout, instance.frame, target)
    except OSError as error:
        raise unreadable(instance.source, error) from error
    finally:
        reader.close()
    if layout.big_endian:
        target.byteswap(inplace=True)


def _rescale_in_place(target: NDArray[np.int16], instance: Instance, layout: PixelLayout) -> bool:
    """Turn stored 16-bit values into rescaled ones; False if one does not fit int16, and the slice is then void."""
    stored: NDArray[Any] = target if layout.signed else target.view(np.uint16)
    stored = clean_stored(stored, layout)
    low, high = rescaled_range(*stored_range(layout), instance.slope, instance.intercept)
    if not fits_int16(low, high):
        low, high = rescaled_range(int(stored.min()), int(stored.max()), instance.slope, instance.intercept)
        if not fits_int16(low, high):
            return False
    # Arithmetic modulo 2**16 is exact here, because the results are known to fit.
    if instance.slope != 1.0:
        target *= _wrap(instance.slope)
    if instance.intercept != 0.0:
        target += _wrap(instance.intercept)
    return True


def _wrap(number: float) -> np.int16:
    return np.int16((int(number) + 0x8000) % 0x10000 - 0x8000)


def _read_any(series: Series, context: Context) -> NDArray[np.int16] | NDArray[np.float32]:
    """Read slices of any kind as float32; narrow to int16 if every value is whole and fits."""
    voxels = np.empty(_shape(series), dtype=np.float32)
    whole = True
    done = 0
    with Opener() as opener:
        for source, indices in _by_source(series).items():
            instances = [series.instances[index] for index in indices]
            for index, stored in zip(indices, stored_frames(opener, source, instances), strict=True):
                context.raise_if_cancelled()
                instance = series.instances[index]
                values = stored.astype(np.float64) * instance.slope + instance.intercept
                whole = whole and bool(np.all(values == np.rint(values))) and fits_int16(values.min(), values.max())
                voxels[index] = values
                done += 1
                context.progress(done, len(series.instances), "Reading slices")
    return voxels.astype(np.int16) if whole else voxels


def _by_source(series: Series) -> dict[FileSource, list[int]]:
    sources: dict[FileSource, list[int]] = defaultdict(list)
    for index, instance in enumerate(series.instances):
        sources[instance.source].append(index)
    return sources


def _padding(instance: Instance) -> float | None:
    if instance.padding_value is None or instance.layout is None:
        return None
    return clean_value(instance.padding_value, instance.layout) * instance.slope + instance.intercept


def _too_large(series: Series) -> DicomError:
    return DicomError(
        f"The {len(series.instances)} slices in {series.source} do not fit the free memory.",
        hint="Close other programs, or open a thicker reconstruction of the same study.",
        code="dicom.memory",
        kind="environment",
    )
