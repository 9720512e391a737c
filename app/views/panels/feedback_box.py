"""The reader's statement on the selected finding. Every answer is saved at once; details can be folded away."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QToolButton, QVBoxLayout, QWidget

from app.viewmodels.findings import FindingRow
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import ANSWER_LABELS, Answer
from app.views import theme
from app.views.bindings import bind
from app.views.panels.feedback_details import FeedbackDetails

NO_RESULT = "No analysis yet: your statement stands alone."
NOT_COVERED = "Not covered by this model: your statement stands alone."
HIDDEN = "Model: hidden until you commit"
NO_REASON = "No reason given"


class FeedbackBox(QWidget):
    """Answer, reason, comment and details; `commit_requested` ends a blind first read."""

    commit_requested = Signal()

    def __init__(self, models: ReviewModels, resources: Path) -> None:
        super().__init__()
        model = models.feedback
        self._model, self._findings, self._reading, self._keys = model, models.findings, models.reading, models.keys
        self._shown: object = None
        self._make(resources)
        self._lay_out()
        self.reason.activated.connect(lambda: model.amend(reason_code=self.reason.currentData()))
        self.comment.textEdited.connect(lambda text: model.edit(comment=text.strip()))
        self.comment.returnPressed.connect(model.save)
        self.toggle.toggled.connect(self._fold)
        bind(self, model.changed, self._show)
        bind(self, models.reading.changed, self._show_blind)
        bind(self, models.keys.changed, self._name_keys)
        self._fold(False)
        self._name_keys()
        self._show()
        self._show_blind()

    def _make(self, resources: Path) -> None:
        self.blind = QWidget()
        self.blind_text = QLabel(wordWrap=True)
        self.blind_text.setProperty("role", "warning")
        self.commit = QPushButton("Commit…")
        self.commit.setToolTip("End the blind first read and show what the model says; logged with its time")
        self.commit.clicked.connect(self.commit_requested)
        self.title = QLabel(wordWrap=True)
        self.title.setProperty("role", "heading")
        self.statement = QLabel(wordWrap=True)
        self.current = QLabel(wordWrap=True)
        self.current.setProperty("role", "muted")
        self.buttons = {answer: self._button(resources, answer) for answer in ANSWER_LABELS}
        self.next = QPushButton("Next")
        self.next.setToolTip("Next finding")
        self.next.clicked.connect(lambda: self._findings.select_next())
        self.reason = QComboBox()
        self.reason.setAccessibleName("Reason")
        self.reason.setToolTip("Why you differ from the model, or cannot tell; saved with the answer")
        self.comment = QLineEdit(placeholderText="Comment")
        self.comment.setAccessibleName("Comment")
        self.comment.setToolTip("Saved with the answer; Return saves it under the answer that stands")
        self.toggle = QToolButton(text="Details")
        self.toggle.setCheckable(True)
        self.toggle.setToolTip("Side, certainty, marks on slices, key images, definition")
        self.details = FeedbackDetails(self._model, resources)

    def _button(self, resources: Path, answer: Answer) -> QPushButton:
        button = QPushButton(theme.icon(resources, answer), ANSWER_LABELS[answer])
        button.setCheckable(True)
        button.setStyleSheet("padding: 5px 4px;")
        button.clicked.connect(lambda: self.give(answer))
        return button

    def _lay_out(self) -> None:
        blind = QHBoxLayout(self.blind)
        blind.setContentsMargins(0, 0, 0, 0)
        blind.addWidget(self.blind_text, 1)
        blind.addWidget(self.commit)
        answers = QHBoxLayout()
        answers.setSpacing(5)
        for button in self.buttons.values():
            answers.addWidget(button, 1)
        answers.addWidget(self.next)
        words = QHBoxLayout()
        words.setSpacing(5)
        words.addWidget(self.reason, 1)
        words.addWidget(self.comment, 1)
        words.addWidget(self.toggle)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 6, 10, 8)
        layout.setSpacing(5)
        for widget in (self.blind, self.title, self.statement):
            layout.addWidget(widget)
        layout.addLayout(answers)
        layout.addLayout(words)
        layout.addWidget(self.details)
        layout.addWidget(self.current)

    # -- from the model -----------------------------------------------------------------------------------------

    def _show(self, *_: object) -> None:
        model = self._model
        row, draft = model.row, model.draft
        self.title.setText("No finding selected" if row is None else row.finding.label)
        self.title.setToolTip("" if row is None else row.finding.definition)
        self.statement.setText(statement(row, model.hidden))
        standing = None if row is None else row.feedback
        for answer, button in self.buttons.items():
            button.setEnabled(model.can_judge)
            button.setChecked(standing is not None and standing.answer == answer)
        self.next.setEnabled(bool(self._findings.rows))
        self._show_reasons()
        self.comment.setEnabled(model.can_judge)
        # A comment is never rewritten under the cursor: what is typed is the draft, but for blanks at its ends.
        if self.comment.text().strip() != draft.comment:
            self.comment.setText(draft.comment)
        lines = [model.status_text(self._keys.first), "" if standing is None else standing.history_text]
        self.current.setText("\n".join(line for line in lines if line))

    def _show_reasons(self) -> None:
        reasons = self._model.reasons
        shown = tuple(self.reason.itemData(place) for place in range(1, self.reason.count()))
        if shown != tuple(reason.code for reason in reasons):
            self.reason.clear()
            self.reason.addItem(NO_REASON, "")
            for reason in reasons:
                self.reason.addItem(reason.label, reason.code)
        if not reasons and self.reason.hasFocus():
            self.next.setFocus()  # else Qt would go on to the comment, and the keys of the answers would be typed there
        self.reason.setVisible(bool(reasons))
        self.reason.setCurrentIndex(max(self.reason.findData(self._model.draft.reason_code), 0))

    def _show_blind(self) -> None:
        self.blind.setVisible(self._reading.hidden)
        self.commit.setEnabled(self._reading.session is not None)
        who = "" if self._reading.reader else f" Choose a reader first{self._keys.hint('readers')}."
        self.blind_text.setText(f"Blind first read: the model's output is hidden.{who}")

    def _name_keys(self) -> None:
        """Put the keys that hold behind the texts."""
        keys = self._keys
        for answer, button in self.buttons.items():
            button.setText(f"{ANSWER_LABELS[answer]}{keys.hint(answer)}")
        self.next.setText(f"Next{keys.hint('next_finding')}")
        self.toggle.setText(f"Details{keys.hint('details')}")
        self.commit.setText(f"Commit{keys.hint('commit_blind')}")
        self.details.name_keys(keys)
        self._show()
        self._show_blind()

    def _fold(self, opened: bool) -> None:
        if not opened and any(field.hasFocus() for field in self.details.fields):
            self.toggle.setFocus()
        self.details.setVisible(opened)

    # -- from the reader ----------------------------------------------------------------------------------------

    def give(self, answer: Answer) -> None:
        """Save this answer on the selected finding, with all that stands in the box."""
        self._model.give(answer)
        self._show()

    def open_details(self) -> None:
        """Show the details and go to the first; hide them if they are shown."""
        self.toggle.toggle()
        if self.toggle.isChecked():
            self.details.side.setFocus()


def statement(row: FindingRow | None, hidden: bool) -> str:
    """Say in words what the model says."""
    if row is None:
        return ""
    if hidden:
        return HIDDEN
    if row.result is None:
        return NO_RESULT
    if row.value is None:
        return NOT_COVERED
    if row.operating_point is None or row.positive is None:
        return f"Model: {row.value_name} {row.value:.2f}, no operating point"
    word, sign = ("present", "≥") if row.positive else ("absent", "<")
    return f"Model: {word} · {row.value_name} {row.value:.2f} {sign} {row.operating_point:.2f}"
