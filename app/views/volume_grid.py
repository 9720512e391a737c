"""From an acquired volume, tilted and unevenly spaced as it may be, to a regular upright grid for rendering. No Qt.

The grid's axes are those of LPS, so that the picture stands upright whatever the gantry did. The engine does the
resampling; this module only says where the grid lies. It imports scipy, so it is loaded by the thread that works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.geometry import Volume
from engine.preprocess.extent import corners_lps, require_bounded
from engine.preprocess.reduce import padding_as_air, reduce_volume
from engine.preprocess.resample import resample
from engine.preprocess.spec import AIR_HU
from engine.progress import NULL_CONTEXT, Context

MIN_SPACING_MM = 1.2
MAX_SIDE = 200
SOFT_TISSUE_HU = (-20.0, 110.0)
EROSION_MM = 3.5
EMPTY_HU = -100.0
"""Not far below what the brain preset shows: a step down to air would draw every voxel of the mask as a stair."""

SMOOTHING_MM = 1.8
SHOWN_RANGE = 3000.0
"""Values that are not HU are stretched from `AIR_HU` over this range, so that the looks find something."""


@dataclass(frozen=True, eq=False)
class RegularGrid:
    """Voxels on a regular LPS grid.

    Attributes
    ----------
    voxels
        int16 ``[z, y, x]``; z grows cranially, y to posterior, x to the patient's left.
    origin_lps_mm
        Place of the voxel [0, 0, 0].
    spacing_mm
        Isotropic.
    """

    voxels: NDArray[np.int16]
    origin_lps_mm: tuple[float, float, float]
    spacing_mm: float


def to_regular_grid(volume: Volume, max_side: int = MAX_SIDE, context: Context = NULL_CONTEXT) -> RegularGrid:
    """Average fine detail and resample linearly in the true geometry, padding as air.

    Parameters
    ----------
    max_side
        Voxels along the longest side, at most: the spacing follows, never below `MIN_SPACING_MM`.

    Raises
    ------
    GeometryError
        If the volume is a 2D stack, or reaches further than a body.
    Cancelled
        Before or after averaging, or after resampling.
    """
    geometry = volume.require_geometry()
    require_bounded(geometry)
    corners = corners_lps(geometry)
    low, size_mm = corners.min(axis=0), np.ptp(corners, axis=0)
    spacing_mm = max(MIN_SPACING_MM, float(size_mm.max()) / (max_side - 1))
    lps_from_kji = np.zeros((4, 4))
    lps_from_kji[(2, 1, 0), (0, 1, 2)] = spacing_mm
    lps_from_kji[:, 3] = (*low, 1.0)
    columns, rows, slices = (int(count) for count in np.floor(size_mm / spacing_mm) + 1)
    context.raise_if_cancelled()
    reduced = reduce_volume(_in_shown_range(volume), spacing_mm, spacing_mm)
    context.raise_if_cancelled()
    voxels = resample(reduced, lps_from_kji, (slices, rows, columns))
    context.raise_if_cancelled()
    whole = np.clip(np.rint(voxels), -32768, 32767).astype(np.int16)
    return RegularGrid(whole, (float(low[0]), float(low[1]), float(low[2])), spacing_mm)


def _in_shown_range(volume: Volume) -> Volume:
    """Return a volume that the looks can show: HU as they are, other values stretched, with padding as air."""
    if volume.units == "HU":
        return volume
    values = padding_as_air(volume.voxels, volume.padding_value).astype(np.float32)
    low, high = np.percentile(values[::2, ::4, ::4], [0.5, 99.8])
    stretched = (values - low) / max(high - low, 1e-6) * SHOWN_RANGE + AIR_HU
    return replace(volume, voxels=stretched.astype(np.float32), padding_value=None)


def inside_skull(grid: RegularGrid, context: Context = NULL_CONTEXT) -> RegularGrid:
    """Keep the soft tissue inside the skull and set the rest to `EMPTY_HU`, smoothed, for the brain preset.

    A rough mask for orientation in a picture: soft tissue, eroded until thin bridges break, its piece nearest the
    middle of the head, grown back. It is never measured, nor shown as a segmentation.
    """
    context.raise_if_cancelled()
    soft = (grid.voxels > SOFT_TISSUE_HU[0]) & (grid.voxels < SOFT_TISSUE_HU[1])
    steps = max(1, round(EROSION_MM / grid.spacing_mm))
    core = ndimage.binary_erosion(soft, iterations=steps)
    context.raise_if_cancelled()
    labels, count = ndimage.label(core)
    if count == 0:
        return grid
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    mask = ndimage.binary_dilation(labels == int(np.argmax(sizes)), iterations=steps, mask=soft)
    context.raise_if_cancelled()
    brain = np.where(mask, grid.voxels, np.int16(EMPTY_HU))
    smooth = ndimage.gaussian_filter(brain, SMOOTHING_MM / grid.spacing_mm, truncate=2.5)  # noise has no surface
    return RegularGrid(smooth, grid.origin_lps_mm, grid.spacing_mm)
