"""The reader's marks on slices: where the selected finding is seen. Drawn by tools, undone before they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from engine.store.locations import Location, PointLps, PointPx, location_mask, mask_location

if TYPE_CHECKING:
    from app.viewmodels.viewer import ViewerModel

NO_FINDING = "Select a finding first: a mark says where it is seen."
NO_SPACE = "These images have no position in space, so no place can be stored; key images can."
NEAR_PX = 4.0


@dataclass(frozen=True, eq=False)
class Drawing:
    """A mark while it is drawn: a box from its first corner, or a brushed area, bool [row, column] of its slice."""

    slice_index: int
    first_px: PointPx
    last_px: PointPx
    mask_RC: NDArray[np.bool_] | None = None


class MarksModel:
    """Marks of the selected finding, which may be changed, and of the others, which are only shown.

    Pixels are stored (row, column), whole numbers at pixel centres.
    """

    changed = Signal()
    edited = Signal(tuple)
    refused = Signal(str)

    def __init__(self) -> None:
        self._key: str | None = None
        self._own: tuple[Location, ...] = ()
        self._others: dict[str, tuple[Location, ...]] = {}
        self._drawing: Drawing | None = None
        self._visible = True
        self.brush_mm = 6.0

    # -- content ------------------------------------------------------------------------------------------------

    def show(self, key: str | None, own: tuple[Location, ...], others: dict[str, tuple[Location, ...]]) -> None:
        """Take the marks of the selected finding `key`, and those of the other findings."""
        if (key, own, others) != (self._key, self._own, self._others):
            self._key, self._own, self._others = key, own, others
            self.changed.emit()

    @property
    def key(self) -> str | None:
        """The finding that a new mark belongs to."""
        return self._key

    @property
    def own(self) -> tuple[Location, ...]:
        """Marks of the selected finding, in the order in which they were drawn."""
        return self._own

    @property
    def others(self) -> dict[str, tuple[Location, ...]]:
        """Marks of the other findings, by key."""
        return self._others

    @property
    def drawing(self) -> Drawing | None:
        """The mark that is being drawn."""
        return self._drawing

    @property
    def visible(self) -> bool:
        """Whether marks are drawn over the picture."""
        return self._visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        self._visible = visible
        self.changed.emit()

    # -- drawing ------------------------------------------------------------------------------------------------

    def ready(self, viewer: ViewerModel) -> bool:
        """Say whether a mark can be drawn now; if not, tell the reader why."""
        problem = NO_FINDING if self._key is None else ("" if _in_space(viewer) else NO_SPACE)
        if problem:
            self.refused.emit(problem)
        return not problem

    def add_point(self, viewer: ViewerModel, point_px: PointPx) -> None:
        """Mark a place on the slice in view."""
        self._add(Location("point", _slice_uid(viewer), (point_px,), (_lps(viewer, *point_px),)))

    def draw_box(self, viewer: ViewerModel, first_px: PointPx, last_px: PointPx) -> None:
        """Show a box between two corners."""
        self._drawing = Drawing(viewer.slice_index, first_px, last_px)
        self.changed.emit()

    def brush(self, viewer: ViewerModel, from_px: PointPx, to_px: PointPx) -> None:
        """Paint a round stroke between two pixels, onto the area that is being brushed."""
        if viewer.volume is None:
            return
        there = None if self._drawing is None else self._drawing.mask_RC
        shape = viewer.volume.voxels.shape[1:]
        mask_RC = np.zeros(shape, dtype=np.bool_) if there is None else there
        _paint(mask_RC, from_px, to_px, self.brush_mm / 2, viewer.pixel_size)
        self._drawing = Drawing(viewer.slice_index, from_px, to_px, mask_RC)
        self.changed.emit()

    def finish(self, viewer: ViewerModel) -> None:
        """Turn what was drawn into a mark. A box needs both sides; a drag that stayed on one pixel is dropped."""
        drawing, self._drawing = self._drawing, None
        if drawing is None or drawing.slice_index != viewer.slice_index:
            self.changed.emit()
            return
        if drawing.mask_RC is not None:
            self._add(mask_location(drawing.mask_RC, _slice_uid(viewer), lambda row, column: _lps(viewer, row, column)))
        elif drawing.first_px[0] != drawing.last_px[0] and drawing.first_px[1] != drawing.last_px[1]:
            corners = (drawing.first_px, drawing.last_px)
            places = (_lps(viewer, *corners[0]), _lps(viewer, *corners[1]))
            self._add(Location("box", _slice_uid(viewer), corners, places))
        else:
            self.changed.emit()

    def cancel(self) -> None:
        """Drop what is being drawn."""
        if self._drawing is not None:
            self._drawing = None
            self.changed.emit()

    def remove_at(self, viewer: ViewerModel, point_px: PointPx | None) -> bool:
        """Remove the mark of the selected finding under this pixel, else its newest on the slice in view.

        Returns
        -------
        bool
            Whether there was one.
        """
        uid = _slice_uid(viewer) if viewer.volume is not None else ""
        here = [place for place, mark in enumerate(self._own) if mark.sop_instance_uid == uid]
        if not here:
            return False
        hit = [place for place in here if point_px is not None and covers(self._own[place], point_px)]
        gone = (hit or here)[-1]
        self._set((*self._own[:gone], *self._own[gone + 1 :]))
        return True

    def _add(self, mark: Location) -> None:
        self._set((*self._own, mark))

    def _set(self, marks: tuple[Location, ...]) -> None:
        self._own = marks
        self.changed.emit()
        self.edited.emit(marks)


def covers(mark: Location, point_px: PointPx) -> bool:
    """Say whether a pixel lies in a mark, or beside a point."""
    row, column = point_px
    rows, columns = zip(*mark.points_px, strict=True)
    if mark.kind == "point":
        return float(np.hypot(row - rows[0], column - columns[0])) <= NEAR_PX
    inside = min(rows) <= row <= max(rows) and min(columns) <= column <= max(columns)
    if mark.kind != "mask" or not inside:
        return inside
    shape = (int(max(rows)) + 1, int(max(columns)) + 1)
    return bool(location_mask(mark, shape)[int(row), int(column)])


def describe(mark: Location) -> str:
    """Name a mark's kind for the reader."""
    return {"point": "point", "box": "box", "polygon": "outline", "mask": "brushed area"}[mark.kind]


