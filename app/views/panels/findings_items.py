"""The findings as a Qt tree: categories, and under each its findings; and how a row is painted."""

from __future__ import annotations

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, QPointF, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QPainter, QPolygonF
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app.viewmodels.findings import FindingRow, FindingsModel
from app.viewmodels.statements import ANSWER_LABELS, Answer
from app.views import theme
from app.views.bindings import bind
from engine.findings.catalogue import Urgency

AnyIndex = QModelIndex | QPersistentModelIndex
ROW_ROLE = Qt.ItemDataRole.UserRole
VALUE_ROLE = Qt.ItemDataRole.UserRole + 1
Groups = tuple[tuple[str, tuple[FindingRow, ...]], ...]

MARK_PX, VERDICT_PX = 18, 18
UNCALIBRATED_SIGN = "*"
SLIM_BAR_PX, WIDE_BAR_PX, BESIDE_BAR_PX = 40, 110, 370


class FindingsItems(QAbstractItemModel):
    """`FindingsModel.groups()` as two levels; an index's internal id is 0 for a category, else its number + 1."""

    def __init__(self, model: FindingsModel) -> None:
        super().__init__()
        self._model = model
        self._groups: Groups = model.groups()
        self._places: dict[str, tuple[int, int]] = {}
        self._index_places()
        bind(self, model.rows_changed, self._reset)
        bind(self, model.row_changed, self._replace)

    def _reset(self) -> None:
        self.beginResetModel()
        self._groups = self._model.groups()
        self._index_places()
        self.endResetModel()

    def _index_places(self) -> None:
        self._places = {row.key: (g, r) for g, (_, rows) in enumerate(self._groups) for r, row in enumerate(rows)}

    def _replace(self, key: str) -> None:
        place = self.index_of(key)
        if place.isValid():
            self.dataChanged.emit(place, place)
            self.dataChanged.emit(place.parent(), place.parent())

    def index_of(self, key: str | None) -> QModelIndex:
        """Return the index of a finding; invalid if the filter hides it."""
        if key is None or key not in self._places:
            return QModelIndex()
        group, row = self._places[key]
        return self.createIndex(row, 0, group + 1)

    def index(self, row: int, column: int, parent: AnyIndex = QModelIndex()) -> QModelIndex:
        """Return the index of a category or finding."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        return self.createIndex(row, column, parent.row() + 1 if parent.isValid() else 0)

    def parent(self, index: AnyIndex = QModelIndex()) -> QModelIndex:  # type: ignore[override]
        """Return the category of a finding."""
        if not index.isValid() or index.internalId() == 0:
            return QModelIndex()
        return self.createIndex(index.internalId() - 1, 0, 0)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return the number of categories, or of findings in one."""
        if not parent.isValid():
            return len(self._groups)
        return len(self._groups[parent.row()][1]) if parent.internalId() == 0 else 0

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return 1: a row is painted whole."""
        return 1

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        """Findings can be selected; categories only opened and closed."""
        if index.isValid() and index.internalId() == 0:
            return Qt.ItemFlag.ItemIsEnabled
        return super().flags(index)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return the finding row, or text."""
        if index.internalId() == 0:
            return self._category_data(index.row(), role)
        shown = self._groups[index.internalId() - 1][1][index.row()]
        row = self._model.row(shown.key)
        if role == ROW_ROLE:
            return row
        if role == VALUE_ROLE:
            return self._value_text(row)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return accessible_text(row)
        return tooltip(row) if role == Qt.ItemDataRole.ToolTipRole else None

    def _value_text(self, row: FindingRow) -> str:
        """Return the number; with a sign where it alone among calibrated ones is a raw score."""
        if row.value is None:
            return ""
        marked = self._model.calibration == "some" and not row.calibrated
        return f"{row.value:.2f}{UNCALIBRATED_SIGN if marked else ''}"

    def _category_data(self, group: int, role: int) -> object:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return None
        title, shown = self._groups[group]
        rows = [self._model.row(row.key) for row in shown]
        covered = [row for row in rows if row.covered]
        positive = sum(row.positive is True for row in rows)
        reviewed = sum(row.feedback is not None for row in rows)
        parts = [f"{positive} positive of {len(covered)}" if covered else f"{len(rows)}"]
        if reviewed:
            parts.append(f"{reviewed} reviewed")
        return f"{title}|{' · '.join(parts)}"


def accessible_text(row: FindingRow) -> str:
    """Return a finding in one line, as a screen reader speaks it."""
    if row.value is None:
        state = "not covered by this model" if row.result is not None else "not analysed"
    else:
        state = f"{row.value_name} {row.value:.2f}, {'positive' if row.positive else 'not positive'}"
    verdict = f", {ANSWER_LABELS[row.feedback.answer]}" if row.feedback else ""
    return f"{row.finding.label}, {row.finding.urgency}, {state}{verdict}"


def tooltip(row: FindingRow) -> str:
    """Return definition, synonyms and numbers, a line each."""
    lines = [f"{row.finding.label} ({row.finding.urgency})", row.finding.definition]
    if row.finding.synonyms:
        lines.append(f"Also: {', '.join(row.finding.synonyms)}")
    if row.value is not None:
        point = "none" if row.operating_point is None else f"{row.operating_point:.2f}"
        lines.append(f"{row.value_name.capitalize()} {row.value:.3f}, operating point {point}")
    elif row.result is not None:
        lines.append("Not covered by this model: it makes no statement on this finding.")
    return "\n".join(lines)


