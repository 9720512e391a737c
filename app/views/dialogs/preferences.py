"""The reader's name, and the keys."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReviewActions
from app.viewmodels.preferences import PreferencesModel
from app.views.dialogs.keys_page import KeysPage


class PreferencesDialog(QDialog):
    """Asks for the name that every verdict carries; a second page sets the keys."""

    def __init__(
        self, model: PreferencesModel, keys: KeysPage, actions: ReviewActions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._actions = actions
        self.setWindowTitle("Preferences")
        self.reader = QLineEdit(model.reader)
        self.reader.setPlaceholderText("Name or initials")
        self.keys = keys
        self.pages = QTabWidget()
        self.pages.addTab(self._reader_page(), "Reader")
        self.pages.addTab(keys, "Keys")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.pages.currentChanged.connect(lambda page: _name_buttons(buttons, page == 0))
        column = QVBoxLayout(self)
        column.addWidget(self.pages)
        column.addWidget(buttons)
        self.resize(620, 600)

    def _reader_page(self) -> QWidget:
        page = QWidget()
        form = QFormLayout(page)
        hint = QLabel("Saved with every verdict and carried into exports.")
        hint.setProperty("role", "muted")
        form.addRow("Reader", self.reader)
        form.addRow(hint)
        return page

    def accept(self) -> None:
        """Keep the name; the keys were kept as they were set."""
        self._actions.set_reader(self.reader.text().strip())
        super().accept()


def _name_buttons(buttons: QDialogButtonBox, saves: bool) -> None:
    """On the page of keys, where every change already holds, there is only something to close."""
    buttons.button(QDialogButtonBox.StandardButton.Save).setVisible(saves)
    buttons.button(QDialogButtonBox.StandardButton.Cancel).setText("Cancel" if saves else "Close")
