"""The draft impression: edited here, copied, saved."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QTextCursor
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ExportFormat, ImpressionActions
from app.viewmodels.impression import HEADING
from app.viewmodels.review import ReviewModels
from app.views.bindings import bind

STALE = "Statements were made or changed since you edited this text."
TAKEN_OVER = "The new statements are in the text; your changes are kept."
BOTH_KEPT = "In {n} place(s) both had changed: your lines are kept, the new ones stand below them. Please read them."
STARTED_OVER = "Made anew from the statements. Ctrl+Z in the text brings your changes back."
NO_SERIES = "No study is open, so there is nothing to draft from."
NO_IDENTITY = "No patient name, number or date is put into it. What you typed, comments too, goes as you typed it."
DEFAULT_NAME = "impression"
SIZE_PX = (640, 620)


class ImpressionDialog(QDialog):
    """Shows `ImpressionModel`; the heading stands above what is copied and saved, and cannot be edited away."""

    def __init__(self, models: ReviewModels, actions: ImpressionActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = models.impression, actions
        self._formats: dict[str, ExportFormat] = {item.key: item for item in actions.formats()}
        self._said = ""
        self.setWindowTitle("Draft impression")
        self.heading = _label("warning", HEADING)
        self.text = QPlainTextEdit()
        self.text.setAccessibleName("Draft impression")
        self.text.setTabChangesFocus(True)
        self.state = _label("warning")
        self.take_over = QPushButton("Take over new statements")
        self.start_over = QPushButton("Start over")
        self.copy = QPushButton("Copy")
        self.copied = _label("muted")
        self.format = QComboBox()
        for item in self._formats.values():
            self.format.addItem(item.label, item.key)
        self.format.setAccessibleName("Format")
        self.path = QLineEdit(placeholderText="File to write")
        self.path.setAccessibleName("File")
        self.browse = QPushButton("Browse…")
        self.save = QPushButton("Save")
        self.close_button = QPushButton("Close")
        self._lay_out()
        self._wire()
        self.resize(*SIZE_PX)
        self._follow()
        self.text.setFocus()

    def _lay_out(self) -> None:
        changes = _row(self.take_over, self.start_over, None, self.copied, self.copy)
        file = _row(self.format, self.path, self.browse, self.save)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addWidget(self.heading)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.state)
        layout.addLayout(changes)
        layout.addLayout(file)
        layout.addWidget(_label("muted", NO_IDENTITY))
        layout.addLayout(_row(None, self.close_button))

    def _wire(self) -> None:
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)
        self.text.textChanged.connect(lambda: self._model.edit(self.text.toPlainText()))
        self.take_over.clicked.connect(self._take_over)
        self.start_over.clicked.connect(self._start_over)
        self.copy.clicked.connect(self._copy)
        self.browse.clicked.connect(self._browse)
        self.save.clicked.connect(self._save)
        self.path.textChanged.connect(self._enable)
        self.path.returnPressed.connect(self._save)
        self.close_button.clicked.connect(self.reject)
        bind(self, self._model.changed, self._follow)

    # -- from the model -----------------------------------------------------------------------------------------

    def _follow(self) -> None:
        text = self._model.text if self._model.available else ""
        if text != self.text.toPlainText():
            self._put(text)
        self._enable()

    def _put(self, text: str) -> None:
        """Replace the text so that the editor's own undo brings the one before back."""
        self.text.blockSignals(True)
        cursor = QTextCursor(self.text.document())
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.insertText(text)
        self.text.blockSignals(False)

    def _enable(self, *_: object) -> None:
        model = self._model
        state = STALE if model.stale else (self._said if model.available else NO_SERIES)
        self.state.setText(state)
        self.state.setVisible(bool(state))
        self.text.setReadOnly(not model.available)
        self.take_over.setVisible(model.stale)
        self.start_over.setEnabled(model.edited)
        self.copy.setEnabled(model.available)
        self.save.setEnabled(model.available and bool(self._formats) and bool(self.path.text().strip()))

    # -- from the reader ----------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        n_conflicts = self._model.take_over()
        self._say(BOTH_KEPT.format(n=n_conflicts) if n_conflicts else TAKEN_OVER)

    def _start_over(self) -> None:
        self._model.start_over()
        self._say(STARTED_OVER)

    def _say(self, text: str) -> None:
        self._said = text
        self._enable()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._model.document)
        self.copied.setText("Copied.")

    def _suffix(self) -> str:
        item = self._formats.get(self.format.currentData())
        return item.suffix if item is not None else ""

    def _browse(self) -> None:
        suffix = self._suffix()
        name, _ = QFileDialog.getSaveFileName(self, "Save the draft", f"{DEFAULT_NAME}{suffix}", f"*{suffix}")
        if name:
            self.path.setText(name)

    def _save(self) -> None:
        """Ask for the file; its outcome comes as a notice."""
        if not self.save.isEnabled():
            return
        path = Path(self.path.text().strip())
        path = path if path.suffix else path.with_suffix(self._suffix())
        self._actions.export(self.format.currentData(), path, self._model.document)


def _label(role: str, text: str = "") -> QLabel:
    label = QLabel(text, wordWrap=True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("role", role)
    return label


def _row(*widgets: QWidget | None) -> QHBoxLayout:
    """Return widgets in a row; None is room that grows."""
    row = QHBoxLayout()
    row.setSpacing(6)
    for widget in widgets:
        if widget is None:
            row.addStretch(1)
        else:
            row.addWidget(widget, 1 if isinstance(widget, QLineEdit) else 0)
    return row
