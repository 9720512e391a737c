"""One composite interpolation: from acquired voxels, through their true positions, straight onto a new grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.reduce import in_threads
from engine.preprocess.spec import AIR_HU, FloatArray


def resample(
    source: Volume,
    lps_from_grid_kji: FloatArray,
    shape: tuple[int, int, int],
    sub_slices: tuple[float, ...] = (0.0,),
    single_slice_mm: float = 4.0,
) -> NDArray[np.float32]:
    """Sample a volume on a regular grid, linearly between its voxels.

    Gantry tilt and irregular spacing need no step of their own: every grid point is looked up where the slices
    truly are. Outside the field of view (half a voxel beyond the outermost voxel centres) the result is `AIR_HU`,
    and no value from there takes part in any mean.

    Parameters
    ----------
    source
        Padding already replaced, fine detail already averaged away (`reduce_volume`).
    lps_from_grid_kji
        4 × 4: grid ``(slice, row, column, 1)`` to LPS millimetres.
    shape
        Slices, rows and columns of the grid.
    sub_slices
        Offsets, in grid slices, at which each slice is sampled; the mean over those inside is the result.
    single_slice_mm
        Thickness that a volume of one slice is taken to have.

    Returns
    -------
    NDArray[np.float32]
        ``[slice, row, column]`` in HU.
    """
    geometry = source.require_geometry()
    grid = np.empty(shape, dtype=np.float32)

    def fill(target: int) -> None:
        total = np.zeros(shape[1:], dtype=np.float32)
        count = np.zeros(shape[1:], dtype=np.float32)
        for offset in sub_slices:
            lps_mm = plane_points(lps_from_grid_kji, target + offset, shape[1:])
            kji = geometry.lps_to_kji(lps_mm)
            inside = _inside(lps_mm, kji, geometry, single_slice_mm)
            values = ndimage.map_coordinates(
                source.voxels, np.moveaxis(kji, -1, 0), output=np.float32, order=1, mode="nearest", prefilter=False
            )
            total += np.where(inside, values, np.float32(0.0))
            count += inside
        grid[target] = np.where(count > 0, total / np.maximum(count, 1.0), np.float32(AIR_HU))

    in_threads(fill, range(shape[0]))
    return grid


def plane_points(lps_from_grid_kji: FloatArray, k: float, size: tuple[int, int], step: int = 1) -> FloatArray:
    """LPS millimetres of the pixels of one grid slice, every `step`-th of them; shape (rows, columns, 3)."""
    rows = np.arange(0, size[0], step, dtype=np.float64)
    columns = np.arange(0, size[1], step, dtype=np.float64)
    matrix = lps_from_grid_kji
    corner = matrix[:3, 3] + k * matrix[:3, 0]
    return np.asarray(corner + rows[:, None, None] * matrix[:3, 1] + columns[None, :, None] * matrix[:3, 2])


def holds_data(geometry: VolumeGeometry, lps_mm: FloatArray, single_slice_mm: float) -> NDArray[np.bool_]:
    """Whether points (..., 3) lie in the acquired field of view, half a voxel beyond the outer centres included."""
    return _inside(lps_mm, geometry.lps_to_kji(lps_mm), geometry, single_slice_mm)


def _inside(lps_mm: FloatArray, kji: FloatArray, geometry: VolumeGeometry, single_slice_mm: float) -> NDArray[np.bool_]:
    """Whether points lie in the acquired field of view; a single slice has a thickness instead of neighbours."""
    inside = np.all((kji >= -0.5) & (kji <= np.array(geometry.shape) - 0.5), axis=-1)
    if geometry.n_slices == 1:
        distance_mm = np.abs(lps_mm @ geometry.normal_lps - geometry.positions_mm[0])
        inside &= distance_mm <= single_slice_mm / 2
    return np.asarray(inside, dtype=np.bool_)
