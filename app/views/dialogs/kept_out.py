"""The list of cohorts whose test parts stay out of a retraining."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReviewActions
from app.viewmodels.training import KeptOut, TrainingModel
from app.views import theme
from app.views.bindings import bind

TITLE = "&Keep the test parts of these cohorts out"
HELP = (
    "Feedback on a study of such a test part, or on its patient, is not learnt from, so that the cohort can still "
    "measure the candidate. A cohort is a folder that the command “cohort” wrote."
)
CHOOSE = "Folder of an imported cohort (it holds cohort.json)"
EMPTY = "None: all feedback is learnt from. Add a cohort that is to measure the candidate."
LINES = 3


class _Lines(QListWidget):
    """A list that hears of the Delete key, and says why it is empty."""

    delete_pressed = Signal()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the lines, or what an empty list means."""
        super().paintEvent(event)
        if self.count() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(theme.MUTED)
            area = self.viewport().rect().adjusted(6, 0, -6, 0)
            painter.drawText(area, Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextWordWrap, EMPTY)
            painter.end()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Tell of Delete; everything else is a list's."""
        if event.matches(QKeySequence.StandardKey.Delete):
            self.delete_pressed.emit()
        else:
            super().keyPressEvent(event)


class KeptOutList(QWidget):
    """Shows `TrainingModel.kept_out`; adds and removes."""

    def __init__(self, model: TrainingModel, actions: ReviewActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self.list = _Lines()
        self.list.setAccessibleName(TITLE.replace("&", ""))
        self.list.setFixedHeight((LINES + 1) * self.fontMetrics().lineSpacing())
        self.list.currentRowChanged.connect(self._enable)
        self.add = QPushButton("&Add cohort…")
        self.add.clicked.connect(self._add)
        self.remove = QPushButton("&Remove")
        self.remove.clicked.connect(self._remove)
        for button in (self.add, self.remove):
            button.setAutoDefault(False)  # Return in the line above starts; it opens no folder.
        self.list.delete_pressed.connect(self._remove)
        self._lay_out()
        bind(self, model.kept_out_changed, self._show)
        self._show()

    def _lay_out(self) -> None:
        title = QLabel(TITLE)
        title.setBuddy(self.list)
        title.setToolTip(HELP)
        self.list.setToolTip(HELP)
        buttons = QVBoxLayout()
        buttons.addWidget(self.add)
        buttons.addWidget(self.remove)
        buttons.addStretch(1)
        row = QHBoxLayout()
        row.addWidget(self.list, 1)
        row.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(title)
        layout.addLayout(row)

    def _show(self) -> None:
        place = self.list.currentRow()
        self.list.clear()
        for cohort in self._model.kept_out:
            item = QListWidgetItem(line_of(cohort))
            item.setToolTip(f"{cohort.path}\n{cohort.problem}".strip())
            if cohort.problem:
                item.setForeground(theme.WARNING)
            self.list.addItem(item)
        self.list.setCurrentRow(min(max(place, 0), self.list.count() - 1))
        self._enable()

    def _enable(self, *_: object) -> None:
        self.remove.setEnabled(self.list.currentRow() >= 0)

    def _add(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, CHOOSE)
        if folder:
            self._actions.keep_out_cohort(Path(folder))

    def _remove(self) -> None:
        place = self.list.currentRow()
        if 0 <= place < len(self._model.kept_out):
            self._actions.let_in_cohort(self._model.kept_out[place].path)


def line_of(cohort: KeptOut) -> str:
    """Return a cohort's line: its folder's name, and what stays out or that it cannot be read."""
    state = "cannot be read" if cohort.problem else cohort.text or "being read…"
    return f"{cohort.path.name}: {state}"
