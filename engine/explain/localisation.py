"""How well scores point at a painted finding: the pointing game and the area under the ROC curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from engine.geometry import Volume
from engine.preprocess.resample import plane_points
from engine.preprocess.spec import PreparedVolume


def points_at(scores: NDArray[np.floating], mask: NDArray[np.bool_]) -> bool:
    """Whether the highest score lies in the mask, of the same shape (Zhang et al. 2018, without a margin)."""
    return bool(mask.ravel()[int(np.argmax(scores))])


def mask_auc(scores: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the chance that a random place inside the mask scores above one outside; ties count half.

    NaN where the mask is empty or everywhere.
    """
    inside = mask.ravel()
    n_inside, n_outside = int(inside.sum()), int((~inside).sum())
    if n_inside == 0 or n_outside == 0:
        return float("nan")
    ranks = stats.rankdata(scores.ravel())
    return float((ranks[inside].sum() - n_inside * (n_inside + 1) / 2) / (n_inside * n_outside))


def prepared_mask(mask: NDArray[np.bool_], volume: Volume, prepared: PreparedVolume) -> NDArray[np.bool_]:
    """Bring a mask of the acquired voxels [slice, row, column] onto the prepared grid, nearest voxel."""
    geometry = volume.require_geometry()
    placed = np.zeros(prepared.voxels_hu.shape, dtype=np.bool_)
    n_slices, rows, columns = prepared.voxels_hu.shape
    for k in range(n_slices):
        lps_mm = plane_points(prepared.lps_from_prepared_kji, k, (rows, columns))
        kji = np.moveaxis(geometry.lps_to_kji(lps_mm), -1, 0)
        placed[k] = ndimage.map_coordinates(mask.astype(np.uint8), kji, order=0, mode="constant", cval=0) > 0
    return placed
