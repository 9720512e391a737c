"""Resamples an acquired volume, tilted and unevenly spaced as it may be, onto a regular grid for rendering. No Qt.

The grid's axes are those of LPS, so that the picture stands upright whatever the gantry did. Slab by slab, so that a
thread that does this holds the interpreter only briefly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.geometry import Volume, VolumeGeometry
from engine.progress import NULL_CONTEXT, Context

AIR_HU = -1000.0
MIN_SPACING_MM = 1.2
MAX_SIDE = 200
MAX_EXTRAPOLATION = 0.5
SOFT_TISSUE_HU = (-20.0, 110.0)
EROSION_MM = 3.5


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


def to_regular_grid(volume: Volume, context: Context = NULL_CONTEXT) -> RegularGrid:
    """Resample linearly in the true geometry.

    Raises
    ------
    GeometryError
        If the volume is a 2D stack.
    Cancelled
        Between slabs.
    """
    geometry = volume.require_geometry()
    low, high = _bounds(geometry)
    spacing = max(MIN_SPACING_MM, float(np.max(high - low)) / MAX_SIDE)
    counts = np.floor((high - low) / spacing).astype(int) + 1
    source = _as_hounsfield(volume)
    grid = np.empty(counts[::-1], dtype=np.int16)
    y, x = np.meshgrid(low[1] + np.arange(counts[1]) * spacing, low[0] + np.arange(counts[0]) * spacing, indexing="ij")
    for index in range(counts[2]):
        context.raise_if_cancelled()
        context.progress(index, int(counts[2]), "Resampling for 3D")
        points = np.stack([x, y, np.full_like(x, low[2] + index * spacing)], axis=-1)
        grid[index] = _slab(source, geometry.lps_to_kji(points))
    return RegularGrid(grid, (float(low[0]), float(low[1]), float(low[2])), spacing)


def _bounds(geometry: VolumeGeometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    slices, rows, columns = geometry.shape
    corners = np.array(
        [[k, j, i] for k in (0, slices - 1) for j in (0, rows - 1) for i in (0, columns - 1)], dtype=float
    )
    lps = geometry.kji_to_lps(corners)
    return lps.min(axis=0), lps.max(axis=0)


def _as_hounsfield(volume: Volume) -> NDArray[np.float32]:
    """Return values for the presets: HU as they are with padding as air, others stretched over −1000..2000."""
    values = volume.voxels.astype(np.float32)
    if volume.padding_value is not None:
        values[values == volume.padding_value] = AIR_HU
    if volume.units == "HU":
        return values
    low, high = np.percentile(values[::2, ::4, ::4], [0.5, 99.8])
    return np.asarray((values - low) / max(high - low, 1e-6) * 3000.0 + AIR_HU, dtype=np.float32)


def _slab(source: NDArray[np.float32], kji: NDArray[np.float64]) -> NDArray[np.int16]:
    """Interpolate one slab, shape (Y, X, 3) → (Y, X); half a slice beyond the ends at most, air further out."""
    coordinates = np.moveaxis(kji, -1, 0)
    outside = (coordinates[0] < -MAX_EXTRAPOLATION) | (coordinates[0] > len(source) - 1 + MAX_EXTRAPOLATION)
    coordinates[0] = np.clip(coordinates[0], 0, len(source) - 1)
    slab = ndimage.map_coordinates(source, coordinates, order=1, mode="constant", cval=AIR_HU)
    slab[outside] = AIR_HU
    return np.clip(np.rint(slab), -32768, 32767).astype(np.int16)


def inside_skull(grid: RegularGrid, context: Context = NULL_CONTEXT) -> RegularGrid:
    """Keep the soft tissue inside the skull and set the rest to air, for the brain preset.

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
    return RegularGrid(np.where(mask, grid.voxels, np.int16(AIR_HU)), grid.origin_lps_mm, grid.spacing_mm)
