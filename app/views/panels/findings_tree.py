"""The list of findings: one column of comfortable lines, or two of compact ones where they fit side by side."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt
from PySide6.QtGui import QFont, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QTreeView, QWidget

from app.viewmodels.findings import FindingsModel
from app.views import theme
from app.views.bindings import bind
from app.views.panels.findings_delegate import FindingDelegate
from app.views.panels.findings_items import FindingsItems

TWO_COLUMNS_PX = 520
COMPACT_TEXT_PX = 11
MOST_AIR_PX = 5


class FindingsTree(QTreeView):
    """Shows `FindingsModel`; selection goes both ways."""

    def __init__(self, model: FindingsModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._collapsed: set[str] = set()
        self._roomy_font = QFont(self.font())
        self.items = FindingsItems(model)
        self.setModel(self.items)
        icons = {answer: theme.icon(resources, answer) for answer in ("present", "absent", "unsure")}
        self._delegate = FindingDelegate(icons, self)
        self.setItemDelegate(self._delegate)
        self._look()
        self.selectionModel().currentChanged.connect(self._choose)
        self.collapsed.connect(lambda index: self._collapsed.add(_category(index)))
        self.expanded.connect(lambda index: self._collapsed.discard(_category(index)))
        self.clicked.connect(self._toggle_category)
        bind(self, model.rows_changed, self.show_rows)
        bind(self, model.selected_changed, self._show_selected)
        bind(self, model.density_changed, self._show_density)
        self._show_density(model.density)
        self.show_rows()

    def _look(self) -> None:
        self.setHeaderHidden(True)
        self.header().setMinimumSectionSize(10)
        self.setIndentation(0)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setMouseTracking(True)
        self.setExpandsOnDoubleClick(False)
        self.setAccessibleName("Findings")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionBehavior(QTreeView.SelectionBehavior.SelectItems)

    # -- from the model -----------------------------------------------------------------------------------------

    def show_rows(self) -> None:
        """Open the categories, let them span the columns, and keep the selected finding in view."""
        searching = bool(self._model.filter_text)
        for place in range(self.items.rowCount()):
            index = self.items.index(place, 0)
            self.setExpanded(index, searching or _category(index) not in self._collapsed)
            self.setFirstColumnSpanned(place, QModelIndex(), True)
        self._fill_height()
        index = self._mark_selected(self._model.selected_key)
        if index.isValid():
            self.scrollTo(index, QTreeView.ScrollHint.EnsureVisible)
        else:
            self.scrollToTop()

    def _show_density(self, density: str) -> None:
        font = QFont(self._roomy_font)
        if density == "compact":
            font.setPixelSize(COMPACT_TEXT_PX)
        self.setFont(font)
        self._delegate.density = self._model.density
        self.scheduleDelayedItemsLayout()
        self._lay_out_columns()

    def _show_selected(self, key: str | None) -> None:
        index = self._mark_selected(key)
        if index.isValid():
            self.scrollTo(index, QTreeView.ScrollHint.EnsureVisible)

    def _mark_selected(self, key: str | None) -> QModelIndex:
        index = self.items.index_of(key)
        selection = self.selectionModel()
        if not index.isValid():
            selection.clearSelection()
        elif selection.currentIndex() != index or not selection.isSelected(index):
            selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        return index

    # -- columns ------------------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Take a second column where there is room for it, and share the width."""
        super().resizeEvent(event)
        self._lay_out_columns()

    def _lay_out_columns(self) -> None:
        width = self.viewport().width()
        two = self._model.density == "compact" and width >= TWO_COLUMNS_PX
        if self.items.set_columns(2 if two else 1):
            self.show_rows()
        for column in range(self.items.columnCount()):
            self.setColumnWidth(column, width // self.items.columnCount())
        self._fill_height()

    def _fill_height(self) -> None:
        """Give compact lines what is left over, if all of them are in view anyhow."""
        lines = sum(1 + self.items.rowCount(self.items.index(place, 0)) for place in range(self.items.rowCount()))
        room = self.viewport().height() // max(lines, 1)
        line_px = min(room, self.fontMetrics().height() + MOST_AIR_PX)
        if self._delegate.compact_line_px != line_px:
            self._delegate.compact_line_px = line_px
            self.scheduleDelayedItemsLayout()

    # -- from the reader ----------------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Let left and right go from column to column where there are two; a tree's own go to the category."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()), 0)
        current = self.currentIndex()
        if step and self.items.columnCount() > 1 and self.items.row_at(current) is not None:
            beside = current.siblingAtColumn(current.column() + step)
            if self.items.row_at(beside) is not None:
                self.setCurrentIndex(beside)
            return
        super().keyPressEvent(event)

    def _choose(self, current: QModelIndex) -> None:
        row = self.items.row_at(current)
        if row is not None:
            self._model.selected_key = row.key

    def _toggle_category(self, index: QModelIndex) -> None:
        if index.isValid() and index.internalId() == 0:
            self.setExpanded(index, not self.isExpanded(index))


def _category(index: QModelIndex) -> str:
    return str(index.data()).split("|")[0]
