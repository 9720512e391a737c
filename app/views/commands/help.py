"""Actions on help."""

from __future__ import annotations

from typing import Protocol

from app.views.commands.base import Command

ORDER = 90


class HelpTarget(Protocol):
    """What the window offers to this area."""

    def open_help(self) -> None:
        """Open keys and help."""

    def open_about(self) -> None:
        """Open the about dialog."""


def commands(target: HelpTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command("help", "Keys and help", ("F1",), "This list", "Help", target.open_help, "help", toolbar=True),
        Command("about", "About…", ("Shift+F1",), "Research use, licences, versions", "Help", target.open_about),
    )
