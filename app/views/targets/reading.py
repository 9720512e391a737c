"""What the actions on the reader's verdicts do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.viewmodels.findings import Verdict
from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance


class ReadingCommands(Target):
    """Implements `ReadingTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Another finding, or another state of it."""
        findings = self._models.findings
        return (findings.selected_changed, findings.rows_changed, findings.row_changed)

    def can_judge(self) -> bool:
        """Say whether the selected finding is covered by the model."""
        selected = self._models.findings.selected
        return selected is not None and selected.covered

    def give_verdict(self, verdict: Verdict) -> None:
        """Save a verdict on the selected finding."""
        self._window.feedback_box.give(verdict)

    def undo_verdict(self) -> None:
        """Withdraw the newest verdict."""
        self._actions.undo_verdict()
