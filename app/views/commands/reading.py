"""Actions on the reader's verdicts."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.viewmodels.findings import Verdict
from app.views.commands.base import Command

ORDER = 70


class ReadingTarget(Protocol):
    """What the window offers to this area."""

    def can_judge(self) -> bool:
        """Say whether the selected finding is covered by the model."""

    def give_verdict(self, verdict: Verdict) -> None:
        """Save a verdict on the selected finding."""

    def undo_verdict(self) -> None:
        """Withdraw the newest verdict."""


def commands(target: ReadingTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command(
            "agree",
            "Agree",
            ("A",),
            "Save: the model is right",
            "Reading",
            partial(target.give_verdict, "agree"),
            "agree",
            enabled=target.can_judge,
        ),
        Command(
            "disagree",
            "Disagree",
            ("D",),
            "Save: the model is wrong",
            "Reading",
            partial(target.give_verdict, "disagree"),
            "disagree",
            enabled=target.can_judge,
        ),
        Command(
            "unsure",
            "Unsure",
            ("U",),
            "Save: cannot tell",
            "Reading",
            partial(target.give_verdict, "unsure"),
            "unsure",
            enabled=target.can_judge,
        ),
        Command(
            "undo", "Undo verdict", ("Ctrl+Z",), "Withdraw the newest verdict", "Reading", target.undo_verdict, "undo"
        ),
    )
