"""A map laid over the acquired slice: where it belongs, how it is coloured, and when it must not be drawn.

A map is on the grid of a prepared slice. The acquired slice is a plane of its own: the map is carried over by the
grid's affine, and drawn only where the two slices really meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from app.viewmodels.explanation import CHOICES, SENSITIVITY, ExplanationModel
from app.viewmodels.viewer import ViewerModel
from engine.analysis import PreparedGrid
from engine.explain.maps import SliceMap
from engine.geometry import VolumeGeometry

DEFAULT_OPACITY = 0.6
OPACITY_STEP = 0.1
STEEPEST_COS = 0.5
# Okabe and Ito's orange and blue, as everywhere in the window: up and down.
UP_RGB, DOWN_RGB = (230, 159, 0), (86, 180, 233)
NO_GRID = (
    "This analysis was kept without the place of its prepared slices, so no map can be laid over the image. "
    "Analyse again."
)
TOO_STEEP = "The acquired slices cross the prepared ones too steeply for a map to be laid over them."
PARTLY = "Drawn where it meets the slice in view."
APART = "Prepared slice {number} does not meet the slice in view."


@dataclass(frozen=True, eq=False)
class Meeting:
    """How a prepared slice lies on an acquired one.

    Attributes
    ----------
    stored_from_map
        float64 (2, 3): ``(row, column, 1)`` of the map to (row, column) of the stored slice, both at pixel centres.
    on_slice
        bool (H, W): where the map's pixel lies within the thickness of both slices.
    """

    stored_from_map: NDArray[np.float64]
    on_slice: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OverlayPicture:
    """What is drawn over the acquired slice.

    Attributes
    ----------
    rgba
        uint8 (H, W, 4), C order, straight alpha: its opacity is in it.
    stored_from_map
        As in `Meeting`.
    limit
        The value at the ends of the colour scale.
    whole
        Whether the two slices meet all over; if not, the map is drawn where they do.
    """

    rgba: NDArray[np.uint8]
    stored_from_map: NDArray[np.float64]
    limit: float
    whole: bool


@dataclass(frozen=True)
class Legend:
    """What is written beside the picture."""

    title: str
    lines: tuple[str, ...]
    low: str = ""
    high: str = ""


class OverlayModel:
    """Whether the chosen map lies on the image, and how."""

    changed = Signal()

    def __init__(self, explanation: ExplanationModel, viewer: ViewerModel) -> None:
        self._explanation, self._viewer = explanation, viewer
        self._on = False
        self._opacity = DEFAULT_OPACITY
        self._made: tuple[object, ...] | None = None
        self._picture: OverlayPicture | None = None
        self._reason = ""
        self._shown: tuple[object, ...] = (self._on, self._opacity, None, None)
        explanation.changed.connect(self._refresh)
        viewer.slice_changed.connect(self._refresh)
        viewer.volume_changed.connect(self._refresh)

    @property
    def on(self) -> bool:
        """Whether the reader wants a map on the image; off until asked for."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        if on != self._on:
            self._on = on
            self._refresh()

    @property
    def opacity(self) -> float:
        """Of the strongest values, 0.1 to 1; weaker ones are more transparent."""
        return self._opacity

    @opacity.setter
    def opacity(self, opacity: float) -> None:
        opacity = float(np.clip(opacity, OPACITY_STEP, 1.0))
        if opacity != self._opacity:
            self._opacity = opacity
            self._refresh()

    @property
    def picture(self) -> OverlayPicture | None:
        """What to draw; None where nothing may be."""
        return self._picture

    @property
    def legend(self) -> Legend | None:
        """What to write beside it; None while the reader wants no map, or everything is hidden."""
        explanation = self._explanation
        if not self._on or explanation.hidden or explanation.analysis is None or self._viewer.volume is None:
            return None
        choice, drawn = CHOICES[explanation.method], explanation.current
        if drawn is None:
            other = explanation.elsewhere
            place = "" if other is None else f"Its map belongs to prepared slice {other + 1}, not to this one."
            return Legend(f"{choice.label}: no map here", (place or explanation.reason,))
        place = f"Of prepared slice {drawn.slice_index + 1}"
        if self._picture is None:
            return Legend(f"{choice.label}: not drawn", (f"{place}.", self._reason))
        label = explanation.analysis.finding(drawn.finding_key).label
        limit = self._picture.limit
        partly = () if self._picture.whole else (PARTLY,)
        lines = (label, f"{place}, {choice.unit}", *partly, SENSITIVITY)
        return Legend(drawn.label, lines, f"−{limit:.2g}", f"+{limit:.2g}")

    def _refresh(self, *_: object) -> None:
        key = self._key()
        if key is None or key != self._made:
            self._made = key
            self._picture, self._reason = (None, "") if key is None else self._draw()
        shown = (self._on, self._opacity, self._picture, self.legend)
        if shown != self._shown:
            self._shown = shown
            self.changed.emit()

    def _key(self) -> tuple[object, ...] | None:
        """Name all that the picture depends on; None where there is none."""
        drawn, analysis = self._explanation.current, self._explanation.analysis
        if not self._on or drawn is None or analysis is None or self._viewer.volume is None:
            return None
        return drawn, analysis.prepared_grid, self._viewer.slice_index, self._viewer.volume, self._opacity

    def _draw(self) -> tuple[OverlayPicture | None, str]:
        analysis, drawn, volume = self._explanation.analysis, self._explanation.current, self._viewer.volume
        if analysis is None or drawn is None or volume is None or volume.geometry is None:
            return None, ""
        if analysis.prepared_grid is None:
            return None, NO_GRID
        meeting = meet(analysis.prepared_grid, drawn.slice_index, volume.geometry, self._viewer.slice_index)
        if meeting is None:
            return None, TOO_STEEP
        if not meeting.on_slice.any():
            return None, APART.format(number=drawn.slice_index + 1)
        limit = self._explanation.limit
        rgba = paint(drawn, limit, self._opacity, meeting.on_slice)
        return OverlayPicture(rgba, meeting.stored_from_map, limit, bool(meeting.on_slice.all())), ""


