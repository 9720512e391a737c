"""The worklist on the left: search, states, filters, the studies, and below them the queue and the watched folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QAction, QActionGroup, QResizeEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReviewActions
from app.viewmodels.review import ReviewModels
from app.viewmodels.watch import WatchModel
from app.views import theme
from app.views.bindings import bind
from app.views.panels.queue_panel import QueuePanel
from app.views.panels.worklist_filters import FilterBox, StateChips
from app.views.panels.worklist_items import WorklistItems
from app.views.panels.worklist_view import WorklistList
from engine.store.workflow import WorklistOrder

SEARCH_AFTER_MS = 180
LEAST_WIDTH_PX = 236
ORDERS: dict[WorklistOrder, str] = {
    "priority": "Urgent positive findings",
    "date": "Study date",
    "patient": "Patient",
    "description": "Description",
    "state": "State",
    "added": "Time of import",
}


class WorklistPanel(QWidget):
    """Everything that finds and queues studies; `series_chosen` when the reader picks one."""

    series_chosen = Signal(str)

    def __init__(
        self,
        models: ReviewModels,
        actions: ReviewActions,
        items: WorklistItems,
        resources: Path,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._model, self._keys = models.worklist, models.keys
        self.list = WorklistList(items)
        self.list.series_chosen.connect(self.series_chosen)
        self.total = QLabel()
        self.total.setProperty("role", "muted")
        self.sort = _tool(resources, "sort", "Sort")
        self.sort.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.sort.setMenu(self._sort_menu())
        self.filter = _tool(resources, "filter", "Filter")
        self.filter.setCheckable(True)
        self.table = _tool(resources, "table", "Table")
        self.table.setCheckable(True)
        self.search = self._search_box(resources)
        self.chips = StateChips(self._model)
        self.filters = FilterBox(self._model, actions.worklist, resources)
        self.narrowed, self.clear = QLabel(), QToolButton(text="Clear")
        self.queue = QueuePanel(models.queue, actions.queue, resources)
        self.watch = WatchLine(models.watch)
        self._spacer = QWidget()
        self._lay_out()
        self.filter.toggled.connect(self._show_filters)
        self.table.toggled.connect(self._show_table)
        self.clear.clicked.connect(self._model.clear_filter)
        bind(self, self._model.query_changed, self._show)
        bind(self, self._model.status_changed, self._show)
        bind(self, self._model.table_changed, self._show_filters)
        bind(self, models.keys.changed, self._name_keys)
        self.setMinimumWidth(LEAST_WIDTH_PX)
        self._name_keys()
        self._show_filters()
        self._show()

    # -- construction -------------------------------------------------------------------------------------------

    def _search_box(self, resources: Path) -> QLineEdit:
        box = QLineEdit(placeholderText="Search patient, ID, study…", clearButtonEnabled=True)
        box.addAction(theme.icon(resources, "search"), QLineEdit.ActionPosition.LeadingPosition)
        box.setAccessibleName("Search studies")
        box.setAcceptDrops(False)
        self._delay = QTimer(self, singleShot=True, interval=SEARCH_AFTER_MS)
        self._delay.timeout.connect(self._search)
        box.textEdited.connect(lambda: self._delay.start())
        box.returnPressed.connect(self._search_now)
        return box

    def _sort_menu(self) -> QMenu:
        menu = QMenu(self)
        group = QActionGroup(menu)
        self.orders: dict[WorklistOrder, QAction] = {}
        for order, name in ORDERS.items():
            action = menu.addAction(name, lambda order=order: self._model.sort_by(order))
            action.setCheckable(True)
            group.addAction(action)
            self.orders[order] = action
        menu.addSeparator()
        self.turn = menu.addAction("Descending", lambda: self._model.sort_by(self._model.query.order))
        self.turn.setCheckable(True)
        return menu

    def _lay_out(self) -> None:
        title = QLabel("WORKLIST")
        title.setProperty("role", "panel-title")
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 4, 0)
        head.setSpacing(1)
        head.addWidget(title)
        head.addWidget(self.total, 1)
        for button in (self.sort, self.filter, self.table):
            head.addWidget(button)
        search = QHBoxLayout()
        search.setContentsMargins(6, 0, 6, 4)
        search.addWidget(self.search)
        self.narrowed_row = QWidget()
        row = QHBoxLayout(self.narrowed_row)
        row.setContentsMargins(8, 0, 6, 3)
        self.narrowed.setProperty("role", "muted")
        self.narrowed.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.clear.setProperty("role", "chip")
        row.addWidget(self.narrowed, 1)
        row.addWidget(self.clear)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        column.addLayout(search)
        for widget in (self.chips, self.filters, self.narrowed_row):
            column.addWidget(widget)
        column.addWidget(self.list, 1)
        column.addWidget(self._spacer, 1)
        column.addWidget(self.queue)
        column.addWidget(self.watch)

    # -- what the reader does -----------------------------------------------------------------------------------

    def focus_search(self) -> None:
        """Go to the search box."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def toggle_filters(self) -> None:
        """Show or hide the filters."""
        self.filter.toggle()

    def open_sort_menu(self) -> None:
        """Open the sort menu."""
        self.sort.showMenu()

    def _search(self) -> None:
        self._model.query = replace(self._model.query, search=self.search.text().strip())

    def _search_now(self) -> None:
        self._delay.stop()
        self._search()
        self.list.setFocus()

    # -- from the model -----------------------------------------------------------------------------------------

    def _show(self) -> None:
        model, query = self._model, self._model.effective_query
        if not self._delay.isActive() and self.search.text().strip() != query.search:
            self.search.setText(query.search)
        of = f" of {model.n_studies:,}" if model.narrowed else ""
        self.total.setText(f"{model.total:,}{of}" if model.known else "")
        self.orders[query.order].setChecked(True)
        self.orders["priority"].setEnabled(not model.hides)
        self.turn.setChecked(query.descending)
        direction = "descending" if query.descending else "ascending"
        key = self._keys.hint("worklist_sort")
        self.sort.setToolTip(f"Sorted by {ORDERS[query.order].lower()}, {direction}{key}")
        said = self._narrowing()
        self.narrowed_row.setVisible(bool(said))
        self.narrowed.setText(said)
        self.narrowed.setToolTip(said)

    def _narrowing(self) -> str:
        """Say in words what narrows the list."""
        query = self._model.effective_query
        parts = (
            f"“{query.search}”" if query.search else "",
            f"{len(query.states)} states" if len(query.states) > 1 else "".join(query.states).replace("_", " "),
            ", ".join(query.urgencies),
            "positive" if query.positive_only else "",
            "dates" if query.date_from or query.date_to else "",
        )
        said = " · ".join(part for part in parts if part)
        chosen = self._model.chosen_filter
        return f"{chosen.name}: {said}" if said and chosen is not None else said

    def _show_filters(self, *_: object) -> None:
        as_table = self._model.as_table
        self.filters.setVisible(self.filter.isChecked() or as_table)
        self.list.setVisible(not as_table)
        self._spacer.setVisible(as_table)
        self.filter.setEnabled(not as_table)
        self.table.setChecked(as_table)
        if not as_table:
            self.list.show_current()

    def _show_table(self, as_table: bool) -> None:
        self._model.as_table = as_table

    def _name_keys(self) -> None:
        hint = self._keys.hint
        self.filter.setToolTip(f"Urgency, dates, saved filters{hint('worklist_filters')}")
        self.table.setToolTip(f"Worklist as a table over the whole window{hint('worklist_table')}")
        self.clear.setToolTip(f"Show every study{hint('clear_filter')}")
        self.search.setToolTip(f"Words in patient, ID, study and series{hint('worklist_search')}")
        self.queue.name_keys(hint)
        self._show()


class WatchLine(QPushButton):
    """One line at the foot: what is watched, and what becomes of it; a click opens the setting."""

    def __init__(self, model: WatchModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.setProperty("role", "line")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Watched folder")
        bind(self, model.changed, self._show)
        self._show()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shorten the line to what there is room for."""
        super().resizeEvent(event)
        self._show()

    def _show(self) -> None:
        line = self._model.line
        self.setVisible(bool(line))
        shown = self.fontMetrics().elidedText(line, Qt.TextElideMode.ElideMiddle, max(self.width() - 16, 60))
        self.setText(shown)
        self.setToolTip("\n".join(part for part in (line, self._model.folder, self._model.state.text) if part))
        alarm = self._model.state.kind in ("missing", "failed")
        self.setProperty("alarm", alarm)
        self.style().unpolish(self)
        self.style().polish(self)


def _tool(resources: Path, icon: str, name: str) -> QToolButton:
    button = QToolButton()
    button.setIcon(theme.icon(resources, icon))
    button.setAccessibleName(name)
    return button
