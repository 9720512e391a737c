"""The reader's name."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QLineEdit, QWidget

from app.viewmodels.actions import ReviewActions
from app.viewmodels.preferences import PreferencesModel


class PreferencesDialog(QDialog):
    """Asks for the name that every verdict carries."""

    def __init__(self, model: PreferencesModel, actions: ReviewActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._actions = actions
        self.setWindowTitle("Preferences")
        self.reader = QLineEdit(model.reader)
        self.reader.setPlaceholderText("Name or initials")
        hint = QLabel("Saved with every verdict and carried into exports.")
        hint.setProperty("role", "muted")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.addRow("Reader", self.reader)
        form.addRow(hint)
        form.addRow(buttons)
        self.setMinimumWidth(420)

    def accept(self) -> None:
        """Keep the name."""
        self._actions.set_reader(self.reader.text().strip())
        super().accept()
