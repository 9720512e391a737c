"""What the actions on the findings panel do in the window."""

from __future__ import annotations

from app.views.targets.base import Target


class FindingsCommands(Target):
    """Implements `FindingsTarget`."""

    def focus_search(self) -> None:
        """Go to the search box."""
        self._window.findings_panel.focus_search()

    def select_finding(self, step: int) -> None:
        """Select the next or previous finding."""
        self._models.findings.select_next(step)
