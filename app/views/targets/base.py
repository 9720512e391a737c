"""What the targets of all areas share: the window, its models and requests, and the dialogs that are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog

from app.viewmodels.actions import ReviewActions
from app.viewmodels.review import ReviewModels

if TYPE_CHECKING:
    from psygnal import SignalInstance

    from app.views.main_window import MainWindow


class Dialogs:
    """The open dialogs by name, at most one of a kind."""

    def __init__(self) -> None:
        self._open: dict[str, QDialog] = {}

    def get(self, name: str) -> QDialog | None:
        """Return the open dialog of this name."""
        return self._open.get(name)

    def show(self, name: str, dialog: QDialog) -> None:
        """Show without blocking the event loop; an older dialog of the same name makes way."""
        older = self._open.pop(name, None)
        if older is not None:
            older.close()
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.finished.connect(lambda: self._forget(name, dialog))
        self._open[name] = dialog
        dialog.show()

    def _forget(self, name: str, dialog: QDialog) -> None:
        if self._open.get(name) is dialog:
            del self._open[name]

    def close(self) -> None:
        """Close every dialog."""
        for dialog in tuple(self._open.values()):
            dialog.close()


class Target:
    """One area's actions in one window. A subclass implements the protocol beside the area's rows."""

    def __init__(self, window: MainWindow, models: ReviewModels, actions: ReviewActions, dialogs: Dialogs) -> None:
        self._window, self._models, self._actions, self._dialogs = window, models, actions, dialogs

    def changes(self) -> tuple[SignalInstance, ...]:
        """Return the signals after which `Command.enabled` and `Command.is_on` of this area are asked again."""
        return ()

    def close(self) -> None:
        """Close what the area opened, other than dialogs."""
