"""What the user may set: the keys. Who reads, and how, is set under Reading."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTabWidget, QVBoxLayout, QWidget

from app.views.dialogs.keys_page import KeysPage


class PreferencesDialog(QDialog):
    """Pages on which every change holds at once, so there is nothing to save."""

    def __init__(self, keys: KeysPage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Preferences")
        self.keys = keys
        self.pages = QTabWidget()
        self.pages.addTab(keys, "Keys")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.pages)
        column.addWidget(buttons)
        self.resize(620, 600)
