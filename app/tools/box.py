"""Drag a box around a finding."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel


class MarkBox(Tool):
    """Spans a box from the pixel pressed to the pixel where the button is let go."""

    key = "box"
    label = "Mark box"
    shortcut = "Shift+X"
    icon = "box"
    cursor = "cross"
    help = "Drag a box around the selected finding, from corner to corner."
    order = 70

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Keep the first corner."""
        place = viewer.index_at(event.x, event.y)
        self._first = None
        if place is not None and viewer.marks.ready(viewer):
            self._first = float(place[0]), float(place[1])

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Show the box to the pixel under the pointer."""
        place = viewer.nearest_index(event.x, event.y)
        if self._first is not None and place is not None:
            viewer.marks.draw_box(viewer, self._first, (float(place[0]), float(place[1])))

    def release(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Keep the box."""
        if self._first is not None:
            self._first = None
            viewer.marks.finish(viewer)


TOOL = MarkBox()
