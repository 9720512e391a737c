"""The evidence strip: ledger, attention and router map of the selected finding on one axis of prepared slices.

Everything but the cursor is painted once into a pixmap, so that scrolling the viewer only moves a line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetrics,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app.viewmodels.evidence import EvidenceModel, EvidenceView
from app.views import theme
from app.views.bindings import bind

GAP_PX = 6
STEPS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_PageDown: -5, Qt.Key.Key_PageUp: 5}
ROW_SHARES = (0.48, 0.20, 0.32)
NO_EXPERTS = "This model has no experts, so there is no router."
WHOLE_VOLUME = "Whole volume: this model reads the volume at once, so there are no slices to compare or to jump to."
GATE_COLORS = np.asarray(pg.colormap.get("cividis").getLookupTable(nPts=256), dtype=np.uint8)


@dataclass(frozen=True)
class StripLayout:
    """Where each of the three rows, the axis and the legends lie, in widget pixels."""

    ledger: QRect
    attention: QRect
    gates: QRect
    axis: QRect
    n_slices: int
    legend_px: int

    def x_of(self, prepared: float) -> float:
        """Return the x of the middle of a prepared slice (fractions fall between)."""
        return self.ledger.x() + (prepared + 0.5) * self.ledger.width() / self.n_slices

    def slice_at(self, x: float) -> int:
        """Return the prepared slice at an x, kept on the axis."""
        place = int((x - self.ledger.x()) * self.n_slices / max(self.ledger.width(), 1))
        return min(max(place, 0), self.n_slices - 1)

    def legend(self, row: QRect) -> QRect:
        """Return the place of a row's legend."""
        return QRect(row.right() + 10, row.y(), self.legend_px - 10, row.height())


