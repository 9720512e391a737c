"""One target an area, for one window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QDialog

from app.viewmodels.actions import ReviewActions
from app.viewmodels.review import ReviewModels
from app.views.targets.base import Dialogs, Target
from app.views.targets.file import FileCommands
from app.views.targets.findings import FindingsCommands
from app.views.targets.help import HelpCommands
from app.views.targets.model import ModelCommands
from app.views.targets.reading import ReadingCommands
from app.views.targets.tools import ToolsCommands
from app.views.targets.view import ViewCommands
from app.views.targets.why import WhyCommands
from app.views.targets.worklist import WorklistCommands

if TYPE_CHECKING:
    from app.views.main_window import MainWindow


class Targets:
    """The window's side of the table; attributes are named as the areas of `app.views.commands` are."""

    def __init__(self, window: MainWindow, models: ReviewModels, actions: ReviewActions) -> None:
        self.dialogs = Dialogs()
        parts = (window, models, actions, self.dialogs)
        self.file = FileCommands(*parts)
        self.worklist = WorklistCommands(*parts)
        self.view = ViewCommands(*parts)
        self.tools = ToolsCommands(*parts)
        self.findings = FindingsCommands(*parts)
        self.why = WhyCommands(*parts)
        self.reading = ReadingCommands(*parts)
        self.model = ModelCommands(*parts)
        self.help = HelpCommands(*parts)

    def all(self) -> tuple[Target, ...]:
        """Return the targets of all areas."""
        return tuple(part for part in vars(self).values() if isinstance(part, Target))

    def dialog(self, name: str) -> QDialog | None:
        """Return the open dialog of this name."""
        return self.dialogs.get(name)

    def close_children(self) -> None:
        """Close every dialog and whatever else the areas opened, such as the 3D view."""
        self.dialogs.close()
        for target in self.all():
            target.close()
