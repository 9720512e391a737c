"""The rows of the worklist on the screen: as a narrow list of three lines each, or as a table."""

from __future__ import annotations

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QFontMetrics, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from app.viewmodels.queue import QueueModel
from app.viewmodels.worklist import Entry, SeriesItem
from app.views import theme
from app.views.bindings import bind
from app.views.panels.worklist_items import (
    BLANK,
    DATE,
    ENTRY_ROLE,
    ORDER_OF_COLUMN,
    PATIENT,
    AnyIndex,
    WorklistItems,
    count_text,
    date_text,
    patient_text,
    positive_text,
    series_text,
    state_text,
)
from engine.store.workflow import WorklistRow

MARGIN_PX, GUTTER_PX = 6, 16
CHOOSE_AFTER_MS = 250
CELL_FLAGS = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine)
LEFT, RIGHT = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight


def lines_of(entry: Entry, queue: QueueModel) -> tuple[tuple[str, QColor], ...]:
    """Return the five texts of a row with their colours: three on the left, then those right of the first and last."""
    if isinstance(entry, SeriesItem):
        return (
            (series_text(entry), theme.TEXT),
            (entry.state_text, theme.DANGER if entry.state == "failed" else theme.WARNING),
            (count_text(entry), theme.MUTED),
            positive_text(entry),
            state_text(entry, queue),
        )
    failed = entry.state == "failed" and entry.state_message
    series = f"{entry.n_series} series" if entry.n_series > 1 else ""
    parts = (date_text(entry.study_date) or "no date", series, entry.patient_id if entry.patient_name else "")
    return (
        (patient_text(entry), theme.TEXT),
        (entry.state_message, theme.DANGER) if failed else (entry.study_description or "No description", theme.MUTED),
        (" · ".join(part for part in parts if part), theme.MUTED),
        positive_text(entry),
        state_text(entry, queue),
    )