class FindingDelegate(QStyledItemDelegate):
    """Paints urgency, label, bar with operating point, value and verdict in one line."""

    def __init__(self, icons: dict[Answer, QIcon], parent: object = None) -> None:
        super().__init__(parent)
        self._icons = icons

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """Return one text line and a little air: 75 rows must be scanned."""
        return QSize(100, QFontMetrics(option.font).height() + 7)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Paint a category or a finding."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if index.internalId() == 0:
            self._paint_category(painter, option, str(index.data()))
        else:
            if option.state & QStyle.StateFlag.State_Selected:
                painter.fillRect(option.rect, theme.SELECTED)
            elif option.state & QStyle.StateFlag.State_MouseOver:
                painter.fillRect(option.rect, theme.RAISED)
            self._paint_finding(painter, option.rect, index.data(ROW_ROLE), str(index.data(VALUE_ROLE)))
        painter.restore()

    def _paint_category(self, painter: QPainter, option: QStyleOptionViewItem, text: str) -> None:
        painter.fillRect(option.rect, theme.PANEL)
        name, count = text.split("|")
        room = option.rect.adjusted(20, 0, -8, 0)
        self._paint_arrow(painter, option)
        font = QFont(option.font)
        painter.setPen(theme.MUTED)
        painter.setFont(font)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), count)
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(theme.TEXT)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), name)

    def _paint_arrow(self, painter: QPainter, option: QStyleOptionViewItem) -> None:
        x, y = option.rect.x() + 10.0, option.rect.center().y() + 0.5
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.MUTED)
        opened = [QPointF(x - 4, y - 2), QPointF(x + 4, y - 2), QPointF(x, y + 3)]
        closed = [QPointF(x - 2, y - 4), QPointF(x + 3, y), QPointF(x - 2, y + 4)]
        painter.drawPolygon(QPolygonF(opened if option.state & QStyle.StateFlag.State_Open else closed))

    def _paint_finding(self, painter: QPainter, rect: QRect, row: FindingRow, value: str) -> None:
        muted = row.result is not None and not row.covered
        self._paint_urgency(painter, rect, row.finding.urgency, muted)
        right = rect.right() - 4
        if row.feedback is not None:
            size = 15
            place = QRect(right - size, rect.center().y() - size // 2, size, size)
            self._icons[row.feedback.answer].paint(painter, place)
        right -= VERDICT_PX
        right = self._paint_value(painter, QRect(rect.x(), rect.y(), right - rect.x(), rect.height()), row, value)
        room = QRect(rect.x() + MARK_PX, rect.y(), right - rect.x() - MARK_PX - 6, rect.height())
        painter.setPen(theme.FAINT if muted else theme.TEXT)
        if row.positive:
            font = QFont(painter.font())
            font.setBold(True)
            painter.setFont(font)
        text = painter.fontMetrics().elidedText(row.finding.label, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)

    def _paint_urgency(self, painter: QPainter, rect: QRect, urgency: Urgency, muted: bool) -> None:
        """Mark urgency by shape and colour: triangle, diamond, small dot."""
        x, y = rect.x() + 8.0, rect.center().y() + 0.5
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.LINE if muted else theme.URGENCY[urgency])
        if urgency == "critical":
            painter.drawPolygon(QPolygonF([QPointF(x, y - 5), QPointF(x + 5, y + 4), QPointF(x - 5, y + 4)]))
        elif urgency == "urgent":
            painter.drawPolygon(QPolygonF([QPointF(x, y - 5), QPointF(x + 5, y), QPointF(x, y + 5), QPointF(x - 5, y)]))
        else:
            painter.drawEllipse(QPointF(x, y), 2, 2)

    def _paint_value(self, painter: QPainter, room: QRect, row: FindingRow, value: str) -> int:
        """Paint number and bar at the right of `room`; return where they begin."""
        aligned = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if row.value is None:
            painter.setPen(theme.FAINT)
            text = "not covered by this model" if row.result is not None else "–"
            metrics = painter.fontMetrics()
            needed = MARK_PX + metrics.horizontalAdvance(row.finding.label) + metrics.horizontalAdvance(text) + 14
            shown = text if room.width() > needed else text.removesuffix(" by this model")
            painter.drawText(room, aligned, shown)
            return room.right() - metrics.horizontalAdvance(shown) - 4
        painter.setPen(theme.TOWARDS if row.positive else theme.MUTED)
        sign_px = painter.fontMetrics().horizontalAdvance(UNCALIBRATED_SIGN)
        number = room.adjusted(0, 0, 0 if value.endswith(UNCALIBRATED_SIGN) else -sign_px, 0)
        painter.drawText(number, aligned, value)
        value_px = painter.fontMetrics().horizontalAdvance("0.00") + sign_px + 8
        bar_px = min(max(room.width() - BESIDE_BAR_PX, SLIM_BAR_PX), WIDE_BAR_PX)  # the label comes first
        bar = QRect(room.right() - value_px - bar_px, room.center().y() - 4, bar_px, 9)
        self._paint_bar(painter, bar, row)
        return bar.left()

    def _paint_bar(self, painter: QPainter, bar: QRect, row: FindingRow) -> None:
        painter.fillRect(bar, QColor("#262c33"))
        filled = QRect(bar)
        filled.setWidth(round((row.value or 0.0) * bar.width()))
        painter.fillRect(filled, theme.POSITIVE_BAR if row.positive else theme.NEGATIVE_BAR)
        if row.operating_point is not None:
            x = bar.left() + round(row.operating_point * (bar.width() - 1))
            painter.fillRect(QRect(x - 1, bar.top() - 3, 3, bar.height() + 6), theme.BACKGROUND)
            painter.fillRect(QRect(x, bar.top() - 3, 1, bar.height() + 6), theme.TEXT)
