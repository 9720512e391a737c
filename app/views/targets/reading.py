"""What the actions on statements, readers and the blind first read do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.viewmodels.statements import Answer
from app.views.dialogs.adjudication import AdjudicationDialog
from app.views.dialogs.agreement import AgreementDialog
from app.views.dialogs.blind import EndBlindDialog
from app.views.dialogs.readers import ReadersDialog
from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance

MIN_BRUSH_MM, MAX_BRUSH_MM = 1.0, 60.0


class ReadingCommands(Target):
    """Implements `ReadingTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Another finding, or another state of it; another reader, series or session."""
        models = self._models
        findings, reading = models.findings, models.reading
        volume, marks = models.viewer.volume_changed, models.viewer.marks.changed
        return (
            findings.selected_changed,
            findings.rows_changed,
            models.feedback.changed,
            reading.changed,
            volume,
            marks,
        )

    # -- what can be done ---------------------------------------------------------------------------------------

    def can_judge(self) -> bool:
        """Say whether a finding of an open series is selected."""
        return self._models.feedback.can_judge

    def has_picture(self) -> bool:
        """Say whether a slice is in view and a finding selected."""
        return self._models.feedback.can_judge and self._models.viewer.volume is not None

    def is_key_image(self) -> bool:
        """Say whether the slice in view is a key image."""
        return self._models.feedback.is_key_image

    def is_hidden(self) -> bool:
        """Say whether the model's output is hidden."""
        return self._models.reading.hidden

    def is_shown(self) -> bool:
        """Say whether nothing is hidden: what others said may be looked at."""
        return not self._models.reading.hidden

    def is_blind_default(self) -> bool:
        """Say whether every series is read blind first."""
        return self._models.reading.blind

    def can_read_blind(self) -> bool:
        """Say whether a series is open whose model output is in view."""
        return self._models.reading.series_uid is not None and not self._models.reading.hidden

    def can_finish(self) -> bool:
        """Say whether a series is open and not read blind."""
        return self._models.reading.series_uid is not None and not self._models.reading.hidden

    def is_finished(self) -> bool:
        """Say whether the reader has finished the series."""
        session = self._models.reading.session
        return session is not None and session.finished_utc is not None

    def shows_others(self) -> bool:
        """Say whether other readers' statements are shown."""
        return self._models.reading.show_others

    def marks_shown(self) -> bool:
        """Say whether marks are shown."""
        return self._models.viewer.marks.visible

    # -- statements ---------------------------------------------------------------------------------------------

    def give_answer(self, answer: Answer) -> None:
        """Save an answer on the selected finding."""
        self._window.feedback_box.give(answer)

    def undo(self) -> None:
        """Take back what is not saved, or withdraw the newest statement."""
        if not self._models.feedback.undo():
            self._actions.feedback.undo()

    def save_details(self) -> None:
        """Save changed details under the answer that stands."""
        self._models.feedback.save()

    def toggle_details(self) -> None:
        """Show or hide the details."""
        self._window.feedback_box.open_details()

    def toggle_key_image(self) -> None:
        """Make the slice in view a key image, or not."""
        self._models.feedback.toggle_key_image()

    def remove_mark(self) -> None:
        """Remove a mark."""
        self._models.feedback.remove_mark()

    def resize_brush(self, factor: float) -> None:
        """Make the brush larger or smaller."""
        marks = self._models.viewer.marks
        marks.brush_mm = min(max(marks.brush_mm * factor, MIN_BRUSH_MM), MAX_BRUSH_MM)
        self._window.statusBar().showMessage(f"Brush {marks.brush_mm:.1f} mm", 2000)

    def toggle_marks(self) -> None:
        """Show or hide marks."""
        self._models.viewer.marks.visible = not self._models.viewer.marks.visible

    # -- blind first read ---------------------------------------------------------------------------------------

    def commit_blind(self) -> None:
        """Commit the blind read, after a confirmation."""
        if self._models.reading.hidden:
            self._dialogs.show("blind", EndBlindDialog(self._models, self._actions.reading, True, self._window))

    def reveal_model(self) -> None:
        """Show the model's output without a commit, after a confirmation."""
        if self._models.reading.hidden:
            self._dialogs.show("blind", EndBlindDialog(self._models, self._actions.reading, False, self._window))

    def read_blind(self) -> None:
        """Read this series blind."""
        self._actions.reading.read_blind()

    def toggle_blind_default(self) -> None:
        """Read every series blind first, or not."""
        self._actions.reading.set_blind(not self._models.reading.blind)

    def toggle_others(self) -> None:
        """Show other readers' statements, or not."""
        self._actions.reading.set_show_others(not self._models.reading.show_others)

    def toggle_finished(self) -> None:
        """Say that the series is read, or not after all."""
        self._actions.reading.finish(not self.is_finished())

    # -- readers ------------------------------------------------------------------------------------------------

    def open_readers(self) -> None:
        """Choose or add a reader."""
        self._dialogs.show("readers", ReadersDialog(self._models.reading, self._actions.reading, self._window))

    def open_agreement(self) -> None:
        """Compare readers."""
        self._dialogs.show("agreement", AgreementDialog(self._models, self._actions.agreement, self._window))

    def open_adjudication(self) -> None:
        """Decide between readers."""
        self._dialogs.show("adjudication", AdjudicationDialog(self._models, self._actions.agreement, self._window))
