"""The queue of analyses under the worklist: what runs and how far it is, what waits, what failed and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QDragEnterEvent, QDragMoveEvent, QDropEvent, QFontMetrics, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import QueueActions
from app.viewmodels.queue import QueueModel, QueueRow
from app.views import theme
from app.views.bindings import bind

AnyIndex = QModelIndex | QPersistentModelIndex
ROW_ROLE = Qt.ItemDataRole.UserRole
VISIBLE_ROWS = 3


def state_of(row: QueueRow, model: QueueModel) -> tuple[str, QColor]:
    """Return a row's state in a word or two, and its colour."""
    if row.state == "failed":
        return "failed", theme.DANGER
    if row.state == "waiting":
        return "waiting", theme.MUTED
    if not row.mine:
        return "other window", theme.ACCENT
    progress = model.progress
    return (f"{progress.done} of {progress.total}" if progress.total else "running"), theme.ACCENT


class QueueDelegate(QStyledItemDelegate):
    """Paints two lines and, under what runs here, how far it is."""

    def __init__(self, model: QueueModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = model

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """Return two text lines and some air."""
        return QSize(100, 2 * QFontMetrics(option.font).height() + 9)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Paint one row."""
        row: QueueRow = index.data(ROW_ROLE)
        rect, metrics = option.rect, painter.fontMetrics()
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, theme.SELECTED)
        line = QRect(rect.x() + 8, rect.y() + 3, rect.width() - 16, metrics.height())
        state, color = state_of(row, self._model)
        painter.setPen(color)
        painter.drawText(line, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), state)
        room = line.adjusted(0, 0, -metrics.horizontalAdvance(state) - 8, 0)
        for text, ink in ((row.label, theme.TEXT), (row.message or row.detail, color if row.message else theme.MUTED)):
            painter.setPen(ink)
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room.width())
            painter.drawText(room, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), shown)
            room = line = line.translated(0, metrics.height())
        progress = self._model.progress
        if row.state == "running" and row.mine and progress.total:
            done = round(rect.width() * progress.done / progress.total)
            painter.fillRect(rect.x(), rect.bottom() - 2, done, 2, theme.ACCENT)
        painter.restore()


class QueueList(QListWidget):
    """The rows; dragging one says where it shall stand: `moved(series_uid, before)`, with None at the end."""

    moved = Signal(str, object)

    def __init__(self, model: QueueModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setItemDelegate(QueueDelegate(model, self))
        self.setAccessibleName("Analysis queue")
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)

    def uid_at(self, place: int) -> str | None:
        """Return the series in a row, None below the last one."""
        item = self.item(place)
        return None if item is None else item.data(ROW_ROLE).series_uid

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take rows of the queue; files are the window's."""
        if event.source() is self:
            super().dragEnterEvent(event)
        else:
            event.ignore()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        """Show where the row would stand."""
        if event.source() is self:
            super().dragMoveEvent(event)
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:
        """Ask for the move; the rows follow from the queue itself."""
        if event.source() is not self:
            event.ignore()
            return
        event.setDropAction(Qt.DropAction.IgnoreAction)
        event.accept()
        self.drop_at(self.currentRow(), event.position().toPoint().y())

    def drop_at(self, place: int, y: int) -> None:
        """Ask for a row to be put where it was dropped: above the row whose upper half that is."""
        uid = self.uid_at(place)
        centres = [self.visualItemRect(self.item(row)).center().y() for row in range(self.count())]
        target = sum(centre < y for centre in centres)
        before = self.uid_at(target)
        if uid is not None and before != uid and target != place + 1:
            self.moved.emit(uid, before)


class QueuePanel(QWidget):
    """Head line, rows, and what can be done with the selected one."""

    def __init__(
        self, model: QueueModel, actions: QueueActions, resources: Path, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model, self._actions, self._resources = model, actions, resources
        self._filling = False
        self.head = QPushButton(checkable=True)
        self.head.setProperty("role", "line")
        self.head.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.pause = QToolButton(checkable=True)
        self.list = QueueList(model)
        self.up, self.down = QToolButton(text="↑"), QToolButton(text="↓")
        self.retry, self.cancel = QToolButton(text="Retry"), QToolButton(text="Cancel")
        self._lay_out()
        self.head.toggled.connect(self._show)
        self.pause.clicked.connect(actions.pause)
        self.up.clicked.connect(lambda: self.move_selected(-1))
        self.down.clicked.connect(lambda: self.move_selected(1))
        self.retry.clicked.connect(self.retry_selected)
        self.cancel.clicked.connect(self.cancel_selected)
        self.list.moved.connect(actions.move)
        self.list.currentItemChanged.connect(self._select)
        bind(self, model.changed, self._fill)
        bind(self, model.progress_changed, self._repaint)
        bind(self, model.selected_changed, self._follow_selected)
        self._fill()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 4, 0)
        head.setSpacing(1)
        head.addWidget(self.head, 1)
        head.addWidget(self.pause)
        self.body = QWidget()
        self.buttons = QWidget()
        row = QHBoxLayout(self.buttons)
        row.setContentsMargins(6, 3, 6, 4)
        row.setSpacing(3)
        for button in (self.up, self.down, self.retry, self.cancel):
            button.setProperty("role", "chip")
            row.addWidget(button)
        row.addStretch(1)
        body = QVBoxLayout(self.body)
        body.setContentsMargins(0, 0, 0, 0)
        body.setSpacing(0)
        body.addWidget(self.list)
        body.addWidget(self.buttons)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        column.addWidget(self.body)

    @property
    def stops(self) -> tuple[QWidget, ...]:
        """The controls in the order in which Tab reaches them."""
        return (self.head, self.pause, self.list, self.up, self.down, self.retry, self.cancel)

    # -- what the reader does -----------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Show or hide the rows."""
        self.head.toggle()

    def move_selected(self, step: int) -> None:
        """Let the selected series wait one place earlier or later."""
        uid = self._model.selected
        movable, before = self._model.place_before(uid, step) if uid is not None else (False, None)
        if uid is not None and movable:
            self._actions.move(uid, before)

    def retry_selected(self) -> None:
        """Let the selected series wait again."""
        row = self._model.row(self._model.selected)
        if row is not None and (row.state == "failed" or (row.state == "running" and not row.mine)):
            self._actions.retry(row.series_uid)

    def cancel_selected(self) -> None:
        """Take the selected series out of the queue."""
        if self._model.selected is not None:
            self._actions.cancel(self._model.selected)

    def _select(self, item: QListWidgetItem | None) -> None:
        if not self._filling:
            self._model.selected = None if item is None else item.data(ROW_ROLE).series_uid

    # -- from the model -----------------------------------------------------------------------------------------

    def name_keys(self, hint: Callable[[str], str]) -> None:
        """Put the keys into the tooltips."""
        self.head.setToolTip(f"Show or hide the queue{hint('queue')}")
        self.up.setToolTip(f"Analyse earlier{hint('queue_up')}")
        self.down.setToolTip(f"Analyse later{hint('queue_down')}")
        self.retry.setToolTip(f"Let a failed one wait again{hint('queue_retry')}")
        self.cancel.setToolTip(f"Take it out of the queue; what runs is stopped{hint('queue_cancel')}")
        self._pause_hint = hint("queue_pause")
        self._show()

    _pause_hint = ""

    def _fill(self) -> None:
        self._filling = True
        rows = self._model.rows
        while self.list.count() > len(rows):
            self.list.takeItem(self.list.count() - 1)
        while self.list.count() < len(rows):
            self.list.addItem(QListWidgetItem())
        for place, row in enumerate(rows):
            item = self.list.item(place)
            item.setData(ROW_ROLE, row)
            item.setText(f"{row.label}, {row.detail}, {row.state}")
            item.setToolTip("\n".join(part for part in (row.label, row.detail, row.state, row.message) if part))
        self._follow_selected()
        self._filling = False
        self._show()

    def _follow_selected(self, *_: object) -> None:
        filling, self._filling = self._filling, True
        uids = [row.series_uid for row in self._model.rows]
        selected = self._model.selected
        self.list.setCurrentRow(uids.index(selected) if selected in uids else -1)
        self._filling = filling
        self._enable()

    def _repaint(self) -> None:
        self.list.viewport().update()

    def _enable(self) -> None:
        row = self._model.row(self._model.selected)
        waiting = row is not None and row.state == "waiting"
        self.up.setEnabled(waiting)
        self.down.setEnabled(waiting)
        self.retry.setEnabled(row is not None and (row.state == "failed" or (row.state == "running" and not row.mine)))
        self.cancel.setEnabled(row is not None and (row.state != "running" or row.mine))

    def _show(self, *_: object) -> None:
        model = self._model
        idle = f" · {model.idle_reason.lower()}" if model.idle_reason else ""
        sign = "▾" if self.head.isChecked() else "▸"
        self.head.setText(f"{sign} ANALYSES · {model.summary}{idle}")
        self.head.setAccessibleName(f"Analysis queue: {model.summary}{idle}")
        self.body.setVisible(self.head.isChecked() and bool(model.rows))
        rows = min(max(len(model.rows), 1), VISIBLE_ROWS)
        self.list.setFixedHeight(rows * max(self.list.sizeHintForRow(0), 20) + 4)
        self.pause.setChecked(model.paused)
        self.pause.setIcon(theme.icon(self._resources, "play" if model.paused else "pause"))
        said = "Go on with the analyses" if model.paused else "Begin no further analysis"
        self.pause.setToolTip(f"{said}{self._pause_hint}")
        self.pause.setAccessibleName(said)
        self._enable()
