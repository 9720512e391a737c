"""Drag the picture under the window."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel


class Pan(Tool):
    """Moves the picture with the pointer."""

    key = "pan"
    label = "Pan"
    shortcut = "G"
    icon = "pan"
    cursor = "open_hand"
    help = "Drag to move the picture. The middle button always pans."
    order = 10

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Keep the grabbed point under the pointer."""
        viewer.pan_by(event.dx, event.dy)


TOOL = Pan()
