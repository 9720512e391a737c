"""What the actions on studies and the list of them do in the window."""

from __future__ import annotations

from app.views.targets.base import Target


class WorklistCommands(Target):
    """Implements `WorklistTarget`."""

    def toggle_studies(self) -> None:
        """Show or hide the study list."""
        self._window.study_list.setVisible(self._window.study_list.isHidden())

    def select_study(self, step: int) -> None:
        """Select the next or previous series."""
        rows = self._models.studies.rows
        if not rows:
            return
        uids = [row.series_uid for row in rows]
        current = self._models.studies.current_uid
        place = 0 if current not in uids else min(max(uids.index(current) + step, 0), len(uids) - 1)
        if uids[place] != current:
            self._actions.select_series(uids[place])