def meet(grid: PreparedGrid, prepared: int, geometry: VolumeGeometry, acquired: int) -> Meeting | None:
    """Find how a prepared slice lies on an acquired one; None where their planes are far from parallel."""
    to_prepared = np.linalg.inv(np.array(grid.lps_from_kji))
    row_mm, column_mm = geometry.pixel_spacing_mm
    base = to_prepared[:3, :3] @ geometry.origins_lps_mm[acquired] + to_prepared[:3, 3]
    down = to_prepared[:3, :3] @ geometry.column_cosine_lps * row_mm
    across = to_prepared[:3, :3] @ geometry.row_cosine_lps * column_mm
    normal = np.array(grid.lps_from_kji)[:3, 0]
    slice_mm = float(np.linalg.norm(normal))
    if abs(float(normal @ geometry.normal_lps)) < STEEPEST_COS * slice_mm:
        return None
    stored_from_plane = np.linalg.inv(np.stack([down[1:], across[1:]], axis=1))
    stored_from_map = np.concatenate([stored_from_plane, -(stored_from_plane @ base[1:])[:, None]], axis=1)
    height, width = grid.shape[1:]
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    stored = [line[0] * rows + line[1] * columns + line[2] for line in stored_from_map]
    place = base[0] + down[0] * stored[0] + across[0] * stored[1]
    reach = max(0.5, _thickness_mm(geometry, acquired) / slice_mm / 2)
    return Meeting(stored_from_map, np.abs(place - prepared) <= reach)


def prepared_slice_at(grid: PreparedGrid, geometry: VolumeGeometry, acquired: int) -> int | None:
    """Return the prepared slice through the middle of an acquired one; None if it is beyond the grid."""
    middle = np.array([acquired, (geometry.rows - 1) / 2, (geometry.columns - 1) / 2])
    to_prepared = np.linalg.inv(np.array(grid.lps_from_kji))
    place = float(to_prepared[0, :3] @ geometry.kji_to_lps(middle) + to_prepared[0, 3])
    return round(place) if -0.5 <= place <= grid.shape[0] - 0.5 else None


def paint(drawn: SliceMap, limit: float, opacity: float, on_slice: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour a map: its sign is the colour, its size the opacity; nothing is drawn where it is zero or off the slice.

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 4), straight alpha.
    """
    strength = np.clip(np.abs(drawn.values) / limit, 0.0, 1.0) if limit > 0 else np.zeros_like(drawn.values)
    rgba = np.empty((*drawn.values.shape, 4), dtype=np.uint8)
    rgba[..., :3] = np.where((drawn.values >= 0)[..., None], np.array(UP_RGB), np.array(DOWN_RGB))
    rgba[..., 3] = np.where(on_slice, strength * (opacity * 255) + 0.5, 0).astype(np.uint8)
    return rgba


def _thickness_mm(geometry: VolumeGeometry, acquired: int) -> float:
    """Return the distance to the nearer neighbour: what an acquired slice stands for."""
    gaps = geometry.normal_spacing_mm[max(acquired - 1, 0) : acquired + 1]
    return float(gaps.min()) if gaps.size else 0.0
