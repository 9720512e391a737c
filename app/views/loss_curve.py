"""Training and validation loss by epoch, painted.

A plot widget of pyqtgraph takes longer to construct than the GUI thread may be held while a training keeps the
processor busy; this one has nothing to construct.
"""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from app.viewmodels.training import CurvePoint
from app.views import theme

EMPTY_TEXT = "The losses are drawn here after the first epoch."
MOST_TICKS = 6
Line = tuple[tuple[int, float], ...]


class LossCurve(QWidget):
    """Two lines over the epochs, told apart by colour and by the shape of their points."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.train: Line = ()
        self.val: Line = ()
        self.setAccessibleName("Losses by epoch")

    def set_points(self, points: tuple[CurvePoint, ...]) -> None:
        """Draw the epochs so far."""
        self.train = tuple((point.epoch, point.train_loss) for point in points)
        self.val = tuple((point.epoch, point.validation_loss) for point in points if point.validation_loss is not None)
        self.setAccessibleDescription(f"{len(points)} epochs; last {spoken(self.train)}, {spoken(self.val)}")
        self.update()

    def sizeHint(self) -> QSize:
        """Return a size at which the lines can be read."""
        return QSize(500, 260)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint axes and lines, or what will be here."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), theme.BACKGROUND)
        painter.setFont(theme.small_font(self))
        if not self.train:
            painter.setPen(theme.MUTED)
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap), EMPTY_TEXT)
            return
        _Painting(painter, self.rect().toRectF(), self.train, self.val).paint()


class _Painting:
    """One pass over axes, lines and legend with one painter."""

    def __init__(self, painter: QPainter, room: QRectF, train: Line, val: Line) -> None:
        self.painter, self.train, self.val = painter, train, val
        self.metrics = QFontMetrics(painter.font())
        self.losses = ticks(*_range([loss for _, loss in (*train, *val) if math.isfinite(loss)]))
        labels_px = max(self.metrics.horizontalAdvance(f"{loss:g}") for loss in self.losses)
        line = self.metrics.height()
        self.plot = room.adjusted(labels_px + line + 14, 10, -14, -2 * line - 12)
        self.first, self.last = train[0][0], max(train[-1][0], train[0][0] + 1)

    def at(self, epoch: float, loss: float) -> QPointF:
        """Return the place of a value."""
        low, high = self.losses[0], self.losses[-1]
        across, up = (epoch - self.first) / (self.last - self.first), (loss - low) / (high - low)
        return QPointF(self.plot.left() + across * self.plot.width(), self.plot.bottom() - up * self.plot.height())

    def paint(self) -> None:
        """Paint everything."""
        self._axes()
        self._line(self.val, theme.TOWARDS, square=True)
        self._line(self.train, theme.AGAINST, square=False)
        self._legend()

    def _axes(self) -> None:
        line, plot = self.metrics.height(), self.plot
        aligned = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for loss in self.losses:
            y = self.at(self.first, loss).y()
            self.painter.setPen(QPen(theme.LINE, 1))
            self.painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            self.painter.setPen(theme.MUTED)
            self.painter.drawText(QRectF(0, y - line / 2, plot.left() - 6, line), aligned, f"{loss:g}")
        step = max(1, math.ceil((self.last - self.first) / (2 * MOST_TICKS)))
        for epoch in range(self.first, self.last + 1, step):
            x = self.at(epoch, self.losses[0]).x()
            place = QRectF(x - 30, plot.bottom() + 4, 60, line)
            self.painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), str(epoch))
        below = QRectF(plot.left(), plot.bottom() + 6 + line, plot.width(), line)
        self.painter.drawText(below, int(Qt.AlignmentFlag.AlignCenter), "Epoch")
        self.painter.save()
        self.painter.translate(4, plot.center().y())
        self.painter.rotate(-90)
        self.painter.drawText(QRectF(-60, 0, 120, line), int(Qt.AlignmentFlag.AlignCenter), "Loss")
        self.painter.restore()

    def _line(self, values: Line, color: QColor, square: bool) -> None:
        points = [self.at(epoch, loss) for epoch, loss in values if math.isfinite(loss)]
        self.painter.setPen(QPen(color, 2))
        self.painter.drawPolyline(QPolygonF(points))
        for point in points:
            self._mark(point, color, square)

    def _mark(self, point: QPointF, color: QColor, square: bool) -> None:
        self.painter.setPen(QPen(color, 1.5))
        self.painter.setBrush(theme.BACKGROUND)
        if square:
            self.painter.drawRect(QRectF(point.x() - 3, point.y() - 3, 6, 6))
        else:
            self.painter.drawEllipse(point, 3.0, 3.0)

    def _legend(self) -> None:
        line = self.metrics.height()
        width = self.metrics.horizontalAdvance("validation") + 40
        place = QPointF(self.plot.right() - width, self.plot.top() + line)
        for text, color, square in (("training", theme.AGAINST, False), ("validation", theme.TOWARDS, True)):
            self.painter.setPen(QPen(color, 2))
            self.painter.drawLine(place, place + QPointF(26, 0))
            self._mark(place + QPointF(13, 0), color, square)
            self.painter.setPen(theme.TEXT)
            self.painter.drawText(place + QPointF(32, line * 0.35), text)
            place += QPointF(0, line + 4)


def spoken(values: Line) -> str:
    """Return the newest value for a screen reader."""
    return f"{values[-1][1]:.3f} in epoch {values[-1][0]}" if values else "not measured"


def _range(losses: list[float]) -> tuple[float, float]:
    low, high = (min(losses), max(losses)) if losses else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Return round values in even steps of 1, 2 or 5 that enclose a range; at most about `MOST_TICKS`."""
    rough = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 10) for index in range(first, last + 1))
