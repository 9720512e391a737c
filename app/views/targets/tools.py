"""What the actions on the left button's tools and the window presets do in the window."""

from __future__ import annotations

from app.views.targets.base import Target


class ToolsCommands(Target):
    """Implements `ToolsTarget`."""

    def choose_tool(self, key: str) -> None:
        """Put a tool on the left button."""
        self._models.viewer.tool = key

    def choose_preset(self, key: str) -> None:
        """Apply a window preset."""
        self._models.viewer.set_preset(key)