class WorklistDelegate(QStyledItemDelegate):
    """Paints a row of the list: who, what, when; urgency and state at the right."""

    def __init__(self, items: WorklistItems, parent: QWidget) -> None:
        super().__init__(parent)
        self._items = items

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Paint one row."""
        entry: Entry | None = index.data(ENTRY_ROLE)
        rect = option.rect
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, theme.SELECTED)
        if self._items.worklist.is_current(entry):
            painter.fillRect(rect.x(), rect.y(), 3, rect.height(), theme.ACCENT)
        painter.setPen(theme.LINE)
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())
        indent = GUTTER_PX if isinstance(entry, SeriesItem) else 0
        height = painter.fontMetrics().height()
        line = QRect(rect.x() + GUTTER_PX + indent, rect.y() + MARGIN_PX, rect.width() - GUTTER_PX - indent - 8, height)
        if entry is None:
            self._draw(painter, line, BLANK, theme.FAINT, LEFT)
        else:
            self._draw_entry(painter, line, entry)
            if isinstance(entry, WorklistRow) and entry.n_series > 1:
                sign = "▾" if self._items.worklist.is_open(index.row()) else "▸"
                gutter = QRect(rect.x() + 3, line.y(), GUTTER_PX - 3, height)
                self._draw(painter, gutter, sign, theme.MUTED, LEFT)
        painter.restore()

    def _draw_entry(self, painter: QPainter, line: QRect, entry: Entry) -> None:
        first, second, third, found, state = lines_of(entry, self._items.queue)
        step = line.height() + 1
        taken = self._draw(painter, line, *found, RIGHT)
        self._draw(painter, line.adjusted(0, 0, -taken, 0), *first, LEFT)
        self._draw(painter, line.translated(0, step), *second, LEFT)
        last = line.translated(0, 2 * step)
        taken = self._draw(painter, last, *state, RIGHT)
        self._draw(painter, last.adjusted(0, 0, -taken, 0), *third, LEFT)

    def _draw(self, painter: QPainter, room: QRect, text: str, color: QColor, side: Qt.AlignmentFlag) -> int:
        """Draw a text, shortened to fit; return the room that it takes, with a gap beside it."""
        if not text:
            return 0
        metrics = painter.fontMetrics()
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        painter.setPen(color)
        painter.drawText(room, int(side | Qt.AlignmentFlag.AlignVCenter), shown)
        return metrics.horizontalAdvance(shown) + 8


class WorklistView(QTableView):
    """Rows over `WorklistItems`; tells the model which are in view, and `series_chosen` which one to open.

    A click or Enter chooses, in a list at once; moving by keys chooses in a list after a moment, so that passing by
    opens nothing. Right and Left open and close a study of several series.
    """

    series_chosen = Signal(str)

    def __init__(self, items: WorklistItems, *, as_table: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._items, self._model, self._as_table = items, items.worklist, as_table
        self._delay = QTimer(self, singleShot=True, interval=CHOOSE_AFTER_MS)
        self._delay.timeout.connect(self._choose_current)
        self._following = False
        self.setModel(items)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setAcceptDrops(False)
        self.setCornerButtonEnabled(False)
        self.setAccessibleName("Studies")
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        height = QFontMetrics(self.font()).height()
        rows.setMinimumSectionSize(height)
        rows.setDefaultSectionSize(height + 9 if as_table else 3 * (height + 1) + 2 * MARGIN_PX)
        self.verticalScrollBar().valueChanged.connect(self._report)
        self.selectionModel().currentChanged.connect(self._moved)
        bind(self, self._model.reset, self._begin_anew)
        bind(self, self._model.rows_changed, self._follow_current)
        bind(self, self._model.current_changed, self._follow_current)
        bind(self, self._model.status_changed, self._update)

    def sizeHintForColumn(self, column: int) -> int:
        """Give no hint: that would read every row."""
        return -1

    def minimumSizeHint(self) -> QSize:
        """Leave room for two rows."""
        return QSize(120, 2 * self.verticalHeader().defaultSectionSize())

    # -- what is in view ----------------------------------------------------------------------------------------

    def _report(self, *_: object) -> None:
        if self.isVisible():
            first, last = self.rowAt(0), self.rowAt(self.viewport().height() - 1)
            self._model.look_at(max(first, 0), last if last >= 0 else self._model.n_rows - 1)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """More or fewer rows are in view."""
        super().resizeEvent(event)
        self._report()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the rows, or why there are none."""
        self._paint_rows(event)
        text = self._model.empty_text
        if text:
            painter = QPainter(self.viewport())
            painter.setPen(theme.MUTED)
            flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
            painter.drawText(self.viewport().rect().adjusted(12, 12, -12, -12), flags, text)

    def _paint_rows(self, event: QPaintEvent) -> None:
        super().paintEvent(event)

    def _update(self) -> None:
        if not self._model.n_rows:  # what stands there instead of rows has changed
            self.viewport().update()
        self._report()

    def _begin_anew(self) -> None:
        self.verticalScrollBar().setValue(0)
        self._follow_current()
        self._report()

    # -- the series in view -------------------------------------------------------------------------------------

    def _follow_current(self, *change: object) -> None:
        """Mark the row of the series in view; bring it into sight when it is another one."""
        row = self._model.row_of_current()
        if row is None:
            return
        self._following = True
        if self.currentIndex().row() != row:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            scroll = self.hasAutoScroll()
            self.setAutoScroll(False)
            self.selectionModel().setCurrentIndex(self._items.index(row, 0), flags)
            self.setAutoScroll(scroll)
        if len(change) == 1:  # the current series has changed, not some rows
            self.scrollTo(self._items.index(row, 0))
        self._following = False
        self.viewport().update()

    def show_current(self) -> None:
        """Bring the series in view into sight: the view itself has just come into sight."""
        self._follow_current(None)
        self._report()

    def _moved(self, current: QModelIndex) -> None:
        if self._following or self._as_table or not current.isValid():
            self._delay.stop()
        else:
            self._delay.start()

    def _choose_current(self) -> None:
        self._delay.stop()
        entry = self._model.entry(self.currentIndex().row()) if self.currentIndex().isValid() else None
        if entry is not None and (self._as_table or entry.series_uid != self._model.current_uid):
            self.series_chosen.emit(entry.series_uid)

    # -- mouse and keys -----------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Open or close a study's series at the sign before it; else select, and in the list choose."""
        index = self.indexAt(event.position().toPoint())
        left = event.button() == Qt.MouseButton.LeftButton
        entry = self._model.entry(index.row()) if index.isValid() else None
        on_sign = index.column() == PATIENT and event.position().x() - self.visualRect(index).x() < GUTTER_PX
        if left and on_sign and isinstance(entry, WorklistRow) and entry.n_series > 1:
            self._toggle(index.row())
            return
        super().mousePressEvent(event)
        if left and entry is not None and not self._as_table:
            self._choose_current()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Open the study of the table."""
        super().mouseDoubleClickEvent(event)
        if self._as_table and self.indexAt(event.position().toPoint()).isValid():
            self._choose_current()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Choose with Enter; open and close a study with Right and Left."""
        row = self.currentIndex().row()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not event.modifiers():
            self._choose_current()
        elif event.key() == Qt.Key.Key_Right and row >= 0:
            self._model.open_study(row)
        elif event.key() == Qt.Key.Key_Left and row >= 0:
            self._close(row)
        else:
            super().keyPressEvent(event)

    def keyboardSearch(self, search: str) -> None:
        """Do not walk through all rows for a letter that was typed: there is a search box."""

    def _toggle(self, row: int) -> None:
        if self._model.is_open(row):
            self._close(row)
        else:
            self._model.open_study(row)

    def _close(self, row: int) -> None:
        study = self._model.close_study(row)
        if self.currentIndex().row() != study:
            self._following = True
            self.setCurrentIndex(self._items.index(study, 0))
            self._following = False


