"""The reader's marks over the slice: of the selected finding strong, of the others thin, each in its own colour."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from app.viewmodels.marks import Drawing
from app.viewmodels.viewer import ViewerModel
from app.views.bindings import bind
from engine.store.locations import Location, location_mask

# Bright ones of Okabe and Ito, and of Tol's light scheme: told apart on grey, in common colour vision deficiencies too.
COLORS = tuple(QColor(name) for name in ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#44bb99", "#ff8a73"))
STRONG_PX, THIN_PX, CROSS_PX = 2.0, 1.0, 9.0
STRONG_FILL, THIN_FILL = 115, 55


def finding_color(key: str) -> QColor:
    """Return the colour of a finding's marks, the same in every study and session."""
    return COLORS[crc32(key.encode()) % len(COLORS)]


class MarksLayer(QGraphicsObject):
    """Draws in the pixels of the displayed slice; add it as a child of the slice's item."""

    def __init__(self, viewer: ViewerModel, parent: QGraphicsObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.setZValue(20)
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        bind(self, viewer.marks.changed, self._refresh)
        bind(self, viewer.slice_changed, self._refresh)
        bind(self, viewer.volume_changed, self._refresh_size)

    def boundingRect(self) -> QRectF:
        """The displayed slice, with room for a cross at its edge."""
        rows, columns = self._shape()
        shown = (columns, rows) if self._viewer.orientation.transpose else (rows, columns)
        return QRectF(-20, -20, shown[1] + 40, shown[0] + 40)

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Draw the marks on the slice in view."""
        marks, volume = self._viewer.marks, self._viewer.volume
        if volume is None or not marks.visible:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        uid = volume.sop_instance_uids[self._viewer.slice_index]
        for key, others in marks.others.items():
            self._paint_all(
                painter, [mark for mark in others if mark.sop_instance_uid == uid], finding_color(key), False
            )
        if marks.key is not None:
            color = finding_color(marks.key)
            self._paint_all(painter, [mark for mark in marks.own if mark.sop_instance_uid == uid], color, True)
            if marks.drawing is not None and marks.drawing.slice_index == self._viewer.slice_index:
                self._paint_drawing(painter, marks.drawing, color)

    # -- one mark -----------------------------------------------------------------------------------------------

    def _paint_all(self, painter: QPainter, marks: list[Location], color: QColor, strong: bool) -> None:
        for mark in marks:
            painter.setPen(_pen(color, STRONG_PX if strong else THIN_PX))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            if mark.kind == "point":
                self._paint_cross(painter, mark.points_px[0])
            elif mark.kind == "box":
                painter.drawRect(self._box(*mark.points_px))
            elif mark.kind == "polygon":
                painter.drawPolygon(QPolygonF([self._at(*point) for point in mark.points_px]))
            else:
                shape = self._shape()
                self._paint_area(painter, location_mask(mark, shape), color, STRONG_FILL if strong else THIN_FILL)

    def _paint_drawing(self, painter: QPainter, drawing: Drawing, color: QColor) -> None:
        if drawing.mask_RC is not None:
            self._paint_area(painter, drawing.mask_RC, color, STRONG_FILL)
            return
        pen = _pen(color, STRONG_PX)
        pen.setStyle(Qt.PenStyle.DashLine)
        painter.setPen(pen)
        painter.drawRect(self._box(drawing.first_px, drawing.last_px))

    def _paint_cross(self, painter: QPainter, point_px: tuple[float, float]) -> None:
        """Draw a cross of one size on the screen, open in the middle so that the pixel stays seen."""
        centre, transform = self._at(*point_px), painter.worldTransform()
        across, down = CROSS_PX / max(abs(transform.m11()), 1e-6), CROSS_PX / max(abs(transform.m22()), 1e-6)
        for dx, dy in ((across, 0.0), (-across, 0.0), (0.0, down), (0.0, -down)):
            painter.drawLine(centre + QPointF(dx / 3, dy / 3), centre + QPointF(dx, dy))
        painter.drawEllipse(centre, across * 0.75, down * 0.75)

    def _paint_area(self, painter: QPainter, mask_RC: np.ndarray, color: QColor, alpha: int) -> None:
        shown = np.ascontiguousarray(self._viewer.orientation.apply(mask_RC)).astype(np.uint8)
        rows, columns = shown.shape
        picture = QImage(shown.data, columns, rows, columns, QImage.Format.Format_Indexed8)
        filled = QColor(color)
        filled.setAlpha(alpha)
        picture.setColorTable([0, filled.rgba()])
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        painter.drawImage(QRectF(0, 0, columns, rows), picture)
        painter.restore()

    # -- geometry -----------------------------------------------------------------------------------------------

    def _shape(self) -> tuple[int, int]:
        volume = self._viewer.volume
        return (1, 1) if volume is None else volume.voxels.shape[1:]

    def _at(self, row: float, column: float) -> QPointF:
        """Return the middle of a stored pixel in the pixels of the displayed slice, whose edges are whole numbers."""
        shown_row, shown_column = self._viewer.orientation.shown_index(row, column, self._shape())
        return QPointF(shown_column + 0.5, shown_row + 0.5)

    def _box(self, first_px: tuple[float, float], last_px: tuple[float, float]) -> QRectF:
        """Return the box with both corner pixels in it."""
        return QRectF(self._at(*first_px), self._at(*last_px)).normalized().adjusted(-0.5, -0.5, 0.5, 0.5)

    def _refresh(self, *_: object) -> None:
        self.update()

    def _refresh_size(self) -> None:
        self.prepareGeometryChange()
        self.update()


@lru_cache(maxsize=32)
def _pen_of(rgba: int, width_px: float) -> QPen:
    pen = QPen(QColor.fromRgba(rgba), width_px)
    pen.setCosmetic(True)
    return pen


def _pen(color: QColor, width_px: float) -> QPen:
    return QPen(_pen_of(color.rgba(), width_px))
