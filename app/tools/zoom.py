"""Drag up to magnify, down to shrink."""

from __future__ import annotations

import math

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel

DOUBLING_PX = 160.0


class Zoom(Tool):
    """Magnifies about the point where the drag began."""

    key = "zoom"
    label = "Zoom"
    shortcut = "Z"
    icon = "zoom"
    cursor = "magnifier"
    help = "Drag up to magnify about the point pressed, down to shrink. Ctrl+wheel always zooms."
    order = 20

    def __init__(self) -> None:
        self._anchor: tuple[float, float] | None = None

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Keep the point that stays in place."""
        self._anchor = event.x, event.y

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Double the magnification for every `DOUBLING_PX` upwards."""
        viewer.zoom_by(math.exp2(-event.dy_px / DOUBLING_PX), self._anchor)


TOOL = Zoom()
