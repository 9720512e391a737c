"""What the actions on files, export, preferences do in the window."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QFileDialog

from app.views.dialogs.computing_page import ComputingPage
from app.views.dialogs.export import ExportDialog
from app.views.dialogs.keys_page import KeysPage
from app.views.dialogs.preferences import PreferencesDialog
from app.views.targets.base import Target

FILE_FILTER = "Head CT (*.dcm *.zip *.nii *.nii.gz);;All files (*)"


class FileCommands(Target):
    """Implements `FileTarget`."""

    def ask_open_folder(self) -> None:
        """Ask for a folder and open it."""
        folder = QFileDialog.getExistingDirectory(self._window, "Open a folder of DICOM files")
        if folder:
            self._actions.open_paths([Path(folder)])

    def ask_open_file(self) -> None:
        """Ask for files and open them."""
        files, _ = QFileDialog.getOpenFileNames(self._window, "Open DICOM, ZIP or NIfTI files", "", FILE_FILTER)
        if files:
            self._actions.open_paths([Path(file) for file in files])

    def open_demo(self) -> None:
        """Open the demo studies."""
        self._actions.open_demo()

    def open_export(self) -> None:
        """Open the export dialog."""
        self._dialogs.show("export", ExportDialog(self._actions, self._window))

    def open_preferences(self) -> None:
        """Open the preferences."""
        keys = KeysPage(self._window.default_commands, self._models.keys, self._actions)
        computing = ComputingPage(self._models.computing, self._actions.computing)
        self._dialogs.show("preferences", PreferencesDialog(keys, computing, self._window))

    def close_window(self) -> None:
        """Close the window."""
        self._window.close()
