"""The mid-sagittal plane: where the head mirrored on a plane looks most like itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from engine.preprocess.head import Coarse, Head
from engine.preprocess.spec import FloatArray, inverse, transform_points

MAX_YAW_DEG = 40.0
MAX_ROLL_DEG = 28.0

_CLIP_HU = (-200.0, 600.0)
"""Skull, soft tissue and air take part; metal, and noise in air, do not."""

_COARSE_POINTS = 1500
_FINE_POINTS = 9000
_COARSE_SMOOTHING_MM = 6.0


@dataclass(frozen=True, eq=False)
class MidlinePlane:
    """A plane in the base frame: unit normal to the patient's left, its offset from the origin, and the score.

    `score` is the correlation of the cranium with its mirror image; `at_limit` says that the search ended at the
    edge of the range of angles.
    """

    normal: FloatArray
    offset_mm: float
    score: float
    at_limit: bool


def find_midline(coarse: Coarse, head: Head) -> MidlinePlane:
    """Search yaw, roll and lateral offset: first a grid on a smooth picture, then a simplex on the full one."""
    centre = head.cranium_mm.mean(axis=0)
    clipped = np.clip(coarse.voxels_hu, *_CLIP_HU)
    smooth = ndimage.gaussian_filter(clipped, _COARSE_SMOOTHING_MM / coarse.spacing_mm)
    rough = _Mirror(smooth, coarse, _every(head.cranium_mm, _COARSE_POINTS), centre)
    fine = _Mirror(clipped, coarse, _every(head.cranium_mm, _FINE_POINTS), centre)
    starts = sorted(_grid(), key=lambda start: -rough.score(np.array(start)))[:2]
    found = [_refine(fine, _refine(rough, np.array(start))) for start in starts]
    best = max(found, key=fine.score)
    normal = plane_normal(best[0], best[1])
    at_limit = bool(abs(best[0]) > MAX_YAW_DEG or abs(best[1]) > MAX_ROLL_DEG)
    return MidlinePlane(normal, float(normal @ centre + best[2]), max(0.0, fine.score(best)), at_limit)


def plane_normal(yaw_deg: float, roll_deg: float) -> FloatArray:
    """The left-pointing normal of a plane that is turned by yaw about z and leans by roll."""
    yaw, roll = np.radians([yaw_deg, roll_deg])
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), -np.sin(roll)])


class _Mirror:
    """Correlation between head points and their mirror images; parameters are yaw °, roll °, offset mm."""

    def __init__(
        self, picture: NDArray[np.float32], coarse: Coarse, points_mm: FloatArray, centre_mm: FloatArray
    ) -> None:
        self._picture = picture
        self._kji_from_base = inverse(coarse.base_from_kji)
        self._points_mm = points_mm
        self._relative_mm = points_mm - centre_mm
        self._values = _standardised(self._sample(points_mm))

    def score(self, parameters: FloatArray) -> float:
        normal = plane_normal(parameters[0], parameters[1])
        distance_mm = self._relative_mm @ normal - parameters[2]
        mirrored = self._sample(self._points_mm - 2 * distance_mm[:, None] * normal)
        return float(self._values @ _standardised(mirrored) / len(mirrored))

    def _sample(self, points_mm: FloatArray) -> FloatArray:
        kji = transform_points(self._kji_from_base, points_mm)
        values = ndimage.map_coordinates(
            self._picture, kji.T, output=np.float64, order=1, mode="constant", cval=_CLIP_HU[0], prefilter=False
        )
        return np.asarray(values, dtype=np.float64)


def _standardised(values: FloatArray) -> FloatArray:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _every(points_mm: FloatArray, count: int) -> FloatArray:
    """About `count` points, spread evenly and always the same."""
    step = max(1, len(points_mm) // count)
    return points_mm[::step]


def _grid() -> list[tuple[float, float, float]]:
    yaws = np.arange(-32.0, 33.0, 8.0)
    rolls = np.arange(-16.0, 17.0, 8.0)
    offsets = np.arange(-12.0, 13.0, 6.0)
    return [(float(yaw), float(roll), float(offset)) for yaw in yaws for roll in rolls for offset in offsets]


def _refine(mirror: _Mirror, start: FloatArray) -> FloatArray:
    simplex = start + np.vstack([np.zeros(3), np.diag([3.0, 3.0, 2.0])])
    result = optimize.minimize(
        lambda parameters: -mirror.score(parameters),
        start,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-5, "maxfev": 120},
    )
    return np.asarray(result.x, dtype=np.float64)
