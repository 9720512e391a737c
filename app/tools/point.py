"""Click where a finding is seen."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel


class MarkPoint(Tool):
    """Marks the pixel pressed for the selected finding."""

    key = "point"
    label = "Mark point"
    shortcut = "Shift+P"
    icon = "point"
    cursor = "cross"
    help = "Click where the selected finding is seen."
    order = 60

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Add the mark."""
        place = viewer.index_at(event.x, event.y)
        if place is not None and viewer.marks.ready(viewer):
            viewer.marks.add_point(viewer, (float(place[0]), float(place[1])))


TOOL = MarkPoint()
