"""Brush over the area of a finding."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel


class Brush(Tool):
    """Paints while the button is held; one stroke is one mark."""

    key = "brush"
    label = "Mark area"
    shortcut = "Shift+B"
    icon = "brush"
    cursor = "cross"
    help = "Brush over the area of the selected finding; each stroke is one mark."
    order = 80

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Begin a stroke."""
        place = viewer.index_at(event.x, event.y)
        self._last = None
        if place is not None and viewer.marks.ready(viewer):
            self._last = float(place[0]), float(place[1])
            viewer.marks.brush(viewer, self._last, self._last)

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Paint up to the pixel under the pointer."""
        place = viewer.nearest_index(event.x, event.y)
        if self._last is not None and place is not None:
            at = float(place[0]), float(place[1])
            viewer.marks.brush(viewer, self._last, at)
            self._last = at

    def release(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Keep the stroke."""
        if self._last is not None:
            self._last = None
            viewer.marks.finish(viewer)


TOOL = Brush()
