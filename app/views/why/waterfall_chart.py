"""The waterfall: from the bias, up and down over every slice or path, to the logit."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QWidget

from app.viewmodels.evidence import EvidenceModel
from app.viewmodels.waterfall import Step, Waterfall
from app.views import theme
from app.views.bindings import bind
from app.views.why.chart import CENTRE, Chart, Scale, label_rows, plot_area, swatch_line, tick

FIRST, LAST = "Bias", "Logit"
LEGEND_GAP_PX = 20
SUM_COLOR = QColor("#8d97a3")


class WaterfallChart(Chart):
    """Shows `EvidenceModel.waterfall`; a click on a bar, or the arrow keys, jump to its slice."""

    def __init__(self, model: EvidenceModel, parent: QWidget | None = None) -> None:
        super().__init__("waterfall_chart", "Waterfall of the logit", parent)
        self._model = model
        self._chosen = -1
        for signal in (model.view_changed, model.order_changed):
            bind(self, signal, self._renew)
        bind(self, model.cursor_changed, self._move)

    def empty_text(self) -> str:
        """Why there is no waterfall."""
        return "" if self._model.view is not None else self._model.empty_text

    def _renew(self, *_: object) -> None:
        self._chosen = -1
        self.redraw()

    def _move(self, *_: object) -> None:
        self.update()

    # -- geometry -----------------------------------------------------------------------------------------------

    def _margins(self) -> tuple[QRect, QFontMetrics]:
        metrics = QFontMetrics(theme.small_font(self))
        left = metrics.horizontalAdvance("+00.00") + 8
        right = metrics.horizontalAdvance("towards present") + 20 + LEGEND_GAP_PX
        return plot_area(self, left, right, 2 * metrics.height() + 4), metrics

    def bar(self, place: int) -> QRectF:
        """Return the column of a bar: 0 is the bias, then the steps, then the logit."""
        area, metrics = self._margins()
        count = self._count()
        ends = max(area.width() / (count + 2), metrics.horizontalAdvance(LAST) + 8)
        pitch = (area.width() - 2 * ends) / max(count, 1)
        if place == 0:
            return QRectF(area.x(), area.y(), ends, area.height())
        left = area.x() + ends + (place - 1) * pitch
        return QRectF(left, area.y(), ends if place == count + 1 else pitch, area.height())

    def _count(self) -> int:
        """Return the number of steps."""
        view = self._model.view
        if view is None:
            return 0
        return view.n_slices if self._model.axis == "slices" else 1 + view.n_experts

    def _step_at(self, position: QPointF) -> int | None:
        count = self._count()
        first = self.bar(1)
        if not count or not first.top() <= position.y() <= self.height() or position.x() < first.x():
            return None
        place = int((position.x() - first.x()) / first.width())
        return place if place < count else None

    # -- pointer and keys ---------------------------------------------------------------------------------------

    def is_live_at(self, position: QPointF) -> bool:
        """A bar of a slice, or of a path with a slice behind it."""
        place, waterfall = self._step_at(position), self._model.waterfall()
        return place is not None and waterfall is not None and waterfall.steps[place].jump is not None

    def press_at(self, position: QPointF) -> None:
        """Jump to the bar's slice."""
        place = self._step_at(position)
        if place is not None:
            self._choose(place)

    def step(self, steps: int) -> None:
        """Walk along the bars."""
        waterfall = self._model.waterfall()
        if waterfall is not None and waterfall.steps:
            self._choose(min(max(self._chosen + steps, 0), len(waterfall.steps) - 1))

    def _choose(self, place: int) -> None:
        waterfall = self._model.waterfall()
        self._chosen = place
        if waterfall is not None and waterfall.steps[place].jump is not None:
            self._model.jump_to(waterfall.steps[place].jump or 0)
        self.update()

    def text_at(self, position: QPointF) -> str:
        """Name the bar under the pointer."""
        place, waterfall = self._step_at(position), self._model.waterfall()
        return "" if place is None or waterfall is None else waterfall.steps[place].text

    # -- painting -----------------------------------------------------------------------------------------------

    def draw(self, painter: QPainter, metrics: QFontMetrics) -> None:
        """Draw bars, zero, numbers and labels."""
        waterfall = self._model.waterfall()
        if waterfall is None:
            return
        area, _ = self._margins()
        painter.fillRect(area, theme.PANEL)
        scale = self._scale(waterfall, area)
        painter.setPen(QPen(theme.MUTED, 1))
        painter.drawLine(QPointF(area.left(), scale.y(0)), QPointF(area.right(), scale.y(0)))
        self._bar(painter, 0, 0.0, waterfall.bias, SUM_COLOR, scale)
        for place, step in enumerate(waterfall.steps, start=1):
            self._bar(painter, place, step.start, step.end, _color(step), scale)
        self._bar(painter, len(waterfall.steps) + 1, 0.0, waterfall.total, SUM_COLOR, scale)
        self._numbers(painter, waterfall, scale, metrics)
        self._labels(painter, waterfall, area, metrics)
        for value in (scale.low, 0.0, scale.high):
            if value == 0.0 or abs(scale.y(value) - scale.y(0)) > metrics.height():
                tick(painter, area.left(), scale.y(value), f"{value:+.1f}" if value else "0")

    def _scale(self, waterfall: Waterfall, area: QRect) -> Scale:
        levels = [0.0, waterfall.bias, waterfall.total, *(step.end for step in waterfall.steps)]
        number = QFontMetrics(theme.small_font(self)).height() + 3
        return Scale(min(levels), max(max(levels), min(levels) + 1e-3), area.top() + number, area.bottom() - number)

    def _bar(self, painter: QPainter, place: int, start: float, end: float, color: QColor, scale: Scale) -> None:
        column = self.bar(place)
        gap = min(column.width() * 0.1, 4)
        top, bottom = scale.y(max(start, end)), scale.y(min(start, end))
        painter.fillRect(QRectF(column.x() + gap, top, column.width() - 2 * gap, max(bottom - top, 1.0)), color)
        painter.setPen(QPen(theme.FAINT, 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(column.right() - gap, scale.y(end)), QPointF(column.right() + gap, scale.y(end)))

    def _numbers(self, painter: QPainter, waterfall: Waterfall, scale: Scale, metrics: QFontMetrics) -> None:
        """Write every bar's number where there is room for all; else only that of bias and logit."""
        bars = [(0, 0.0, waterfall.bias), (len(waterfall.steps) + 1, 0.0, waterfall.total)]
        if self.bar(1).width() >= metrics.horizontalAdvance("+00.00") + 4:
            bars += [(place, step.start, step.end) for place, step in enumerate(waterfall.steps, start=1)]
        painter.setPen(theme.TEXT)
        height = metrics.height()
        for place, start, end in bars:
            middle = self.bar(place).center().x()
            y = scale.y(end) - height - 1 if end >= start else scale.y(end) + 1
            painter.drawText(QRectF(middle - 40, y, 80, height), CENTRE, f"{end - start:+.2f}")

    def _labels(self, painter: QPainter, waterfall: Waterfall, area: QRect, metrics: QFontMetrics) -> None:
        count = len(waterfall.steps) + 2
        centres = [self.bar(place).center().x() for place in range(count)]
        y = area.bottom() + 3
        label_rows(painter, [centres[0], centres[-1]], y, [([FIRST, LAST], theme.TEXT)])
        inner = list(zip(centres[1:-1], waterfall.steps, strict=True))
        names = ([step.label for _, step in inner], theme.TEXT)
        acquired = ([step.second for _, step in inner], theme.FAINT)
        label_rows(painter, [x for x, _ in inner], y, [names, acquired])
        line = y + metrics.height()
        right = area.right() + LEGEND_GAP_PX
        on_slices = self._model.axis == "slices" and not self._model.is_volume
        axis = "path" if self._model.axis == "paths" else "prepared slice" if on_slices else ""
        painter.setPen(theme.TEXT)
        painter.drawText(QPointF(right, y + metrics.ascent()), axis)
        if on_slices:
            painter.setPen(theme.FAINT)
            painter.drawText(QPointF(right, line + metrics.ascent()), "acquired slice")
        swatch_line(painter, right, area.top(), theme.TOWARDS, "towards present")
        swatch_line(painter, right, area.top() + metrics.height(), theme.AGAINST, "towards absent")
        swatch_line(painter, right, area.top() + 2 * metrics.height(), SUM_COLOR, "bias, logit")

    def draw_over(self, painter: QPainter) -> None:
        """Mark the slice in view and the bar that was chosen."""
        waterfall = self._model.waterfall()
        if waterfall is None:
            return
        seen = self._model.prepared_in_view
        for place, step in enumerate(waterfall.steps):
            if self._model.axis == "slices" and seen is not None and step.jump == seen:
                painter.setPen(QPen(theme.CURSOR, 1.5))
                painter.drawRect(self.bar(place + 1).adjusted(0.5, 0, -0.5, 0))
        if 0 <= self._chosen < len(waterfall.steps):
            painter.setPen(QPen(theme.FOCUS, 1, Qt.PenStyle.DashLine))
            painter.drawRect(self.bar(self._chosen + 1).adjusted(0.5, 0, -0.5, 0))


def _color(step: Step) -> QColor:
    return theme.TOWARDS if step.value >= 0 else theme.AGAINST
