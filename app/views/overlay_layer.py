"""A map over the acquired slice, in the slice's own pixels, and its legend on the screen."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetrics, QImage, QPainter, QTransform
from PySide6.QtWidgets import QGraphicsItem, QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from app.viewmodels.overlay import Legend, OverlayModel, OverlayPicture
from app.viewmodels.viewer import ViewerModel
from app.views import theme
from app.views.bindings import bind
from app.views.why.chart import legend_bar

LEGEND_PX, PAD_PX = (150, 230), 6
LEGEND_SHARE = 0.2
BEHIND = QColor(11, 13, 15, 205)
UNDER_MARKS = 10


class OverlayLayer(QGraphicsObject):
    """Draws `OverlayModel.picture`; a child of the slice's item, so that it moves and zooms with it."""

    def __init__(self, model: OverlayModel, viewer: ViewerModel, parent: QGraphicsItem) -> None:
        super().__init__(parent)
        self._model, self._viewer = model, viewer
        self._picture: OverlayPicture | None = None
        self._image = QImage()
        self.setZValue(UNDER_MARKS)
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        bind(self, model.changed, self._refresh)
        self._refresh()

    def boundingRect(self) -> QRectF:
        """The map's own pixels; its transform carries them to the slice."""
        return QRectF(0, 0, self._image.width(), self._image.height())

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the map, block by block: it knows nothing finer than its pixels."""
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        painter.drawImage(0, 0, self._image)

    def _refresh(self) -> None:
        picture = self._model.picture
        if picture is not self._picture:
            self.prepareGeometryChange()
            self._picture = picture
            self._image = QImage() if picture is None else _image(picture)
            if picture is not None:
                self.setTransform(self._place(picture))
        self.setVisible(picture is not None)

    def _place(self, picture: OverlayPicture) -> QTransform:
        """Return the transform from the map's pixels to those of the displayed slice; both count from a corner."""
        volume = self._viewer.volume
        if volume is None:
            return QTransform()
        shape = (int(volume.voxels.shape[1]), int(volume.voxels.shape[2]))

        def shown(row: float, column: float) -> tuple[float, float]:
            stored = picture.stored_from_map @ (row, column, 1.0)
            return self._viewer.orientation.shown_index(float(stored[0]), float(stored[1]), shape)

        (y0, x0), (y1, x1), (y2, x2) = shown(0, 0), shown(0, 1), shown(1, 0)
        across, down = (x1 - x0, y1 - y0), (x2 - x0, y2 - y0)
        dx = x0 + 0.5 - (across[0] + down[0]) / 2
        dy = y0 + 0.5 - (across[1] + down[1]) / 2
        return QTransform(across[0], across[1], down[0], down[1], dx, dy)

    def paint_legend(self, painter: QPainter, frame: QRect) -> None:
        """Write above the lower right corner whose map it is, what it is not, and its scale."""
        legend = self._model.legend
        if legend is None:
            return
        metrics = QFontMetrics(painter.font())
        width = min(max(round(frame.width() * LEGEND_SHARE), LEGEND_PX[0]), LEGEND_PX[1])
        lines = _wrapped(legend, metrics, width - 2 * PAD_PX)
        height = len(lines) * metrics.height() + (metrics.height() + 10 if legend.low else 0) + 2 * PAD_PX
        corner = frame.adjusted(0, 0, 0, -2 * metrics.height())
        box = QRectF(corner.right() - width, corner.bottom() - height, width, height)
        painter.fillRect(box, BEHIND)
        inner = box.adjusted(PAD_PX, PAD_PX, -PAD_PX, -PAD_PX)
        for place, line in enumerate(lines):
            painter.setPen(theme.TEXT if place == 0 else theme.MUTED)
            row = QRectF(inner.x(), inner.y() + place * metrics.height(), inner.width(), metrics.height())
            painter.drawText(row, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), line)
        if legend.low:
            bar = QRectF(inner.x(), inner.bottom() - metrics.height() - 7, inner.width(), metrics.height() + 7)
            legend_bar(painter, bar, legend.low, legend.high, theme.BACKGROUND)


def _image(picture: OverlayPicture) -> QImage:
    """Return a copy that owns its pixels."""
    height, width = picture.rgba.shape[:2]
    straight = QImage(picture.rgba.data, width, height, width * 4, QImage.Format.Format_RGBA8888)
    return straight.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)


def _wrapped(legend: Legend, metrics: QFontMetrics, room: int) -> list[str]:
    """Break the legend's texts at words to its width."""
    lines: list[str] = []
    for text in (legend.title, *legend.lines):
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if line and metrics.horizontalAdvance(longer) > room:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines
