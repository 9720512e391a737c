"""Actions on files, export, preferences."""

from __future__ import annotations

from typing import Protocol

from app.views.commands.base import Command

ORDER = 10


class FileTarget(Protocol):
    """What the window offers to this area."""

    def ask_open_folder(self) -> None:
        """Ask for a folder and open it."""

    def ask_open_file(self) -> None:
        """Ask for files and open them."""

    def open_demo(self) -> None:
        """Open the demo studies."""

    def open_export(self) -> None:
        """Open the export dialog."""

    def open_preferences(self) -> None:
        """Open the preferences."""

    def close_window(self) -> None:
        """Close the window."""


def commands(target: FileTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command(
            "open_folder",
            "Open folder…",
            ("Ctrl+O",),
            "Scan a folder for head CT series; dropping works too",
            "File",
            target.ask_open_folder,
            "open_folder",
            toolbar=True,
        ),
        Command(
            "open_file",
            "Open file or ZIP…",
            ("Ctrl+Shift+O",),
            "Open DICOM files, a ZIP or a NIfTI volume",
            "File",
            target.ask_open_file,
            "open_file",
            toolbar=True,
        ),
        Command(
            "open_demo",
            "Open demo studies",
            ("Ctrl+Shift+D",),
            "The real scan and the phantom that ship along",
            "File",
            target.open_demo,
        ),
        Command(
            "export",
            "Export corrections…",
            ("Ctrl+E",),
            "Write the readers' verdicts to a file",
            "File",
            target.open_export,
            "export",
            toolbar=True,
        ),
        Command(
            "preferences",
            "Preferences…",
            ("Ctrl+,",),
            "Change the keys of all actions",
            "File",
            target.open_preferences,
        ),
        Command(
            "quit", "Quit", ("Ctrl+Q",), "Close the window; everything is already saved", "File", target.close_window
        ),
    )
