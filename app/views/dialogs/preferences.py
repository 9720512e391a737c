"""What the user may set: keys, and what computes. Who reads, and how, is set under Reading."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTabWidget, QVBoxLayout, QWidget

from app.views.dialogs.computing_page import ComputingPage
from app.views.dialogs.keys_page import KeysPage


class PreferencesDialog(QDialog):
    """Pages that keep their own changes: keys at once, computing when it is applied."""

    def __init__(self, keys: KeysPage, computing: ComputingPage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Preferences")
        self.keys, self.computing = keys, computing
        self.pages = QTabWidget()
        self.pages.addTab(keys, "Keys")
        self.pages.addTab(computing, "Computing")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.pages)
        column.addWidget(buttons)
        self.resize(620, 600)
