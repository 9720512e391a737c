"""A map by itself, and how faithful it is beside the ledger's and a random one."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QWidget

from app.viewmodels.explanation import CHOICES, ExplanationModel
from app.views import theme
from app.views.bindings import bind
from app.views.why.chart import CENTRE, Chart, Scale, diverging, draw_colors, legend_bar, plot_area, tick
from engine.explain.maps import Faithfulness, Score, SliceMap

OWN, LEDGER, RANDOM = theme.TOWARDS, QColor("#3ecf9b"), QColor("#99a3ae")
Rows = list[tuple[str, Score, QColor]]
NO_MEASURE = "Not measured for this map."
LARGEST_PX, CURVE_PX = 320, 200
MEANING = (
    "Infidelity: 0 where the map foretells the model, 1 where it is no better than nothing. "
    "Area under the curve, against its start: the more negative, the earlier the map found what drives the finding."
)


class MapChart(Chart):
    """The map of the prepared slice with its scale; nothing lies under it here."""

    def __init__(self, model: ExplanationModel, parent: QWidget | None = None) -> None:
        super().__init__("map_chart", "Map over the prepared slice", parent)
        self._model = model
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        bind(self, model.changed, self.redraw)

    def empty_text(self) -> str:
        """Why there is no map."""
        return self._model.reason

    def map_area(self) -> QRectF:
        """Return the square in which the map lies."""
        metrics = QFontMetrics(theme.small_font(self))
        side = min(self.width() - 8, self.height() - 2 * metrics.height() - 16, LARGEST_PX)
        return QRectF((self.width() - side) / 2, 2, max(side, 10), max(side, 10))

    def draw(self, painter: QPainter, metrics: QFontMetrics) -> None:
        """Draw map and scale."""
        drawn, limit = self._model.current, self._model.limit
        if drawn is None:
            return
        area = self.map_area()
        draw_colors(painter, area, diverging(drawn.values, limit))
        bar = QRectF(
            max(area.center().x() - 85, 2), area.bottom() + 4, min(170, self.width() - 4), metrics.height() + 8
        )
        legend_bar(painter, bar, f"−{limit:.2g}", f"+{limit:.2g}")
        painter.setPen(theme.MUTED)
        unit = QRectF(0, bar.bottom(), self.width(), metrics.height())
        painter.drawText(unit, CENTRE, CHOICES[drawn.method].unit if drawn.method in CHOICES else "")


class FaithfulnessChart(Chart):
    """The deletion curve, and infidelity as a share of what a map of zeros would leave."""

    def __init__(self, model: ExplanationModel, parent: QWidget | None = None) -> None:
        super().__init__("faithfulness_chart", "Faithfulness of the map", parent)
        self._model = model
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        bind(self, model.changed, self.redraw)

    def empty_text(self) -> str:
        """Why there is nothing to show."""
        if self._model.current is None:
            return "Faithfulness is measured with every map."
        return "" if self._model.current.faithfulness is not None else NO_MEASURE

    def draw(self, painter: QPainter, metrics: QFontMetrics) -> None:
        """Draw the curves, and the table of numbers beside them."""
        drawn = self._model.current
        measured = None if drawn is None else drawn.faithfulness
        if drawn is None or measured is None:
            return
        rows = score_rows(drawn, measured)
        table = metrics.horizontalAdvance("ledger's map  0.00  −0.00") + 40
        left = metrics.horizontalAdvance("+0.00") + 8
        beside = self.width() >= left + table + CURVE_PX
        below = (2 if beside else 3 + len(rows)) * metrics.height() + 6
        area = plot_area(self, left, table + 10 if beside else 10, below, metrics.height() + 4)
        self._curves(painter, measured, rows, area, metrics)
        if beside:
            self._table(painter, measured, rows, QPointF(area.right() + 14, area.y() - metrics.height()), metrics)
            self._words(painter, area.y() + (len(rows) + 0.5) * metrics.height(), area.right() + 14)
        else:
            self._table(painter, measured, rows, QPointF(left, area.bottom() + metrics.height() + 6), metrics)

    def _curves(
        self, painter: QPainter, measured: Faithfulness, rows: Rows, area: QRect, metrics: QFontMetrics
    ) -> None:
        painter.fillRect(area, theme.PANEL)
        painter.setPen(theme.TEXT)
        painter.drawText(QPointF(area.x(), area.y() - 5), "Logit as patches are removed")
        levels = np.concatenate([score.deletion for _, score, _ in rows])
        top = max(float(levels.max()), float(levels.min()) + 1e-3)
        scale = Scale(float(levels.min()), top, area.top() + 5, area.bottom() - 5)
        for _, score, color in rows:
            self._curve(painter, measured, score, color, scale, area)
        for value in (scale.low, scale.high):
            tick(painter, area.left(), scale.y(value), f"{value:+.2f}")
        painter.setPen(theme.MUTED)
        under = QRectF(area.x(), area.bottom() + 1, area.width(), metrics.height())
        painter.drawText(under, int(Qt.AlignmentFlag.AlignLeft), "none")
        painter.drawText(under, int(Qt.AlignmentFlag.AlignRight), "all removed")

    def _curve(
        self, painter: QPainter, measured: Faithfulness, score: Score, color: QColor, scale: Scale, area: QRect
    ) -> None:
        points = [
            QPointF(area.x() + float(share) * area.width(), scale.y(float(value)))
            for share, value in zip(measured.fractions, score.deletion, strict=True)
        ]
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(color, 2))
        painter.drawPolyline(points)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _table(
        self, painter: QPainter, measured: Faithfulness, rows: Rows, place: QPointF, metrics: QFontMetrics
    ) -> None:
        height, x = metrics.height(), place.x()
        numbers = x + 14 + metrics.horizontalAdvance("ledger's map") + 10
        second = numbers + metrics.horizontalAdvance("infid.") + 14
        painter.setPen(theme.MUTED)
        painter.drawText(QPointF(numbers, place.y() + metrics.ascent()), "infid.")
        painter.drawText(QPointF(second, place.y() + metrics.ascent()), "area")
        for row, (name, score, color) in enumerate(rows, start=1):
            y = place.y() + row * height
            painter.fillRect(QRectF(x, y + height / 2 - 2, 10, 3), color)
            painter.setPen(theme.TEXT)
            painter.drawText(QPointF(x + 14, y + metrics.ascent()), name)
            painter.drawText(QPointF(numbers, y + metrics.ascent()), infidelity_text(measured, score))
            painter.drawText(QPointF(second, y + metrics.ascent()), f"{score.area:+.2f}")

    def _words(self, painter: QPainter, top: float, left: float) -> None:
        painter.setPen(theme.MUTED)
        room = QRectF(left, top, self.width() - left - 4, self.height() - top - 2)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap), MEANING)

    def text_at(self, position: QPointF) -> str:
        """Say what the numbers mean."""
        return MEANING


def score_rows(drawn: SliceMap, measured: Faithfulness) -> Rows:
    """Return what is drawn: the map, the ledger's where there is one and it is another, and a random one."""
    rows = [("this map", measured.own, OWN)]
    if measured.ledger is not None and not (drawn.method == "ledger" and drawn.expert is None):
        rows.append(("ledger's map", measured.ledger, LEDGER))
    return [*rows, ("random map", measured.random, RANDOM)]


def infidelity_text(measured: Faithfulness, score: Score) -> str:
    """Return infidelity as a share of what a map of zeros would leave; a dash where that is nothing."""
    return f"{score.infidelity / measured.unexplained:.2f}" if measured.unexplained > 0 else "–"
