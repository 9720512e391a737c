"""The end of a blind first read: what was stated is counted before the model's output is shown."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

from app.viewmodels.actions import ReadingActions
from app.viewmodels.findings import FindingsModel
from app.viewmodels.review import ReviewModels

COMMIT = "What you stated blind is kept as it is. Later changes are possible and are marked as changed."
REVEAL = "The blind read is switched off without a commit. This is logged with its time."


class EndBlindDialog(QDialog):
    """Asks once. Esc goes on reading blind; Return commits, but never shows the model without a commit by itself."""

    def __init__(self, models: ReviewModels, actions: ReadingActions, commit: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self._reading, self._actions, self._commit = models.reading, actions, commit
        self.setWindowTitle("Commit the blind read" if commit else "Show the model without committing")
        self.counts = QLabel(counted(models.findings), wordWrap=True)
        self.counts.setProperty("role", "heading")
        cannot = "The model's output of this series cannot be hidden from you again."
        text = QLabel(f"{COMMIT if commit else REVEAL} {cannot}", wordWrap=True)
        who = models.reading.reader
        self.who = QLabel(f"Reader: {who}" if who else "No reader is chosen: choose one first.")
        buttons = QDialogButtonBox()
        self.agree = buttons.addButton(
            "Commit and show the model" if commit else "Show the model", QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.agree.setEnabled(models.reading.session is not None)
        self.stay = buttons.addButton("Go on blind", QDialogButtonBox.ButtonRole.RejectRole)
        likely = self.agree if commit else self.stay
        likely.setDefault(True)
        likely.setFocus()
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        for widget in (self.counts, text, self.who, buttons):
            column.addWidget(widget)
        self.setMinimumWidth(460)

    def accept(self) -> None:
        """End the blind read."""
        if self._commit:
            self._actions.commit()
        else:
            self._actions.reveal()
        super().accept()


def counted(findings: FindingsModel) -> str:
    """Count what was stated."""
    answers = [row.feedback.answer for row in findings.rows if row.feedback is not None]
    parts = ", ".join(f"{answers.count(answer)} {answer}" for answer in ("present", "absent", "unsure"))
    silent = len(findings.rows) - len(answers)
    return f"You stated {len(answers)} of {len(findings.rows)} findings: {parts}. Nothing said on {silent}."
