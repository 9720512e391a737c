"""What the actions on help do in the window."""

from __future__ import annotations

from app.views.dialogs.about import AboutDialog
from app.views.dialogs.help import HelpDialog
from app.views.targets.base import Target


class HelpCommands(Target):
    """Implements `HelpTarget`."""

    def open_help(self) -> None:
        """Open keys and help."""
        self._dialogs.show("help", HelpDialog(lambda: self._window.commands, self._models.keys, self._window))

    def open_about(self) -> None:
        """Open the about dialog."""
        self._dialogs.show("about", AboutDialog(self._models.library.active, self._window))
