"""Decide where readers differ."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QCheckBox, QDialog, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from app.viewmodels.actions import AgreementActions
from app.viewmodels.agreement import Disagreement
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import ANSWER_LABELS, Answer
from app.views.bindings import bind
from app.views.dialogs.agreement import ITEM_HEADS, fill, table

KEYS: dict[Answer, str] = {"present": "P", "absent": "A", "unsure": "U"}
NONE = "Readers differ nowhere, or only one has read."
HINT = "A decision stands beside the readers' own statements and changes none of them; retraining and export use it."


class AdjudicationDialog(QDialog):
    """The disagreements; P, A and U decide the one chosen, in the name of the reader who reads now."""

    def __init__(self, models: ReviewModels, actions: AgreementActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models, self._actions = models, actions
        self._rows: tuple[Disagreement, ...] = ()
        self.setWindowTitle("Adjudication")
        self.undecided = QCheckBox("Only those not decided yet")
        self.items = table(ITEM_HEADS, "Disagreements")
        self.detail = QLabel(wordWrap=True)
        self.comment = QLineEdit(placeholderText="Why (kept with the decision)")
        self.comment.setAccessibleName("Why")
        self.open = QPushButton("Go to it (Return)")
        self.open.setAutoDefault(False)
        self.buttons = {answer: self._button(answer) for answer in KEYS}
        self.who = QLabel()
        self._lay_out()
        self.undecided.toggled.connect(self._show)
        self.items.currentCellChanged.connect(self._show_detail)
        self.items.itemActivated.connect(lambda: self._go())
        self.items.installEventFilter(self)
        self.open.clicked.connect(self._go)
        bind(self, models.agreement.changed, self._show)
        bind(self, models.reading.changed, self._show_who)
        self._show_who()
        actions.load(blind_only=False, unsure_counts=False)
        self.items.setFocus()

    def _button(self, answer: Answer) -> QPushButton:
        button = QPushButton(f"{ANSWER_LABELS[answer]} ({KEYS[answer]})")
        button.setAutoDefault(False)
        button.clicked.connect(lambda: self.decide(answer))
        return button

    def _lay_out(self) -> None:
        hint = QLabel(HINT, wordWrap=True)
        hint.setProperty("role", "muted")
        buttons = QHBoxLayout()
        buttons.addWidget(self.comment, 1)
        for button in (*self.buttons.values(), self.open):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.addWidget(hint)
        column.addWidget(self.undecided)
        column.addWidget(self.items, 1)
        column.addWidget(self.detail)
        column.addLayout(buttons)
        column.addWidget(self.who)
        self.resize(860, 540)

    # -- from the model -----------------------------------------------------------------------------------------

    def _show(self, *_: object) -> None:
        report = self._models.agreement.report
        found = () if report is None else report.disagreements
        self._rows = tuple(item for item in found if item.consensus is None or not self.undecided.isChecked())
        fill(self.items, [_cells(item) for item in self._rows])
        self._show_detail()

    def _show_detail(self, *_: object) -> None:
        item = self.chosen
        for widget in (*self.buttons.values(), self.open):
            widget.setEnabled(item is not None)
        if item is None:
            self.detail.setText(NONE)
            return
        said = [
            f"{each.reader}: {ANSWER_LABELS[each.answer].lower()}" + (f" — {each.comment}" if each.comment else "")
            for each in item.answers
        ]
        self.detail.setText("\n".join((item.finding_label, *said)))

    def _show_who(self) -> None:
        reader = self._models.reading.reader
        self.who.setText(f"Decides: {reader}" if reader else "Nobody decides: choose a reader in the window.")

    @property
    def chosen(self) -> Disagreement | None:
        """The disagreement on which the table stands."""
        row = self.items.currentRow()
        return self._rows[row] if 0 <= row < len(self._rows) else None

    # -- from the reader ----------------------------------------------------------------------------------------

    def decide(self, answer: Answer) -> None:
        """Save a decision on the disagreement chosen."""
        item = self.chosen
        if item is not None:
            self._actions.adjudicate(item.series_uid, item.finding_key, answer, self.comment.text().strip())
            self.comment.clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let P, A and U decide while the table has the focus."""
        if watched is self.items and event.type() == QEvent.Type.KeyPress:
            key = QKeyEvent(event)
            for answer, letter in KEYS.items():
                if key.key() == Qt.Key[f"Key_{letter}"] and key.modifiers() == Qt.KeyboardModifier.NoModifier:
                    self.decide(answer)
                    return True
        return super().eventFilter(watched, event)

    def _go(self) -> None:
        if self.chosen is not None:
            self._actions.open_item(self.chosen.series_uid, self.chosen.finding_key)


def _cells(item: Disagreement) -> tuple[str, ...]:
    decided = "" if item.consensus is None else f"{ANSWER_LABELS[item.consensus.answer]} ({item.consensus.reader})"
    return item.finding_label, item.study_text, item.answers_text, decided
