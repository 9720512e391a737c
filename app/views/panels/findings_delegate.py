"""How a line of the findings panel is painted: urgency, label, bar with operating point, value, statement."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRect, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetrics, QIcon, QPainter, QPolygonF
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app.viewmodels.findings import Density, FindingRow
from app.viewmodels.statements import Answer
from app.views import theme
from app.views.panels.findings_items import ROW_ROLE, UNCALIBRATED_SIGN, VALUE_ROLE, AnyIndex
from engine.findings.catalogue import Urgency

MARK_PX, VERDICT_PX = 18, 18
SLIM_BAR_PX, WIDE_BAR_PX, BESIDE_BAR_PX = 40, 110, 370
COMPACT_BAR_PX, COMPACT_BESIDE_PX, COMPACT_VERDICT_PX = 20, 310, 14
ROOMY_PX = 7
BAR_GROUND = QColor("#262c33")
NOT_COVERED = ("not covered by this model", "not covered", "–")


class FindingDelegate(QStyledItemDelegate):
    """Paints a finding in one line. A hatched bar is a raw score, a full one a calibrated probability."""

    def __init__(self, icons: dict[Answer, QIcon], parent: object = None) -> None:
        super().__init__(parent)
        self._icons = icons
        self.density: Density = "comfortable"
        self.compact_line_px = 0

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """Return one text line and a little air; none of it where as many lines as possible are to be seen."""
        height = QFontMetrics(option.font).height()
        return QSize(100, height + ROOMY_PX if self.density == "comfortable" else max(self.compact_line_px, height))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Paint a category or a finding."""
        row = index.data(ROW_ROLE) if index.internalId() else None
        painter.save()
        painter.setFont(option.font)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if index.internalId() == 0 and index.column() == 0:
            self._paint_category(painter, option, str(index.data()))
        elif row is not None:
            if option.state & QStyle.StateFlag.State_Selected:
                painter.fillRect(option.rect, theme.SELECTED)
            elif option.state & QStyle.StateFlag.State_MouseOver:
                painter.fillRect(option.rect, theme.RAISED)
            self._paint_finding(painter, option.rect, row, str(index.data(VALUE_ROLE)))
        painter.restore()

    def _paint_category(self, painter: QPainter, option: QStyleOptionViewItem, text: str) -> None:
        painter.fillRect(option.rect, theme.PANEL)
        name, count = text.split("|")
        room = option.rect.adjusted(20, 0, -8, 0)
        self._paint_arrow(painter, option)
        font = QFont(option.font)
        painter.setPen(theme.MUTED)
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
            size = min(15, rect.height(), VERDICT_PX if self.density == "comfortable" else COMPACT_VERDICT_PX - 1)
            place = QRect(right - size, rect.center().y() - size // 2, size, size)
            self._icons[row.feedback.answer].paint(painter, place)
        right -= VERDICT_PX if self.density == "comfortable" else COMPACT_VERDICT_PX
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
        if row.value is None:
            return self._paint_no_value(painter, room, row)
        aligned = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        painter.setPen(theme.TOWARDS if row.positive else theme.MUTED)
        sign_px = painter.fontMetrics().horizontalAdvance(UNCALIBRATED_SIGN)
        number = room.adjusted(0, 0, 0 if value.endswith(UNCALIBRATED_SIGN) else -sign_px, 0)
        painter.drawText(number, aligned, value)
        value_px = painter.fontMetrics().horizontalAdvance("0.00") + sign_px + 8
        compact = self.density == "compact"
        slim, beside = (COMPACT_BAR_PX, COMPACT_BESIDE_PX) if compact else (SLIM_BAR_PX, BESIDE_BAR_PX)
        bar_px = min(max(room.width() - beside, slim), WIDE_BAR_PX)  # the label comes first
        half = 3 if compact else 4
        bar = QRect(room.right() - value_px - bar_px, room.center().y() - half, bar_px, 2 * half + 1)
        self._paint_bar(painter, bar, row)
        return bar.left()

    def _paint_no_value(self, painter: QPainter, room: QRect, row: FindingRow) -> int:
        """Say in as many words as fit beside the label that there is none."""
        metrics = painter.fontMetrics()
        left = room.width() - MARK_PX - metrics.horizontalAdvance(row.finding.label) - 14
        texts = NOT_COVERED if row.result is not None else NOT_COVERED[-1:]
        shown = next((text for text in texts if metrics.horizontalAdvance(text) <= left), texts[-1])
        painter.setPen(theme.FAINT)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), shown)
        return room.right() - metrics.horizontalAdvance(shown) - 4

    def _paint_bar(self, painter: QPainter, bar: QRect, row: FindingRow) -> None:
        painter.fillRect(bar, BAR_GROUND)
        filled = QRect(bar)
        filled.setWidth(round((row.value or 0.0) * bar.width()))
        color = theme.POSITIVE_BAR if row.positive else theme.NEGATIVE_BAR
        painter.fillRect(filled, color if row.calibrated else QBrush(color, Qt.BrushStyle.Dense4Pattern))
        if row.operating_point is not None:
            x = bar.left() + round(row.operating_point * (bar.width() - 1))
            over = 2 if self.density == "compact" else 3
            painter.fillRect(QRect(x - 1, bar.top() - over, 3, bar.height() + 2 * over), theme.BACKGROUND)
            painter.fillRect(QRect(x, bar.top() - over, 1, bar.height() + 2 * over), theme.TEXT)
