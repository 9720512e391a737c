"""The expert map: what every path on every slice added to the logit, and how the study uses the experts."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRect, QRectF
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QWidget

from app.viewmodels.evidence import EvidenceModel, EvidenceView
from app.views import theme
from app.views.bindings import bind
from app.views.why.chart import Chart, diverging, draw_colors, label_rows, legend_bar, plot_area, tick
from engine.explain.usage import COLLAPSE_RULE, ExpertUsage

GATE_COLOR, SHARE_COLOR = QColor("#3ecf9b"), QColor("#c9b3e6")
NO_EXPERTS = "This model has no experts: its logit is the frozen path's alone."
COLUMN_PX, GAP_PX = 84, 12


def usage_text(usage: ExpertUsage) -> str:
    """Say how the study uses the experts, and when few of them do the work."""
    within = f", within a slice {usage.mean_slice_entropy:.2f}" if usage.n_slices > 1 else ""
    numbers = f"Entropy of the mean gates {usage.mean_gate_entropy:.2f} (1: all experts alike, 0: one alone){within}."
    if usage.collapsed:
        return f"{numbers} Collapsed on this study ({COLLAPSE_RULE}): few experts are used."
    if usage.undecided:
        return f"{numbers} Not collapsed, but the router hardly chooses: every slice gets nearly the same mixture."
    return f"{numbers} Not collapsed on this study."


class ExpertsChart(Chart):
    """Shows the selected finding's entries, (1 + K) × S, beside mean gate and share of every path; a click jumps."""

    def __init__(self, model: EvidenceModel, parent: QWidget | None = None) -> None:
        super().__init__("experts_chart", "Ledger by path and slice", parent)
        self._model = model
        bind(self, model.view_changed, self.redraw)
        bind(self, model.cursor_changed, self._move)

    def _move(self, *_: object) -> None:
        self.update()

    def empty_text(self) -> str:
        """Why there is no map."""
        if self._model.view is None:
            return self._model.empty_text
        return "" if self._model.view.n_experts else NO_EXPERTS

    # -- geometry -----------------------------------------------------------------------------------------------

    def map_area(self) -> QRect:
        """Return where the map lies."""
        metrics = QFontMetrics(theme.small_font(self))
        left = metrics.horizontalAdvance("Frozen") + 10
        return plot_area(self, left, 2 * (COLUMN_PX + GAP_PX) + 8, 3 * metrics.height() + 14, metrics.height() + 4)

    def _cell(self, position: QPointF) -> tuple[int, int] | None:
        """Return the path and prepared slice under a position."""
        view, area = self._model.view, self.map_area()
        if view is None or not QRectF(area).contains(position):
            return None
        path = int((position.y() - area.y()) / area.height() * (1 + view.n_experts))
        return min(path, view.n_experts), min(
            int((position.x() - area.x()) / area.width() * view.n_slices), view.n_slices - 1
        )

    # -- pointer and keys ---------------------------------------------------------------------------------------

    def is_live_at(self, position: QPointF) -> bool:
        """A cell of a slice."""
        return self._cell(position) is not None and not self._model.is_volume

    def press_at(self, position: QPointF) -> None:
        """Jump to the cell's slice."""
        cell = self._cell(position)
        if cell is not None:
            self._model.jump_to(cell[1])

    def step(self, steps: int) -> None:
        """Walk along the slices."""
        self._model.walk(steps)

    def text_at(self, position: QPointF) -> str:
        """Name the cell under the pointer."""
        cell, view = self._cell(position), self._model.view
        if cell is None or view is None:
            return ""
        path, index = cell
        gate = f"\nGate weight {view.gates_SK[index, path - 1]:.3f}" if path else ""
        place = "whole volume" if self._model.is_volume else view.slice_name(index)
        return f"{view.path_name(path).capitalize()}, {place}: {view.entries_SP[index, path]:+.3f} log-odds{gate}"

    # -- painting -----------------------------------------------------------------------------------------------

    def draw(self, painter: QPainter, metrics: QFontMetrics) -> None:
        """Draw map, axis, scale and the two columns of bars."""
        view, usage = self._model.view, self._model.usage
        if view is None:
            return
        area = self.map_area()
        limit = float(np.abs(view.entries_SP).max())
        draw_colors(painter, QRectF(area), diverging(view.entries_SP.T, limit))
        step = area.height() / (1 + view.n_experts)
        for path in range(1 + view.n_experts):
            if step >= 0.75 * metrics.height() or path in (0, view.n_experts):
                tick(painter, area.left(), area.y() + (path + 0.5) * step, "Frozen" if path == 0 else f"E{path}")
        painter.setPen(theme.TEXT)
        painter.drawText(QPointF(area.left(), area.y() - 5), "Ledger of this finding, log-odds by path and slice")
        self._axis(painter, view, area, metrics)
        legend = QRectF(area.left(), area.bottom() + 2 * metrics.height() + 5, 170, metrics.height() + 8)
        legend_bar(painter, legend, f"−{limit:.2f}", f"+{limit:.2f}")
        if usage is not None:
            self._bars(painter, view, usage, area, metrics)

    def _axis(self, painter: QPainter, view: EvidenceView, area: QRect, metrics: QFontMetrics) -> None:
        pitch = area.width() / view.n_slices
        centres = [area.x() + (index + 0.5) * pitch for index in range(view.n_slices)]
        y = area.bottom() + 2
        acquired = [view.acquired_number(index) for index in range(view.n_slices)]
        if view.unit == "volume":
            label_rows(painter, centres, y, [(["whole volume"], theme.TEXT)])
            return
        prepared = [str(index + 1) for index in range(view.n_slices)]
        label_rows(painter, centres, y, [(prepared, theme.FAINT), (acquired, theme.TEXT)])
        right = area.right() + GAP_PX
        painter.setPen(theme.FAINT)
        painter.drawText(QPointF(right, y + metrics.ascent()), "prepared slice")
        painter.setPen(theme.TEXT)
        painter.drawText(QPointF(right, y + metrics.height() + metrics.ascent()), "acquired slice under it")

    def _bars(
        self, painter: QPainter, view: EvidenceView, usage: ExpertUsage, area: QRect, metrics: QFontMetrics
    ) -> None:
        share = usage.ledger_share[usage.keys.index(view.key)]
        gates = np.concatenate([[np.nan], usage.mean_gates])
        columns = ((gates, GATE_COLOR, "Mean gate"), (share, SHARE_COLOR, "Share of finding"))
        step = area.height() / (1 + view.n_experts)
        for place, (values, color, title) in enumerate(columns):
            x = area.right() + GAP_PX + place * (COLUMN_PX + GAP_PX)
            painter.setPen(theme.TEXT)
            painter.drawText(QPointF(x, area.y() - 5), title)
            for path, value in enumerate(values):
                if not np.isnan(value):
                    row = QRectF(x, area.y() + path * step + 1, COLUMN_PX - 34, max(step - 2, 1))
                    painter.fillRect(row, theme.PANEL)
                    painter.fillRect(QRectF(row.x(), row.y(), row.width() * float(value), row.height()), color)
                    if step >= 0.75 * metrics.height():
                        painter.setPen(theme.MUTED)
                        painter.drawText(
                            QPointF(row.right() + 5, row.center().y() + metrics.ascent() / 2 - 1), f"{value:.2f}"
                        )

    def draw_over(self, painter: QPainter) -> None:
        """Draw the cursor of the viewer's slice."""
        view, cursor, area = self._model.view, self._model.cursor, self.map_area()
        if view is not None and cursor is not None:
            x = area.x() + (cursor + 0.5) * area.width() / view.n_slices
            painter.setPen(QPen(theme.CURSOR, 1.5))
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
