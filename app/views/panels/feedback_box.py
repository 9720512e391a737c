"""The reader's verdict on the selected finding. Every click is saved at once."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from app.viewmodels.findings import REASONS, VERDICT_LABELS, FindingRow, FindingsModel, Verdict
from app.views import theme
from app.views.bindings import bind

BUTTONS: tuple[tuple[Verdict, str, str], ...] = (
    ("agree", "Agree", "A"),
    ("disagree", "Disagree", "D"),
    ("unsure", "Unsure", "U"),
)
NO_RESULT = "Feedback needs an analysis: there is no statement to agree with yet."
NOT_COVERED = "Not covered by this model: there is no statement to agree with."


class FeedbackBox(QWidget):
    """Buttons, reason and comment; `verdict_given(key, verdict, reason, comment)` on each click."""

    verdict_given = Signal(str, str, str, str)

    def __init__(self, model: FindingsModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._shown: FindingRow | None = None
        self.title = QLabel(wordWrap=True)
        self.title.setProperty("role", "heading")
        self.definition = QLabel(wordWrap=True)
        self.definition.setProperty("role", "muted")
        self.statement = QLabel(wordWrap=True)
        self.current = QLabel(wordWrap=True)
        self.current.setProperty("role", "muted")
        self.buttons = {verdict: self._button(resources, verdict, text, key) for verdict, text, key in BUTTONS}
        self.reason = QComboBox()
        for reason in REASONS:
            self.reason.addItem(reason.label, reason.key)
        self.reason.setAccessibleName("Reason")
        self.reason.setToolTip("Why; saved with the verdict")
        self.comment = QLineEdit(placeholderText="Comment (saved with the verdict)")
        self.comment.setAccessibleName("Comment")
        self.comment.setToolTip("Return saves a changed comment under the verdict that stands")
        self.next = QPushButton("Next (N)")
        self.next.setToolTip("Next finding that the model covers (N); previous: Shift+N")
        self.next.clicked.connect(lambda: self._model.select_next())
        self._lay_out()
        self.reason.activated.connect(self._amend)
        self.comment.returnPressed.connect(self._amend)
        bind(self, model.selected_changed, self._refresh)
        bind(self, model.row_changed, self._refresh)
        bind(self, model.rows_changed, self._refresh)
        self._show()

    def _button(self, resources: Path, verdict: Verdict, text: str, key: str) -> QPushButton:
        button = QPushButton(theme.icon(resources, verdict), f"{text} ({key})")
        button.setCheckable(True)
        button.setStyleSheet("padding: 5px 4px;")
        button.clicked.connect(lambda: self.give(verdict))
        return button

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(5)
        for button in self.buttons.values():
            buttons.addWidget(button, 1)
        words = QGridLayout()
        words.setSpacing(5)
        words.addWidget(self.reason, 0, 0)
        words.addWidget(self.next, 0, 1)
        words.addWidget(self.comment, 1, 0, 1, 2)
        words.setColumnStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 6, 10, 8)
        layout.setSpacing(5)
        for widget in (self.title, self.definition, self.statement):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        layout.addLayout(words)
        layout.addWidget(self.current)

    # -- from the model -----------------------------------------------------------------------------------------

    def _refresh(self, *_: object) -> None:
        """Show the selected row if it is another than the one shown: a comment being typed is never wiped."""
        if self._model.selected != self._shown:
            self._show()

    def _show(self) -> None:
        row = self._shown = self._model.selected
        self.title.setText("No finding selected" if row is None else row.finding.label)
        self.definition.setText("" if row is None else row.finding.definition)
        self.definition.setVisible(row is not None)
        self.statement.setText(statement(row))
        can_judge = row is not None and row.covered
        feedback = None if row is None else row.feedback
        for verdict, button in self.buttons.items():
            button.setEnabled(can_judge)
            button.setChecked(feedback is not None and feedback.verdict == verdict)
            button.setToolTip(button_help(row, verdict))
        self.reason.setEnabled(can_judge)
        self.comment.setEnabled(can_judge)
        self.next.setEnabled(bool(self._model.rows))
        self.reason.setCurrentIndex(max(self.reason.findData(feedback.reason if feedback else ""), 0))
        self.comment.setText(feedback.comment if feedback else "")
        self.current.setText(current_text(row))

    # -- from the reader ----------------------------------------------------------------------------------------

    def _amend(self, *_: object) -> None:
        """Save a changed reason or comment under the verdict that stands; without one it waits for the verdict."""
        row = self._model.selected
        if row is not None and row.feedback is not None:
            self.give(row.feedback.verdict)

    def give(self, verdict: Verdict) -> None:
        """Send this verdict on the selected finding, with the reason and comment that stand in the box."""
        row = self._model.selected
        if row is None or not row.covered:
            return
        self.buttons[verdict].setChecked(row.feedback is not None and row.feedback.verdict == verdict)
        self.verdict_given.emit(row.key, verdict, self.reason.currentData(), self.comment.text().strip())


def statement(row: FindingRow | None) -> str:
    """Say in words what there is to agree with."""
    if row is None:
        return ""
    if row.result is None:
        return NO_RESULT
    if row.value is None:
        return NOT_COVERED
    if row.operating_point is None or row.positive is None:
        return f"Model: {row.value_name} {row.value:.2f}, no operating point"
    word, sign = ("present", "≥") if row.positive else ("absent", "<")
    return f"Model: {word} · {row.value_name} {row.value:.2f} {sign} {row.operating_point:.2f}"


def button_help(row: FindingRow | None, verdict: Verdict) -> str:
    """Say what a verdict states about the finding itself."""
    if row is None or row.positive is None:
        return ""
    present = row.positive == (verdict == "agree")
    return "You cannot tell" if verdict == "unsure" else f"You state: {'present' if present else 'absent'}"


def current_text(row: FindingRow | None) -> str:
    """Return the standing verdict with reader and time."""
    if row is None or row.result is None or not row.covered:
        return ""
    if row.feedback is None:
        return "Not reviewed."
    parts = (VERDICT_LABELS[row.feedback.verdict], row.feedback.reader, row.feedback.time_text)
    return f"{' · '.join(part for part in parts if part)} — saved. Ctrl+Z undoes."
