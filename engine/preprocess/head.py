"""Find the head in a coarse volume: without table, head holder or air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.preprocess.spec import HEAD_THRESHOLD_HU, FloatArray, transform_points

CRANIUM_MM = 120.0
"""Below the vertex, the part of the head that is taken to be cranium; face and neck turn apart from it."""

_CAP_MM3, _CAP_MM = 20_000.0, 9.0
_VERTEX_PRECISION_MM = 0.05
_MIN_CRANIUM_CM3 = 500.0
_MAX_CRANIUM_CM3 = 6000.0
_MIN_HEIGHT_MM = 40.0


@dataclass(frozen=True, eq=False)
class Coarse:
    """A volume on an isotropic grid whose axes are nearly the patient's.

    `voxels_hu` is float32 ``[k, j, i]``; `base_from_kji` maps its indices to millimetres in the base frame.
    """

    voxels_hu: NDArray[np.float32]
    base_from_kji: FloatArray
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class Head:
    """Where the head is in the base frame.

    `points_mm` (N, 3) are all of its voxels, `cranium_mm` (M, 3) those near the vertex.
    """

    points_mm: FloatArray
    cranium_mm: FloatArray


def find_head(coarse: Coarse) -> Head | str:
    """Return the head, or in one sentence why there is none.

    The largest connected thing above -300 HU, once thin sheets and rods are opened away, is the head;
    what it encloses within a slice (sinuses, pneumocephalus) belongs to it.
    """
    dense = coarse.voxels_hu > HEAD_THRESHOLD_HU
    cross = ndimage.generate_binary_structure(3, 1)
    labels, count = ndimage.label(ndimage.binary_opening(dense, structure=cross))
    if count == 0:
        return "No head was found: nothing in the volume is denser than fat and thicker than the table."
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == int(np.argmax(sizes))
    mask = ndimage.binary_dilation(body, structure=cross) & dense
    in_plane = cross & (np.arange(-1, 2) == 0)[:, None, None]
    filled = ndimage.binary_fill_holes(mask, structure=in_plane)
    points_mm = transform_points(coarse.base_from_kji, np.argwhere(filled).astype(np.float64))
    vertex_mm = vertex_height(points_mm, coarse.spacing_mm)
    cranium_mm = points_mm[points_mm[:, 2] >= vertex_mm - CRANIUM_MM]
    return _why_no_head(cranium_mm, coarse.spacing_mm) or Head(points_mm, cranium_mm)


def vertex_height(points_mm: FloatArray, spacing_mm: float) -> float:
    """Height (z) of the vertex, finer than the voxels are.

    Found from the height above which 20 cm³ of head lie, plus what a cap of that volume measures on a skull, so that
    neither one voxel nor the phase of the grid can set it; never above the topmost voxel, as where the scan cuts the
    vertex off.
    """
    heights_mm = points_mm[:, 2]
    top_mm = float(heights_mm.max()) + spacing_mm / 2
    low_mm, high_mm = float(heights_mm.min()) - spacing_mm, top_mm
    while high_mm - low_mm > _VERTEX_PRECISION_MM:
        middle_mm = (low_mm + high_mm) / 2
        filled = np.clip((heights_mm - middle_mm) / spacing_mm + 0.5, 0.0, 1.0).sum() * spacing_mm**3
        low_mm, high_mm = (middle_mm, high_mm) if filled > _CAP_MM3 else (low_mm, middle_mm)
    return min(top_mm, low_mm + _CAP_MM)


def _why_no_head(cranium_mm: FloatArray, spacing_mm: float) -> str:
    volume_cm3 = len(cranium_mm) * spacing_mm**3 / 1000
    height_mm = float(np.ptp(cranium_mm[:, 2])) + spacing_mm
    if not _MIN_CRANIUM_CM3 <= volume_cm3 <= _MAX_CRANIUM_CM3:
        return f"No head was found: the largest object has {volume_cm3:.0f} cm³ below its top, a head 1000 to 4000."
    if height_mm < _MIN_HEIGHT_MM:
        return f"Only {height_mm:.0f} mm of the head were scanned; {_MIN_HEIGHT_MM:.0f} mm are needed to align it."
    return ""
