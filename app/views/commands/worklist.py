"""Actions on studies and the list of them."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.views.commands.base import Command

ORDER = 20


class WorklistTarget(Protocol):
    """What the window offers to this area."""

    def toggle_studies(self) -> None:
        """Show or hide the study list."""

    def select_study(self, step: int) -> None:
        """Select the next or previous series."""


def commands(target: WorklistTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command(
            "studies", "Study list", ("L",), "Show or hide the list on the left", "Worklist", target.toggle_studies
        ),
        Command("next_study", "Next study", ("Ctrl+Down",), "", "Worklist", partial(target.select_study, 1)),
        Command("previous_study", "Previous study", ("Ctrl+Up",), "", "Worklist", partial(target.select_study, -1)),
    )