class EvidenceStrip(QWidget):
    """Paints `EvidenceModel.view`; a click or drag asks the viewer to jump."""

    def __init__(self, model: EvidenceModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._picture: QPixmap | None = None
        self.setObjectName("evidence_strip")
        self.setAccessibleName("Evidence by slice")
        self.setMinimumHeight(150)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        bind(self, model.view_changed, self._redraw)
        bind(self, model.split_changed, self._redraw)
        bind(self, model.cursor_changed, self._move_cursor)

    # -- geometry -----------------------------------------------------------------------------------------------

    def strip_layout(self) -> StripLayout | None:
        """Return where things lie; None while there is nothing to draw."""
        view = self._model.view
        if view is None:
            return None
        metrics = QFontMetrics(self._small_font())
        line = metrics.height()
        left = metrics.horizontalAdvance("+00.00") + 8
        legend = metrics.horizontalAdvance("Router: gate weight of each") + 18
        width = max(self.width() - left - legend, 60)
        free = max(self.height() - 2 * line - 2 * GAP_PX - 4, 60)
        heights = [int(free * share) for share in ROW_SHARES]
        tops = [2, 2 + heights[0] + GAP_PX, 2 + heights[0] + heights[1] + 2 * GAP_PX]
        rows = [QRect(left, top, width, height) for top, height in zip(tops, heights, strict=True)]
        return StripLayout(*rows, QRect(left, rows[2].bottom() + 2, width, 2 * line), view.n_slices, legend)

    def _small_font(self) -> QFont:
        return theme.small_font(self)

    # -- from the model -----------------------------------------------------------------------------------------

    def _redraw(self, *_: object) -> None:
        self._picture = None
        self.update()

    def _move_cursor(self, *_: object) -> None:
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Paint anew at the new size."""
        self._picture = None
        super().resizeEvent(event)

    # -- pointer ------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Jump to the slice pressed."""
        self._jump(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow a drag; show that the axis can be clicked."""
        layout = self.strip_layout()
        over = (
            layout is not None
            and not self._model.is_volume
            and layout.ledger.left() <= event.position().x() <= layout.ledger.right()
        )
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._jump(event)

    def _jump(self, event: QMouseEvent) -> None:
        layout = self.strip_layout()
        if layout is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        if layout.ledger.left() <= event.position().x() <= layout.ledger.right() + 1:
            self._model.jump_to(layout.slice_at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Walk along the axis by acquired slices; every other key is the window's."""
        steps = STEPS.get(event.key())
        if steps is None or self._model.view is None:
            event.ignore()
        else:
            self._model.walk(steps)

    def event(self, event: QEvent) -> bool:
        """Answer a request for a tooltip with the numbers of the slice under the pointer."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            layout, view = self.strip_layout(), self._model.view
            if layout is not None and view is not None and layout.ledger.left() <= event.x() <= layout.ledger.right():
                QToolTip.showText(event.globalPos(), view.slice_text(layout.slice_at(event.x())), self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    # -- painting -----------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Copy the picture and draw the cursor over it."""
        painter = QPainter(self)
        view, layout = self._model.view, self.strip_layout()
        if view is None or layout is None:
            self._paint_empty(painter)
            return
        if self._picture is None:
            self._picture = self._paint_picture(view, layout)
        painter.drawPixmap(0, 0, self._picture)
        cursor = self._model.cursor
        if cursor is not None:
            x = layout.x_of(cursor)
            painter.setPen(QPen(theme.CURSOR, 1.5))
            painter.drawLine(int(x), layout.ledger.top(), int(x), layout.gates.bottom())
        if self.hasFocus():
            painter.setPen(QPen(theme.FOCUS, 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def _paint_empty(self, painter: QPainter) -> None:
        painter.fillRect(self.rect(), theme.BACKGROUND)
        painter.setPen(theme.MUTED)
        flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
        painter.drawText(self.rect().adjusted(20, 8, -20, -8), flags, self._model.empty_text)

    def _paint_picture(self, view: EvidenceView, layout: StripLayout) -> QPixmap:
        ratio = self.devicePixelRatioF()
        picture = QPixmap(self.size() * ratio)
        picture.setDevicePixelRatio(ratio)
        picture.fill(theme.BACKGROUND)
        painter = QPainter(picture)
        painter.setFont(self._small_font())
        _Painting(painter, view, layout, self._model.split).paint()
        painter.end()
        return picture


class _Painting:
    """One pass over the three rows with one painter."""

    def __init__(self, painter: QPainter, view: EvidenceView, layout: StripLayout, split: bool) -> None:
        self.painter, self.view, self.layout, self.split = painter, view, layout, split
        self.metrics = QFontMetrics(painter.font())
        self._each = "" if view.unit == "volume" else " per slice"

    def paint(self) -> None:
        """Paint rows, legends and axis."""
        for row in (self.layout.ledger, self.layout.attention, self.layout.gates):
            self.painter.fillRect(row, theme.PANEL)
        self._paint_ledger()
        self._paint_attention()
        self._paint_gates()
        self._paint_axis()

    # -- ledger -------------------------------------------------------------------------------------------------

    def _parts(self) -> tuple[tuple[np.ndarray, QColor, QColor], ...]:
        """Return the stacked parts: values (S,), colour upwards, colour downwards."""
        if not self.split:
            return ((self.view.net_S, theme.TOWARDS, theme.AGAINST),)
        experts = self.view.experts_SK.sum(axis=1)
        return (
            (self.view.frozen_S, theme.TOWARDS_FROZEN, theme.AGAINST_FROZEN),
            (experts, theme.TOWARDS_EXPERTS, theme.AGAINST_EXPERTS),
        )

    def _paint_ledger(self) -> None:
        row, parts = self.layout.ledger, self._parts()
        up = sum(np.maximum(values, 0) for values, _, _ in parts)
        down = sum(np.minimum(values, 0) for values, _, _ in parts)
        top, bottom = float(max(np.max(up), 0)), float(min(np.min(down), 0))
        span = max(top - bottom, 1e-6)
        scale = (row.height() - 6) / span
        zero = row.y() + 3 + top * scale
        for index in range(self.view.n_slices):
            self._paint_bar(index, parts, zero, scale)
        self.painter.setPen(QPen(theme.MUTED, 1))
        self.painter.drawLine(row.left(), int(zero), row.right(), int(zero))
        self._tick(zero, "0")
        if top * scale > 1.5 * self.metrics.height():
            self._tick(row.y() + 3, f"{top:+.2f}")
        if -bottom * scale > 1.5 * self.metrics.height():
            self._tick(row.bottom() - 3, f"{bottom:+.2f}")
        self._ledger_legend()

    def _paint_bar(
        self, index: int, parts: tuple[tuple[np.ndarray, QColor, QColor], ...], zero: float, scale: float
    ) -> None:
        left, width = self._bar(index)
        above, below = zero, zero
        for values, color_up, color_down in parts:
            height = float(values[index]) * scale
            if height >= 0:
                self.painter.fillRect(QRectF(left, above - height, width, height), color_up)
                above -= height
            else:
                self.painter.fillRect(QRectF(left, below, width, -height), color_down)
                below -= height

    def _bar(self, index: int) -> tuple[float, float]:
        pitch = self.layout.ledger.width() / self.layout.n_slices
        return self.layout.ledger.x() + index * pitch + pitch * 0.08, pitch * 0.84

    def _tick(self, y: float, text: str) -> None:
        height = self.metrics.height()
        place = QRect(0, int(y - height / 2), self.layout.ledger.left() - 5, height)
        place.moveTop(max(place.top(), 0))
        self.painter.setPen(theme.MUTED)
        self.painter.drawText(place, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), text)

    def _ledger_legend(self) -> None:
        place = self.layout.legend(self.layout.ledger)
        y = self._legend_title(place, f"Ledger, log-odds{self._each}")
        if self.split:
            y = self._swatches(place, y, (theme.TOWARDS_FROZEN, theme.AGAINST_FROZEN), "frozen path  + | −")
            self._swatches(place, y, (theme.TOWARDS_EXPERTS, theme.AGAINST_EXPERTS), "experts  + | −")
        else:
            y = self._swatches(place, y, (theme.TOWARDS,), "towards present")
            self._swatches(place, y, (theme.AGAINST,), "towards absent")

    def _legend_title(self, place: QRect, text: str) -> int:
        self.painter.setPen(theme.TEXT)
        line = QRect(place.x(), place.y() - 1, place.width(), self.metrics.height())
        self.painter.drawText(line, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)
        return line.bottom() + 2

    def _swatches(self, place: QRect, y: int, colors: tuple[QColor, ...], text: str) -> int:
        x, height = place.x(), self.metrics.height()
        if y + height > place.bottom() + 4:
            return y
        for color in colors:
            self.painter.fillRect(QRect(x, y + height // 2 - 4, 9, 9), color)
            x += 12
        self.painter.setPen(theme.MUTED)
        self.painter.drawText(QPoint(x + 3, y + self.metrics.ascent()), text)
        return y + height

    # -- attention ----------------------------------------------------------------------------------------------

    def _paint_attention(self) -> None:
        row, weights = self.layout.attention, self.view.attention_S
        top = max(float(np.max(weights)), 1e-6)
        for index, weight in enumerate(weights):
            left, width = self._bar(index)
            height = float(weight) / top * (row.height() - 3)
            self.painter.fillRect(QRectF(left, row.bottom() + 1 - height, width, height), theme.ATTENTION)
        self._tick(row.y() + 4, f"{top:.2f}")
        self._tick(row.bottom() - 2, "0")
        y = self._legend_title(self.layout.legend(row), "Attention (shared by all")
        self.painter.setPen(theme.TEXT)
        self.painter.drawText(QPoint(row.right() + 10, y + self.metrics.ascent() - 2), f"findings), weight{self._each}")

    # -- gates --------------------------------------------------------------------------------------------------

    def _paint_gates(self) -> None:
        row, gates = self.layout.gates, self.view.gates_SK
        if not self.view.n_experts:
            self._say(row, NO_EXPERTS)
            return
        top = max(float(np.max(gates)), 1e-6)
        levels = np.clip(gates.T / top * 255, 0, 255).astype(np.uint8)
        colors = np.ascontiguousarray(GATE_COLORS[levels])
        image = QImage(colors.data, colors.shape[1], colors.shape[0], colors.shape[1] * 3, QImage.Format.Format_RGB888)
        self.painter.drawImage(row, image)
        step = row.height() / self.view.n_experts
        for expert in range(self.view.n_experts):
            if step >= 0.8 * self.metrics.height() or expert in (0, self.view.n_experts - 1):
                self._tick(row.y() + (expert + 0.5) * step, f"E{expert + 1}")
        self._gate_legend(row, top)

    def _gate_legend(self, row: QRect, top: float) -> None:
        place = self.layout.legend(row)
        y = self._legend_title(place, "Router: gate weight of each")
        self.painter.setPen(theme.TEXT)
        self.painter.drawText(QPoint(place.x(), y + self.metrics.ascent() - 2), f"expert (E){self._each}")
        bar_y = y + self.metrics.height() + 1
        if bar_y + 6 > place.bottom() + 8:
            return
        bar = np.ascontiguousarray(GATE_COLORS[None, :, :])
        image = QImage(bar.data, 256, 1, 256 * 3, QImage.Format.Format_RGB888)
        self.painter.drawImage(QRect(place.x() + 12, bar_y + 2, 70, 8), image)
        self.painter.setPen(theme.MUTED)
        self.painter.drawText(QPoint(place.x(), bar_y + self.metrics.ascent() - 2), "0")
        self.painter.drawText(QPoint(place.x() + 87, bar_y + self.metrics.ascent() - 2), f"{top:.2f}")

    # -- axis ---------------------------------------------------------------------------------------------------

    def _paint_axis(self) -> None:
        if self.view.unit == "volume":
            self._say(self.layout.axis, WHOLE_VOLUME)
            return
        line = self.metrics.height()
        prepared = QRect(self.layout.axis.x(), self.layout.axis.y(), self.layout.axis.width(), line)
        acquired = prepared.translated(0, line)
        self._axis_labels(prepared, [str(index + 1) for index in range(self.view.n_slices)], theme.FAINT)
        numbers = [self.view.acquired_number(index) for index in range(self.view.n_slices)]
        self._axis_labels(acquired, numbers, theme.TEXT)
        self.painter.setPen(theme.FAINT)
        right = self.layout.axis.right() + 10
        self.painter.drawText(QPoint(right, prepared.y() + self.metrics.ascent()), "prepared slice, feet → head")
        self.painter.setPen(theme.TEXT)
        self.painter.drawText(QPoint(right, acquired.y() + self.metrics.ascent()), "acquired slice under it")

    def _say(self, row: QRect, text: str) -> None:
        self.painter.setPen(theme.MUTED)
        self.painter.drawText(row, int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap), text)

    def _axis_labels(self, row: QRect, texts: list[str], color: QColor) -> None:
        """Label as many slices as there is room for, always in even steps."""
        pitch = row.width() / self.layout.n_slices
        widest = max(self.metrics.horizontalAdvance(text) for text in texts) + 8
        step = max(1, int(np.ceil(widest / pitch)))
        self.painter.setPen(color)
        for index in range(0, len(texts), step):
            place = QRectF(self.layout.x_of(index) - 30, row.y(), 60, row.height())
            self.painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), texts[index])
