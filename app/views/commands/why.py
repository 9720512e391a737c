"""Actions on the reasons for a finding."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.views.commands.base import Command

ORDER = 60


class WhyTarget(Protocol):
    """What the window offers to this area."""

    def can_jump(self) -> bool:
        """Say whether the selected finding is covered by the model."""

    def toggle_evidence(self) -> None:
        """Show or hide the evidence strip."""

    def jump_to_strongest(self, against: bool) -> None:
        """Show the slice that pushed the finding most."""

    def toggle_split(self) -> None:
        """Split the ledger's bars, or not."""


def commands(target: WhyTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command("evidence", "Evidence strip", ("E",), "Show or hide the strip", "Why", target.toggle_evidence),
        Command(
            "jump",
            "Jump to the slice that pushed it up most",
            ("J",),
            "From the ledger",
            "Why",
            partial(target.jump_to_strongest, False),
            "jump",
            enabled=target.can_jump,
        ),
        Command(
            "jump_against",
            "Jump to the slice that pushed it down most",
            ("Shift+J",),
            "From the ledger",
            "Why",
            partial(target.jump_to_strongest, True),
            enabled=target.can_jump,
        ),
        Command("split", "Split frozen path and experts", ("B",), "In the ledger's bars", "Why", target.toggle_split),
    )
