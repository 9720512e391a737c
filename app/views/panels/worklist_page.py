"""The worklist as a table over the whole window."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from app.viewmodels.keys import KeysModel
from app.viewmodels.worklist import WorklistModel
from app.views.bindings import bind
from app.views.panels.worklist_items import WorklistItems
from app.views.panels.worklist_view import WorklistTable


class WorklistPage(QWidget):
    """Title and table; a double click or Enter opens a study and shows the viewer again."""

    series_chosen = Signal(str)

    def __init__(
        self, model: WorklistModel, keys: KeysModel, items: WorklistItems, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model, self._keys = model, keys
        self.table = WorklistTable(items)
        self.table.series_chosen.connect(self._choose)
        self.title = QLabel()
        self.title.setProperty("role", "panel-title")
        self.hint = QLabel("Enter or a double click opens a study")
        self.hint.setProperty("role", "muted")
        self.back = QToolButton(text="Back to the viewer")
        self.back.setProperty("role", "chip")
        self.back.clicked.connect(self._close)
        head = QHBoxLayout()
        head.setContentsMargins(0, 3, 6, 3)
        head.addWidget(self.title)
        head.addWidget(self.hint, 1)
        head.addWidget(self.back)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        column.addWidget(self.table, 1)
        bind(self, model.status_changed, self._show)
        bind(self, keys.changed, self._show)
        self._show()

    def showEvent(self, event: QShowEvent) -> None:
        """Bring the study in view into sight, and take the keys."""
        super().showEvent(event)
        self.table.show_current()
        self.table.setFocus()

    def _choose(self, series_uid: str) -> None:
        self._model.as_table = False
        self.series_chosen.emit(series_uid)

    def _close(self) -> None:
        self._model.as_table = False

    def _show(self) -> None:
        self.title.setText(f"WORKLIST · {self._model.total:,} studies" if self._model.known else "WORKLIST")
        self.back.setToolTip(f"Show the picture and the findings again{self._keys.hint('worklist_table')}")
