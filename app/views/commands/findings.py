"""Actions on the findings panel."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.views.commands.base import Command

ORDER = 50


class FindingsTarget(Protocol):
    """What the window offers to this area."""

    def focus_search(self) -> None:
        """Go to the search box."""

    def select_finding(self, step: int) -> None:
        """Select the next or previous finding."""


def commands(target: FindingsTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command("search", "Search findings", ("Ctrl+F",), "Labels and synonyms", "Findings", target.focus_search),
        Command("next_finding", "Next finding", ("N",), "↓ in the list", "Findings", partial(target.select_finding, 1)),
        Command(
            "previous_finding",
            "Previous finding",
            ("Shift+N",),
            "↑ in the list",
            "Findings",
            partial(target.select_finding, -1),
        ),
    )
