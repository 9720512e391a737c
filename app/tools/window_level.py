"""Drag to change window width and centre."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel

WIDTHS_PER_PX = 1 / 250
MIN_STEP = 0.25


class WindowLevel(Tool):
    """Right widens the window, up lowers its centre (the picture brightens), as most CT viewers have it."""

    key = "window"
    label = "Window"
    shortcut = "W"
    icon = "window"
    cursor = "size_all"
    help = "Drag right to widen the window, up to brighten. The right button always does this."
    order = 30

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Move in steps that grow with the window's own width, so that bone and brain feel alike."""
        step = max(viewer.window[1] * WIDTHS_PER_PX, MIN_STEP)
        viewer.adjust_window(event.dy_px * step, event.dx_px * step)


TOOL = WindowLevel()