class WorklistTable(WorklistView):
    """The worklist as a table whose columns sort."""

    WIDTHS = (210, 130, 100, 0, 100, 80, 110, 130)

    def __init__(self, items: WorklistItems, parent: QWidget | None = None) -> None:
        super().__init__(items, as_table=True, parent=parent)
        header = self.horizontalHeader()
        header.setSectionsClickable(True)
        header.setHighlightSections(False)
        header.setDefaultAlignment(LEFT | Qt.AlignmentFlag.AlignVCenter)
        header.setMinimumSectionSize(50)
        for column, width in enumerate(self.WIDTHS):
            if width:
                header.resizeSection(column, width)
            else:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        header.sectionClicked.connect(self._sort)
        bind(self, items.worklist.query_changed, self._show_order)
        self._show_order()

    def _paint_rows(self, event: QPaintEvent) -> None:
        """Paint all cells in one go: a call of Qt for each of some hundred cells would cost more than the painting."""
        painter, area, header = QPainter(self.viewport()), event.rect(), self.horizontalHeader()
        width_of = painter.fontMetrics()
        first, last = self.rowAt(area.top()), self.rowAt(area.bottom())
        if first < 0:
            return
        columns = [(at, header.sectionViewportPosition(at), header.sectionSize(at)) for at in range(header.count())]
        height, wide = self.rowHeight(first), width_of.averageCharWidth() + 1
        selected = self.currentIndex().row()
        for row in range(first, (last if last >= 0 else self._items.rowCount() - 1) + 1):
            top = self.rowViewportPosition(row)
            if row == selected:
                painter.fillRect(0, top, self.viewport().width(), height, theme.SELECTED)
            if self._model.is_current(self._model.entry(row)):
                painter.fillRect(0, top, 3, height, theme.ACCENT)
            cells = self._items.cells(row)
            for column, left, width in columns:
                text, color = cells[column]
                if text and left < area.right() and left + width > area.left():
                    painter.setPen(color)
                    if len(text) * wide > width - 10:
                        text = width_of.elidedText(text, Qt.TextElideMode.ElideRight, width - 10)
                    painter.drawText(left + 6, top, width - 10, height, CELL_FLAGS, text)

    def _sort(self, column: int) -> None:
        order = ORDER_OF_COLUMN.get(column)
        if order is not None:
            self._model.sort_by(order)

    def _show_order(self) -> None:
        query, header = self._model.effective_query, self.horizontalHeader()
        column = next((column for column, order in ORDER_OF_COLUMN.items() if order == query.order), DATE)
        header.setSortIndicatorShown(True)
        down = Qt.SortOrder.DescendingOrder if query.descending else Qt.SortOrder.AscendingOrder
        header.setSortIndicator(column, down)


class WorklistList(WorklistView):
    """The worklist as a narrow list."""

    def __init__(self, items: WorklistItems, parent: QWidget | None = None) -> None:
        super().__init__(items, as_table=False, parent=parent)
        self.horizontalHeader().hide()
        for column in range(1, items.columnCount()):
            self.setColumnHidden(column, True)
        self.horizontalHeader().setSectionResizeMode(PATIENT, QHeaderView.ResizeMode.Stretch)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setItemDelegate(WorklistDelegate(items, self))
