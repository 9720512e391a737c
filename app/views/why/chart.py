"""What the charts of the Why panel share: one painted picture, kept until something changes; empty states; a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFontMetrics,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QLinearGradient,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app.views import theme

_ALIGN = Qt.AlignmentFlag
CENTRE = int(_ALIGN.AlignCenter)
LEFT = int(_ALIGN.AlignLeft | _ALIGN.AlignVCenter)
RIGHT = int(_ALIGN.AlignRight | _ALIGN.AlignVCenter)
WRAPPED = int(_ALIGN.AlignCenter | Qt.TextFlag.TextWordWrap)
MIN_HEIGHT_PX = 130


@dataclass(frozen=True)
class Scale:
    """From values to y pixels; the larger value lies higher."""

    low: float
    high: float
    top: float
    bottom: float

    def y(self, value: float) -> float:
        """Return the y of a value."""
        return self.bottom - (value - self.low) / max(self.high - self.low, 1e-9) * (self.bottom - self.top)


class Chart(QWidget):
    """Paints once into a pixmap. A subclass says what: `draw`, and `empty_text` where there is nothing to draw."""

    def __init__(self, name: str, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._picture: QPixmap | None = None
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.setMinimumHeight(MIN_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    # -- to be said by a subclass -------------------------------------------------------------------------------

    def empty_text(self) -> str:
        """Why there is nothing to draw; empty where there is."""
        return ""

    def draw(self, painter: QPainter, metrics: QFontMetrics) -> None:
        """Draw everything that stays until the next change."""

    def draw_over(self, painter: QPainter) -> None:
        """Draw what moves, over the picture."""

    def text_at(self, position: QPointF) -> str:
        """Return the numbers under the pointer, for a tooltip."""
        return ""

    def press_at(self, position: QPointF) -> None:
        """Answer a click."""

    def is_live_at(self, position: QPointF) -> bool:
        """Say whether a click there does something."""
        return False

    def step(self, steps: int) -> None:
        """Answer the arrow keys."""

    # -- Qt -----------------------------------------------------------------------------------------------------

    def redraw(self, *_: object) -> None:
        """Paint anew: something changed."""
        self._picture = None
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Paint anew at the new size."""
        self._picture = None
        super().resizeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Copy the picture, and draw what moves."""
        painter = QPainter(self)
        painter.setFont(theme.small_font(self))
        text = self.empty_text()
        if text:
            painter.fillRect(self.rect(), theme.BACKGROUND)
            painter.setFont(self.font())
            painter.setPen(theme.MUTED)
            painter.drawText(self.rect().adjusted(20, 6, -20, -6), WRAPPED, text)
        else:
            if self._picture is None:
                self._picture = self._paint_picture()
            painter.drawPixmap(0, 0, self._picture)
            self.draw_over(painter)
        if self.hasFocus():
            painter.setPen(QPen(theme.FOCUS, 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def _paint_picture(self) -> QPixmap:
        ratio = self.devicePixelRatioF()
        picture = QPixmap(self.size() * ratio)
        picture.setDevicePixelRatio(ratio)
        picture.fill(theme.BACKGROUND)
        painter = QPainter(picture)
        painter.setFont(theme.small_font(self))
        self.draw(painter, QFontMetrics(painter.font()))
        painter.end()
        return picture

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Hand a left click to the chart."""
        if event.button() == Qt.MouseButton.LeftButton and not self.empty_text():
            self.press_at(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Show where a click does something."""
        live = not self.empty_text() and self.is_live_at(event.position())
        self.setCursor(Qt.CursorShape.PointingHandCursor if live else Qt.CursorShape.ArrowCursor)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Walk with the arrow keys; every other key is the window's."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if steps is None or self.empty_text():
            event.ignore()
        else:
            self.step(steps)

    def event(self, event: QEvent) -> bool:
        """Answer a request for a tooltip."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            text = "" if self.empty_text() else self.text_at(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), text, self) if text else QToolTip.hideText()
            return True
        return super().event(event)


def label_rows(
    painter: QPainter, centres: Sequence[float], y: float, rows: Sequence[tuple[Sequence[str], QColor]]
) -> None:
    """Write the labels that fit, each under its place, from the left; rows lie below each other and skip together."""
    metrics = QFontMetrics(painter.font())
    free_from = -np.inf
    for place, x in enumerate(centres):
        width = max(metrics.horizontalAdvance(texts[place]) for texts, _ in rows)
        if x - width / 2 < free_from:
            continue
        for line, (texts, color) in enumerate(rows):
            painter.setPen(color)
            room = QRectF(x - width, y + line * metrics.height(), 2 * width, metrics.height())
            painter.drawText(room, CENTRE, texts[place])
        free_from = x + width / 2 + 6


def tick(painter: QPainter, right: float, y: float, text: str, color: QColor = theme.MUTED) -> None:
    """Write a value left of `right` at the height y."""
    metrics = QFontMetrics(painter.font())
    painter.setPen(color)
    top = max(y - metrics.height() / 2, 0)
    painter.drawText(QRectF(0, top, right - 5, metrics.height()), RIGHT, text)


def diverging(values: np.ndarray, limit: float) -> np.ndarray:
    """Colour signed values: orange up, blue down, the panel's grey at zero; uint8 (..., 3), C order."""
    strength = np.clip(np.abs(values) / limit, 0, 1)[..., None] if limit > 0 else np.zeros((*values.shape, 1))
    ends = np.where((values >= 0)[..., None], rgb(theme.TOWARDS), rgb(theme.AGAINST))
    return np.ascontiguousarray((rgb(theme.RAISED) * (1 - strength) + ends * strength + 0.5).astype(np.uint8))


def rgb(color: QColor) -> np.ndarray:
    """Return red, green and blue."""
    return np.array([color.red(), color.green(), color.blue()], dtype=np.float64)


def draw_colors(painter: QPainter, place: QRectF, colors: np.ndarray) -> None:
    """Draw uint8 (rows, columns, 3) into a rectangle, a block each."""
    rows, columns = colors.shape[:2]
    picture = QImage(colors.data, columns, rows, columns * 3, QImage.Format.Format_RGB888)
    painter.drawImage(place, picture)


def legend_bar(painter: QPainter, place: QRectF, low: str, high: str, middle: QColor = theme.RAISED) -> None:
    """Draw the diverging scale with its ends and zero under it; `place` holds bar and numbers."""
    metrics = QFontMetrics(painter.font())
    bar = QRectF(place.x(), place.y(), place.width(), place.height() - metrics.height() - 1)
    gradient = QLinearGradient(bar.topLeft(), bar.topRight())
    gradient.setColorAt(0.0, theme.AGAINST)
    gradient.setColorAt(0.5, middle)
    gradient.setColorAt(1.0, theme.TOWARDS)
    painter.fillRect(bar, gradient)
    numbers = QRectF(place.x(), bar.bottom() + 1, place.width(), metrics.height())
    painter.setPen(theme.TEXT)
    painter.drawText(numbers, LEFT, low)
    painter.drawText(numbers, CENTRE, "0")
    painter.drawText(numbers, RIGHT, high)


def swatch_line(painter: QPainter, x: float, y: float, color: QColor, text: str) -> None:
    """Draw a colour with its meaning."""
    metrics = QFontMetrics(painter.font())
    painter.fillRect(QRectF(x, y + metrics.height() / 2 - 4, 9, 9), color)
    painter.setPen(theme.MUTED)
    painter.drawText(QPointF(x + 14, y + metrics.ascent()), text)


def plot_area(widget: QWidget, left: int, right: int, below: int, top: int = 4) -> QRect:
    """Return the plot inside a widget with these margins, never smaller than a few pixels."""
    return QRect(left, top, max(widget.width() - left - right, 40), max(widget.height() - top - below, 30))
