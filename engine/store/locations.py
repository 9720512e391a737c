"""Where a reader sees a finding: marks on acquired slices, in pixels and in LPS millimetres."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

LocationKind = Literal["point", "box", "polygon", "mask"]
PointPx = tuple[float, float]
PointLps = tuple[float, float, float]

_N_POINTS = {"point": (1, 1), "box": (2, 2), "polygon": (3, None), "mask": (2, 2)}


@dataclass(frozen=True)
class Location:
    """One mark on one slice.

    Attributes
    ----------
    kind
        A click, a box, a closed outline, or a brushed area.
    sop_instance_uid
        The acquired slice.
    points_px
        (row, column), whole numbers at pixel centres. A point has one; a box two opposite corners; a polygon its
        corners in order; a mask the first and the last pixel, both included, of its bounding box.
    points_lps_mm
        The same points in the patient: x to the left, y to the back, z to the head.
    mask_runs
        Of a mask only: run lengths over its bounding box, row by row, by turns outside and inside, outside first.
    """

    kind: LocationKind
    sop_instance_uid: str
    points_px: tuple[PointPx, ...]
    points_lps_mm: tuple[PointLps, ...]
    mask_runs: tuple[int, ...] = ()

    def problem(self) -> str | None:
        """Say why the mark cannot be stored; None if nothing is wrong with it."""
        if self.kind not in _N_POINTS:
            return f"{self.kind} is no kind of mark"
        least, most = _N_POINTS[self.kind]
        n = len(self.points_px)
        if n < least or (most is not None and n > most) or len(self.points_lps_mm) != n:
            return f"a {self.kind} does not have {n} points in pixels and {len(self.points_lps_mm)} in millimetres"
        if not self.sop_instance_uid:
            return f"a {self.kind} names no slice"
        if not all(math.isfinite(value) for point in (*self.points_px, *self.points_lps_mm) for value in point):
            return f"a {self.kind} has a coordinate that is not finite"
        return self._mask_problem()

    def _mask_problem(self) -> str | None:
        if self.kind != "mask":
            return f"a {self.kind} has no area to be brushed" if self.mask_runs else None
        (top, left), (bottom, right) = self.points_px
        area = (bottom - top + 1) * (right - left + 1)
        if min(bottom - top, right - left, *self.mask_runs, 0) < 0 or sum(self.mask_runs) != area:
            return f"a mask's runs do not fill its box of {area:g} pixels"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the mark as the store and the exports write it."""
        return {
            "kind": self.kind,
            "sop_instance_uid": self.sop_instance_uid,
            "points_px": [list(point) for point in self.points_px],
            "points_lps_mm": [list(point) for point in self.points_lps_mm],
            "mask_runs": list(self.mask_runs),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Location:
        """Rebuild what `to_json` wrote."""
        return cls(
            kind=document["kind"],
            sop_instance_uid=document["sop_instance_uid"],
            points_px=tuple((row, column) for row, column in document["points_px"]),
            points_lps_mm=tuple((x, y, z) for x, y, z in document["points_lps_mm"]),
            mask_runs=tuple(document["mask_runs"]),
        )


def mask_location(
    mask_RC: NDArray[np.bool_], sop_instance_uid: str, to_lps: Callable[[float, float], PointLps]
) -> Location:
    """Turn a brushed area into a mark.

    Parameters
    ----------
    mask_RC
        bool (rows, columns) of the slice; at least one pixel is set.
    sop_instance_uid
        The slice.
    to_lps
        From (row, column) on it to LPS mm.

    Raises
    ------
    ValueError
        If no pixel is set.
    """
    rows, columns = np.nonzero(mask_RC)
    if not rows.size:
        raise ValueError("an empty mask marks nothing")
    top, bottom, left, right = int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())
    corners = ((float(top), float(left)), (float(bottom), float(right)))
    return Location(
        kind="mask",
        sop_instance_uid=sop_instance_uid,
        points_px=corners,
        points_lps_mm=(to_lps(*corners[0]), to_lps(*corners[1])),
        mask_runs=_runs(mask_RC[top : bottom + 1, left : right + 1].ravel()),
    )


def location_mask(location: Location, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask mark as bool (rows, columns) of its slice.

    Raises
    ------
    ValueError
        If the mark is no mask, or does not fit into the slice.
    """
    if location.kind != "mask":
        raise ValueError(f"a {location.kind} is no mask")
    (top, left), (bottom, right) = ((int(row), int(column)) for row, column in location.points_px)
    if top < 0 or left < 0 or bottom >= shape[0] or right >= shape[1]:
        raise ValueError(f"a mask from ({top}, {left}) to ({bottom}, {right}) does not fit a slice of {shape}")
    inside = np.repeat(np.arange(len(location.mask_runs)) % 2 == 1, location.mask_runs)
    mask_RC = np.zeros(shape, dtype=np.bool_)
    mask_RC[top : bottom + 1, left : right + 1] = inside.reshape(bottom - top + 1, right - left + 1)
    return mask_RC


def problem_of(locations: Sequence[Location]) -> str | None:
    """Return the first thing that is wrong with any of the marks."""
    return next((problem for location in locations if (problem := location.problem()) is not None), None)


def _runs(flat: NDArray[np.bool_]) -> tuple[int, ...]:
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate(([0], edges, [flat.size])))
    return (0, *lengths.tolist()) if flat[0] else tuple(lengths.tolist())
