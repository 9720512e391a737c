"""What the actions on the reasons for a finding do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance


class WhyCommands(Target):
    """Implements `WhyTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Another finding, another state of it, or other reasons."""
        findings = self._models.findings
        evidence = self._models.evidence.view_changed
        return (findings.selected_changed, findings.rows_changed, findings.row_changed, evidence)

    def can_jump(self) -> bool:
        """Say whether the selected finding is covered by the model, and the model reads slices."""
        selected = self._models.findings.selected
        return selected is not None and selected.covered and not self._models.evidence.is_volume

    def toggle_evidence(self) -> None:
        """Show or hide the evidence strip."""
        self._window.evidence_panel.setVisible(self._window.evidence_panel.isHidden())

    def jump_to_strongest(self, against: bool) -> None:
        """Show the slice that pushed the finding most."""
        self._models.evidence.jump_to_strongest(against)

    def toggle_split(self) -> None:
        """Split the ledger's bars, or not."""
        self._models.evidence.split = not self._models.evidence.split
