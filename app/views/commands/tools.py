"""Actions on the left button's tools and the window presets."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.tools.registry import tools
from app.viewmodels.viewer import PRESETS
from app.views.commands.base import Command

ORDER = 40


class ToolsTarget(Protocol):
    """What the window offers to this area."""

    def choose_tool(self, key: str) -> None:
        """Put a tool on the left button."""

    def choose_preset(self, key: str) -> None:
        """Apply a window preset."""


def commands(target: ToolsTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (*_tools(target), *_presets(target))


def _tools(target: ToolsTarget) -> tuple[Command, ...]:
    return tuple(
        Command(
            f"tool_{tool.key}",
            tool.label,
            (tool.shortcut,),
            tool.help,
            "Tools",
            partial(target.choose_tool, tool.key),
            tool.icon,
            check_group="tools",
            toolbar=True,
        )
        for tool in tools().values()
    )


def _presets(target: ToolsTarget) -> tuple[Command, ...]:
    return tuple(
        Command(
            f"preset_{preset.key}",
            preset.label,
            (preset.shortcut,),
            "The range of the values"
            if preset.center is None
            else f"Centre {preset.center:g}, width {preset.width:g} HU",
            "Window presets",
            partial(target.choose_preset, preset.key),
            check_group="presets",
        )
        for preset in PRESETS
    )
