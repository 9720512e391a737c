"""The watched folder: where it is, whether it is watched, and what happens to what arrives."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import WatchActions
from app.viewmodels.watch import WatchModel
from app.views.bindings import bind

HELP = (
    "DICOM files, ZIPs and NIfTI volumes that arrive in this folder, or in folders below it, are imported once nothing "
    "there has changed for some seconds. Nothing in it is moved or deleted, and the study in view stays in view."
)


class WatchDialog(QDialog):
    """Asks for the folder; shows what became of what arrived."""

    def __init__(self, model: WatchModel, actions: WatchActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self.setWindowTitle("Watch folder")
        self.folder = QLineEdit(model.folder, placeholderText="Folder to watch")
        self.folder.setAccessibleName("Folder to watch")
        self.choose = QPushButton("Choose…")
        self.on = QCheckBox("Import what arrives in this folder")
        self.on.setChecked(model.on)
        self.analyse = QCheckBox("Put imported volumes into the queue of analyses")
        self.analyse.setChecked(model.analyse)
        self.state = QLabel(wordWrap=True)
        self.state.setProperty("role", "muted")
        help_text = QLabel(HELP, wordWrap=True)
        help_text.setProperty("role", "muted")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.save = buttons.button(QDialogButtonBox.StandardButton.Save)
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(self.choose)
        column = QVBoxLayout(self)
        column.addWidget(help_text)
        column.addLayout(row)
        for widget in (self.on, self.analyse, self.state, buttons):
            column.addWidget(widget)
        self.choose.clicked.connect(self._ask_folder)
        self.folder.textChanged.connect(self._enable)
        self.on.toggled.connect(self._enable)
        bind(self, model.changed, self._show)
        self.resize(560, 260)
        self._show()
        self._enable()

    def accept(self) -> None:
        """Keep what was chosen."""
        self._actions.choose(self.folder.text().strip(), self.on.isChecked(), self.analyse.isChecked())
        super().accept()

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to watch", self.folder.text())
        if folder:
            self.folder.setText(folder)
            self.on.setChecked(True)

    def _show(self) -> None:
        parts = (self._model.line, self._model.state.text)
        self.state.setText("\n".join(part for part in parts if part) or "Nothing is watched.")

    def _enable(self) -> None:
        named = bool(self.folder.text().strip())
        self.save.setEnabled(named or not self.on.isChecked())
        self.save.setToolTip("" if self.save.isEnabled() else "Choose a folder first.")
