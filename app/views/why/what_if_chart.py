"""What if a slice or an expert were gone: the value without it, beside the value as it is and the operating point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QWidget

from app.viewmodels.evidence import EvidenceModel
from app.viewmodels.what_if import NO_COUNTERFACTUAL, WhatIf
from app.views import theme
from app.views.bindings import bind
from app.views.why.chart import WRAPPED, Chart, Scale, label_rows, plot_area, swatch_line, tick

SMALLEST_SPAN, MARK_PX, GAP_PX = 0.05, 5.0, 26
SLICES_SHARE = 0.72


class WhatIfChart(Chart):
    """Shows `EvidenceModel.what_if`: slices on the left, experts on the right, on one scale."""

    def __init__(self, model: EvidenceModel, parent: QWidget | None = None) -> None:
        super().__init__("what_if_chart", "Value without a slice or an expert", parent)
        self._model = model
        self._shown: WhatIf | None = None
        self._stale = True
        bind(self, model.view_changed, self._renew)
        bind(self, model.cursor_changed, self._move)

    def _renew(self) -> None:
        self._stale = True
        self.redraw()

    def _move(self, *_: object) -> None:
        self.update()

    @property
    def shown(self) -> WhatIf | None:
        """What is drawn."""
        if self._stale:
            self._shown, self._stale = self._model.what_if(), False
        return self._shown

    def empty_text(self) -> str:
        """Why there is nothing to draw."""
        if self._model.view is None:
            return self._model.empty_text
        return "" if self.shown is not None else NO_COUNTERFACTUAL

    # -- geometry -----------------------------------------------------------------------------------------------

    def areas(self) -> tuple[QRect, QRect]:
        """Return where slices and experts are drawn."""
        metrics = QFontMetrics(theme.small_font(self))
        left = metrics.horizontalAdvance("0.000") + 10
        right = metrics.horizontalAdvance("operating point 0.00") + 16
        whole = plot_area(self, left, right, 2 * metrics.height() + 4, metrics.height() + 4)
        width = int((whole.width() - GAP_PX) * SLICES_SHARE)
        slices = QRect(whole.x(), whole.y(), width, whole.height())
        rest = QRect(slices.right() + GAP_PX, whole.y(), whole.width() - GAP_PX - width, whole.height())
        return slices, rest

    def _slice_at(self, position: QPointF) -> int | None:
        area, shown = self.areas()[0], self.shown
        if shown is None or shown.slices_text or not QRectF(area).contains(position):
            return None
        count = shown.without_slice_S.size
        return min(int((position.x() - area.x()) / area.width() * count), count - 1)

    # -- pointer and keys ---------------------------------------------------------------------------------------

    def is_live_at(self, position: QPointF) -> bool:
        """A slice."""
        return self._slice_at(position) is not None

    def press_at(self, position: QPointF) -> None:
        """Jump to the slice."""
        index = self._slice_at(position)
        if index is not None:
            self._model.jump_to(index)

    def step(self, steps: int) -> None:
        """Walk along the slices."""
        self._model.walk(steps)

    def text_at(self, position: QPointF) -> str:
        """Say what leaving out the slice or expert under the pointer would change."""
        shown, view, index = self.shown, self._model.view, self._slice_at(position)
        if shown is None or view is None:
            return ""
        if index is not None:
            return shown.change_text(view.slice_name(index), float(shown.without_slice_S[index]))
        area = self.areas()[1]
        if shown.without_expert_K.size and QRectF(area).contains(position):
            count = shown.without_expert_K.size
            expert = min(int((position.x() - area.x()) / area.width() * count), count - 1)
            return shown.change_text(f"expert {expert + 1}", float(shown.without_expert_K[expert]))
        return ""

    # -- painting -----------------------------------------------------------------------------------------------

    def draw(self, painter: QPainter, metrics: QFontMetrics) -> None:
        """Draw both parts, the value as it is, and the operating point."""
        shown, view = self.shown, self._model.view
        if shown is None or view is None:
            return
        slices, experts = self.areas()
        scale = self._scale(shown, slices)
        painter.setPen(theme.TEXT)
        painter.drawText(QPointF(slices.x(), slices.y() - 5), f"{shown.scale.capitalize()} without a slice")
        painter.drawText(QPointF(experts.x(), experts.y() - 5), "without an expert")
        self._part(painter, slices, shown.without_slice_S, scale, shown, shown.slices_text)
        self._part(painter, experts, shown.without_expert_K, scale, shown, shown.experts_text)
        self._ticks(painter, shown, scale, metrics)
        y = slices.bottom() + 3
        if not shown.slices_text:
            centres = _centres(slices, view.n_slices)
            acquired = [view.acquired_number(index) for index in range(view.n_slices)]
            prepared = [str(index + 1) for index in range(view.n_slices)]
            label_rows(painter, centres, y, [(prepared, theme.FAINT), (acquired, theme.TEXT)])
        label_rows(painter, _centres(experts, view.n_experts), y, [(_expert_names(view.n_experts), theme.TEXT)])
        right = experts.right() + 10
        swatch_line(painter, right, y, theme.TOWARDS, "falls without it")
        swatch_line(painter, right, y + metrics.height(), theme.AGAINST, "rises without it")

    def _scale(self, shown: WhatIf, area: QRect) -> Scale:
        point = [] if shown.operating_point is None else [shown.operating_point]
        values = np.concatenate([[shown.now], point, shown.without_slice_S, shown.without_expert_K])
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        short = max(SMALLEST_SPAN - (high - low), 0.0) / 2
        low, high = max(low - short, 0.0), min(high + short, 1.0)
        return Scale(low, high, area.top() + 8, area.bottom() - 8)

    def _part(
        self, painter: QPainter, area: QRect, values: NDArray[np.float64], scale: Scale, shown: WhatIf, text: str
    ) -> None:
        painter.fillRect(area, theme.PANEL)
        if text:
            painter.setPen(theme.MUTED)
            painter.drawText(area.adjusted(6, 0, -6, 0), WRAPPED, text)
            return
        if shown.operating_point is not None:
            y = scale.y(shown.operating_point)
            painter.setPen(QPen(theme.WARNING, 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
        painter.setPen(QPen(theme.TEXT, 1))
        painter.drawLine(QPointF(area.left(), scale.y(shown.now)), QPointF(area.right(), scale.y(shown.now)))
        for x, value in zip(_centres(area, values.size), values, strict=True):
            if np.isnan(value):
                painter.setPen(theme.MUTED)
                painter.drawText(QPointF(x - 4, scale.y(shown.now) - 3), "×")
                continue
            # What makes the value fall when it is gone had pushed it up: orange, as in the ledger.
            color = theme.TOWARDS if value <= shown.now else theme.AGAINST
            painter.setPen(QPen(color, 2))
            painter.drawLine(QPointF(x, scale.y(shown.now)), QPointF(x, scale.y(float(value))))
            mark = QRectF(x - MARK_PX / 2, scale.y(float(value)) - MARK_PX / 2, MARK_PX, MARK_PX)
            painter.fillRect(mark, color)

    def _ticks(self, painter: QPainter, shown: WhatIf, scale: Scale, metrics: QFontMetrics) -> None:
        """Write the ends of the scale on the left, and on the right what the two lines are, apart from each other."""
        slices, experts = self.areas()
        for value in (scale.low, scale.high):
            tick(painter, slices.left(), scale.y(value), f"{value:.2f}")
        lines = [(scale.y(shown.now), f"now {shown.now:.2f}", theme.TEXT)]
        if shown.operating_point is not None:
            y = scale.y(shown.operating_point)
            lines.append((y, f"operating point {shown.operating_point:.2f}", theme.WARNING))
        lines.sort(key=lambda line: line[0])
        free_from = -np.inf
        for y, text, color in lines:
            y = max(y, free_from)
            painter.setPen(color)
            painter.drawText(QPointF(experts.right() + 8, y + metrics.ascent() / 2 - 1), text)
            free_from = y + metrics.height()

    def draw_over(self, painter: QPainter) -> None:
        """Draw the cursor of the viewer's slice."""
        view, cursor, shown = self._model.view, self._model.cursor, self.shown
        if view is None or cursor is None or shown is None or shown.slices_text:
            return
        area = self.areas()[0]
        x = area.x() + (cursor + 0.5) * area.width() / view.n_slices
        painter.setPen(QPen(theme.CURSOR, 1.5))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))


def _centres(area: QRect, count: int) -> list[float]:
    return [area.x() + (index + 0.5) * area.width() / max(count, 1) for index in range(count)]


def _expert_names(count: int) -> list[str]:
    return [f"E{index + 1}" for index in range(count)]
