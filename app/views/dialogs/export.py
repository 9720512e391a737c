"""Export of the readers' corrections."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from app.viewmodels.actions import ExportFormat, ReviewActions

IDENTITY = "This format carries patient identity: handle the file accordingly."
NO_IDENTITY = "No patient name, number or date is written; studies are named by their UIDs."


class ExportDialog(QDialog):
    """Asks for format and path."""

    def __init__(self, actions: ReviewActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._actions = actions
        self._formats = {item.key: item for item in actions.export_formats()}
        self.setWindowTitle("Export corrections")
        self.format = QComboBox()
        for item in self._formats.values():
            self.format.addItem(item.label, item.key)
        self.path = QLineEdit(placeholderText="File to write")
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        self.identity = QLabel(wordWrap=True)
        self.identity.setProperty("role", "muted")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        row = QHBoxLayout()
        row.addWidget(self.path, 1)
        row.addWidget(browse)
        form = QFormLayout(self)
        form.addRow(QLabel("All verdicts that stand, with reader, time, model and slices. An older file is replaced."))
        form.addRow("Format", self.format)
        form.addRow("File", row)
        form.addRow(self.identity)
        form.addRow(self.buttons)
        self.setMinimumWidth(560)
        self.format.currentIndexChanged.connect(self._show)
        self.path.textChanged.connect(self._show)
        self._show()

    @property
    def chosen(self) -> ExportFormat | None:
        """The chosen format; None if there is no exporter."""
        return self._formats.get(self.format.currentData())

    def _show(self, *_: object) -> None:
        item = self.chosen
        self.identity.setText("" if item is None else (IDENTITY if item.carries_identity else NO_IDENTITY))
        save = self.buttons.button(QDialogButtonBox.StandardButton.Save)
        save.setEnabled(item is not None and bool(self.path.text().strip()))

    def _browse(self) -> None:
        suffix = self.chosen.suffix if self.chosen is not None else ""
        name, _ = QFileDialog.getSaveFileName(self, "Export corrections", f"corrections{suffix}", f"*{suffix}")
        if name:
            self.path.setText(name)

    def accept(self) -> None:
        """Ask for the export; its outcome comes as a notice."""
        if self.chosen is not None:
            path = Path(self.path.text().strip())
            path = path if path.suffix else path.with_suffix(self.chosen.suffix)
            self._actions.export_corrections(self.chosen.key, path)
        super().accept()
