"""Which acquired slices lie under which prepared slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.geometry import VolumeGeometry
from engine.preprocess.resample import plane_points
from engine.preprocess.spec import HEAD_THRESHOLD_HU, FloatArray

_STEP_PX = 6
_MAX_SUB_SLICES = 16


def acquired_weights(
    geometry: VolumeGeometry,
    lps_from_prepared_kji: FloatArray,
    voxels_hu: NDArray[np.float32],
    slice_mm: float,
) -> NDArray[np.float32]:
    """Share of each prepared slice that lies nearest to each acquired slice.

    Counted on every sixth pixel and through the whole thickness of the prepared slice, so that thin acquired slices
    are all found; in the head where the slice shows any, else in all that was acquired.

    Returns
    -------
    NDArray[np.float32]
        ``[S, S_acquired]``; a row sums to 1, or to 0 where nothing was acquired.
    """
    n_prepared, rows, columns = voxels_hu.shape
    bounds = _nearest_bounds(geometry, slice_mm)
    weights = np.zeros((n_prepared, geometry.n_slices))
    for k in range(n_prepared):
        in_head = voxels_hu[k, ::_STEP_PX, ::_STEP_PX] > HEAD_THRESHOLD_HU
        counts = np.zeros((2, geometry.n_slices))
        for offset in _sub_slices(geometry, slice_mm):
            height = plane_points(lps_from_prepared_kji, k + offset, (rows, columns), _STEP_PX) @ geometry.normal_lps
            nearest = np.searchsorted(bounds, height, side="right") - 1
            inside = (nearest >= 0) & (nearest < geometry.n_slices)
            for row, chosen in enumerate((inside & in_head, inside)):
                counts[row] += np.bincount(nearest[chosen], minlength=geometry.n_slices)
        weights[k] = counts[0] if counts[0].any() else counts[1]
    totals = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.maximum(totals, 1.0), dtype=np.float32)


def _nearest_bounds(geometry: VolumeGeometry, slice_mm: float) -> FloatArray:
    """Positions that separate what is nearest to each slice, both outer ends included, shape (S + 1,)."""
    positions = geometry.positions_mm
    if len(positions) == 1:
        return np.array([positions[0] - slice_mm / 2, positions[0] + slice_mm / 2])
    middles = (positions[1:] + positions[:-1]) / 2
    first, last = positions[1] - positions[0], positions[-1] - positions[-2]
    return np.concatenate([[positions[0] - first / 2], middles, [positions[-1] + last / 2]])


def _sub_slices(geometry: VolumeGeometry, slice_mm: float) -> FloatArray:
    """Offsets in prepared slices, close enough for the thinnest acquired slice."""
    thinnest = float(geometry.normal_spacing_mm.min()) if geometry.n_slices > 1 else slice_mm
    count = int(np.clip(np.ceil(2 * slice_mm / thinnest), 4, _MAX_SUB_SLICES))
    return (np.arange(count) + 0.5) / count - 0.5
