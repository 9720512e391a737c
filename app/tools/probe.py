"""Read the value under the pointer without moving anything."""

from __future__ import annotations

from app.tools.base import PointerEvent, Tool
from app.viewmodels.viewer import ViewerModel


class ProbeTool(Tool):
    """Reads values while the button is held; nothing else happens, so that a click cannot move the picture."""

    key = "probe"
    label = "Probe"
    shortcut = "H"
    icon = "probe"
    cursor = "cross"
    help = "A cross-hair that only reads: value and position under the pointer."
    order = 50

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Read the voxel pressed."""
        viewer.probe_at(event.x, event.y)

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Follow the pointer."""
        viewer.probe_at(event.x, event.y)


TOOL = ProbeTool()
