"""What the actions on the findings panel do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.viewmodels.finding_filters import FilterKey
from app.views.dialogs.impression import ImpressionDialog
from app.views.dialogs.rest_absent import RestAbsentDialog
from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance


class FindingsCommands(Target):
    """Implements `FindingsTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Other rows, another density, another series."""
        findings = self._models.findings
        return (findings.rows_changed, findings.row_changed, findings.density_changed, self._models.reading.changed)

    def focus_search(self) -> None:
        """Go to the search box."""
        self._window.findings_panel.focus_search()

    def select_finding(self, step: int) -> None:
        """Select the next or previous finding."""
        self._models.findings.select_next(step)

    def select_unreviewed(self) -> None:
        """Select the next finding on which nothing is stated."""
        self._models.findings.select_unreviewed()

    def toggle_filter(self, key: FilterKey) -> None:
        """Switch a filter on or off."""
        self._models.findings.toggle_filter(key)

    def is_filtered(self, key: FilterKey) -> bool:
        """Say whether a filter is on."""
        return key in self._models.findings.filters

    def can_filter(self, key: FilterKey) -> bool:
        """Say whether a filter can be used."""
        return not self._models.findings.filter_problem(key)

    def clear_filters(self) -> None:
        """Show all findings again."""
        self._models.findings.clear_filters()

    def next_order(self) -> None:
        """Take the next order."""
        self._window.findings_panel.next_order()

    def toggle_density(self) -> None:
        """Show as many findings as possible, or fewer comfortably."""
        self._window.findings_panel.toggle_density()

    def is_compact(self) -> bool:
        """Say whether the list is compact."""
        return self._models.findings.density == "compact"

    def accept_rest(self) -> None:
        """Ask whether all that is not reviewed is absent."""
        if self.can_accept_rest():
            self._models.feedback.leave()
            self._dialogs.show("rest_absent", RestAbsentDialog(self._models, self._window))

    def can_accept_rest(self) -> bool:
        """Say whether a series is open and something of it is not reviewed."""
        findings = self._models.findings
        return self._models.reading.series_uid is not None and findings.n_reviewed < len(findings.rows)

    def open_impression(self) -> None:
        """Open the draft impression."""
        self._models.feedback.leave()
        self._dialogs.show("impression", ImpressionDialog(self._models, self._actions.impression, self._window))
