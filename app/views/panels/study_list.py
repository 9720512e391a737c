"""The study list on the left."""

from __future__ import annotations

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QVBoxLayout, QWidget

from app.viewmodels.studies import EMPTY_TEXT, StudyListModel, StudyRow
from app.views import theme
from app.views.bindings import bind

AnyIndex = QModelIndex | QPersistentModelIndex
ROW_ROLE = Qt.ItemDataRole.UserRole
KIND_TEXT = {"volume": "slices", "stack": "images, 2D stack", "refused": "files, refused"}


class StudyItems(QAbstractListModel):
    """`StudyListModel` as a Qt list."""

    def __init__(self, model: StudyListModel) -> None:
        super().__init__()
        self._model = model
        self._rows: tuple[StudyRow, ...] = model.rows
        bind(self, model.rows_changed, self._reset)
        bind(self, model.row_changed, self._replace)

    def _reset(self) -> None:
        self.beginResetModel()
        self._rows = self._model.rows
        self.endResetModel()

    def _replace(self, uid: str) -> None:
        self._rows = self._model.rows
        place = self.place_of(uid)
        self.dataChanged.emit(self.index(place), self.index(place))

    def place_of(self, uid: str | None) -> int:
        """Return the row number of a series, or −1."""
        return next((place for place, row in enumerate(self._rows) if row.series_uid == uid), -1)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return the number of series."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return the row itself, or its text for tooltips and screen readers."""
        row = self._rows[index.row()]
        if role == ROW_ROLE:
            return row
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{row.patient_label}, {row.study_date}, {row.description}, {row.n_slices} slices, {row.state}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return tooltip(row)
        return None


def tooltip(row: StudyRow) -> str:
    """Return everything the row knows, a line each."""
    parts = (
        row.patient_label,
        f"ID {row.patient_id}" if row.patient_id else "",
        row.study_date,
        row.study_description,
        row.description,
        f"{row.n_slices} {KIND_TEXT[row.kind]}",
        f"{row.state}: {row.state_text}" if row.state_text else row.state,
        f"Most urgent positive finding: {row.most_urgent}" if row.n_positive and row.most_urgent else "",
    )
    return "\n".join(part for part in parts if part)


def badge(row: StudyRow) -> tuple[str, QColor]:
    """Return the state in a word or two, and its colour."""
    if row.kind == "refused":
        return "refused", theme.DANGER
    if row.state == "analysing":
        return "analysing…", theme.ACCENT
    if row.state == "failed":
        return "failed", theme.DANGER
    if row.state == "analysed":
        if not row.n_positive or row.most_urgent is None:
            return f"{row.n_positive or 0} positive", theme.GOOD
        return f"{theme.URGENCY_SIGNS[row.most_urgent]} {row.n_positive} positive", theme.URGENCY[row.most_urgent]
    return ("view only", theme.WARNING) if row.state_text or row.kind == "stack" else ("new", theme.MUTED)


class StudyDelegate(QStyledItemDelegate):
    """Paints a series in three lines with its state at the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """Return three text lines and some air."""
        return QSize(120, 3 * QFontMetrics(option.font).height() + 14)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Paint one series."""
        row: StudyRow = index.data(ROW_ROLE)
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, theme.SELECTED)
        painter.setPen(theme.LINE)
        painter.drawLine(option.rect.bottomLeft(), option.rect.bottomRight())
        metrics = QFontMetrics(option.font)
        line = QRect(option.rect.x() + 9, option.rect.y() + 6, option.rect.width() - 18, metrics.height())
        text, color = badge(row)
        taken = self._draw(painter, line, text, color, Qt.AlignmentFlag.AlignRight)
        room = line.adjusted(0, 0, -taken - 8, 0)
        self._draw(painter, room, row.patient_label or "No name", theme.TEXT)
        line.translate(0, metrics.height())
        described = " · ".join(part for part in (row.study_description, row.description) if part)
        self._draw(painter, line, described or "No description", theme.MUTED)
        line.translate(0, metrics.height())
        self._draw(painter, line, f"{row.study_date or 'No date'} · {row.n_slices} {KIND_TEXT[row.kind]}", theme.MUTED)
        painter.restore()

    def _draw(
        self,
        painter: QPainter,
        room: QRect,
        text: str,
        color: QColor,
        side: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
    ) -> int:
        metrics = painter.fontMetrics()
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        painter.setPen(color)
        painter.drawText(room, int(side | Qt.AlignmentFlag.AlignVCenter), shown)
        return metrics.horizontalAdvance(shown)


class StudyListView(QListView):
    """A list that says what to do while it is empty."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the rows, or the invitation."""
        super().paintEvent(event)
        if self.model() is not None and self.model().rowCount() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(theme.MUTED)
            flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
            painter.drawText(self.viewport().rect().adjusted(12, 12, -12, -12), flags, EMPTY_TEXT)


class StudyListPanel(QWidget):
    """Title and list; `series_chosen` when the reader picks a series."""

    series_chosen = Signal(str)

    def __init__(self, model: StudyListModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._items = StudyItems(model)
        self.list = StudyListView()
        self.list.setModel(self._items)
        self.list.setItemDelegate(StudyDelegate(self.list))
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.list.setAccessibleName("Studies")
        title = QLabel("STUDIES")
        title.setProperty("role", "panel-title")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(title)
        layout.addWidget(self.list)
        self.setMinimumWidth(150)
        bind(self, model.current_changed, self._show_current)
        bind(self, model.rows_changed, self._show_current)
        self.list.selectionModel().currentChanged.connect(self._choose)
        self._show_current()

    def _show_current(self, *_: object) -> None:
        place = self._items.place_of(self._model.current_uid)
        selection = self.list.selectionModel()
        if selection.currentIndex().row() == place:
            return
        selection.blockSignals(True)
        if place < 0:
            selection.clear()
        else:
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect
            selection.setCurrentIndex(self._items.index(place), flags)
        selection.blockSignals(False)
        self.list.viewport().update()

    def _choose(self, current: QModelIndex) -> None:
        row: StudyRow | None = current.data(ROW_ROLE) if current.isValid() else None
        if row is not None and row.series_uid != self._model.current_uid:
            self.series_chosen.emit(row.series_uid)
