"""Drag up and down through the slices."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel

MIN_PX_PER_SLICE = 4.0


class Scroll(Tool):
    """Scrolls the stack with the pointer: the viewer's height holds all slices."""

    key = "scroll"
    label = "Scroll"
    shortcut = "S"
    icon = "scroll"
    cursor = "size_vertical"
    help = "Drag down or up to run through the slices. The wheel always scrolls."
    order = 40

    def __init__(self) -> None:
        self._rest_px = 0.0

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Start from the slice shown."""
        self._rest_px = 0.0

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Move by whole slices, keeping the rest of the way for the next event."""
        px_per_slice = max(event.height_px / max(viewer.n_slices, 1), MIN_PX_PER_SLICE)
        self._rest_px += event.dy_px
        steps = int(self._rest_px / px_per_slice)
        self._rest_px -= steps * px_per_slice
        viewer.scroll(steps)


TOOL = Scroll()