def _in_space(viewer: ViewerModel) -> bool:
    return viewer.volume is not None and viewer.volume.geometry is not None and bool(_slice_uid(viewer))


def _slice_uid(viewer: ViewerModel) -> str:
    return "" if viewer.volume is None else viewer.volume.sop_instance_uids[viewer.slice_index]


def _lps(viewer: ViewerModel, row: float, column: float) -> PointLps:
    if viewer.volume is None:
        raise ValueError("without a volume no pixel has a place")
    kji = np.array([viewer.slice_index, row, column], dtype=np.float64)
    x, y, z = viewer.volume.require_geometry().kji_to_lps(kji)
    return float(x), float(y), float(z)


def _paint(
    mask_RC: NDArray[np.bool_], from_px: PointPx, to_px: PointPx, radius_mm: float, pixel_mm: tuple[float, float]
) -> None:
    """Set the pixels within a radius of the line between two pixels; at least the pixels on its ends."""
    spacing = np.array(pixel_mm)
    begin, end = np.array(from_px) * spacing, np.array(to_px) * spacing
    reach = np.ceil(radius_mm / spacing).astype(int) + 1
    low = np.maximum(np.minimum(from_px, to_px).astype(int) - reach, 0)
    high = np.minimum(np.maximum(from_px, to_px).astype(int) + reach + 1, mask_RC.shape)
    rows, columns = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij")
    at = np.stack([rows, columns], axis=-1) * spacing
    along = end - begin
    length = float(along @ along)
    share = np.zeros(at.shape[:2]) if length == 0 else np.clip(((at - begin) @ along) / length, 0, 1)
    away_mm = np.linalg.norm(at - (begin + share[..., None] * along), axis=-1)
    mask_RC[low[0] : high[0], low[1] : high[1]] |= away_mm <= radius_mm
    for row, column in (from_px, to_px):
        mask_RC[int(row), int(column)] = True
