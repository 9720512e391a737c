"""The axial viewer: the acquired slice on a pyqtgraph ImageItem, with text painted over it.

The scene is measured in widget pixels; the image item carries the transform from its own pixels through the plane of
`app.viewmodels.display` (millimetres from the slice's top left corner), so the pixel spacing gives the right aspect.
"""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QFocusEvent,
    QFontMetrics,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QResizeEvent,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.tools.base import PointerEvent, Tool
from app.tools.registry import tools
from app.viewmodels.overlay import OverlayModel
from app.viewmodels.viewer import PRESETS_BY_KEY, ViewerModel
from app.views import theme
from app.views.bindings import bind
from app.views.marks_layer import MarksLayer
from app.views.overlay_layer import OverlayLayer

CURSORS = {
    "arrow": Qt.CursorShape.ArrowCursor,
    "cross": Qt.CursorShape.CrossCursor,
    "open_hand": Qt.CursorShape.OpenHandCursor,
    "size_all": Qt.CursorShape.SizeAllCursor,
    "size_vertical": Qt.CursorShape.SizeVerCursor,
    "magnifier": Qt.CursorShape.CrossCursor,
}
WHEEL_NOTCH = 120
ZOOM_PER_NOTCH = 1.2
MARGIN_PX = 10
BANNER_COLOR = QColor(150, 30, 20, 235)
SHADOW = QColor(0, 0, 0, 220)


class SliceItem(pg.ImageItem):
    """An ImageItem of finished grey levels, kept as RGB32: Qt scales that format nearly twice as fast as Grayscale8."""

    def __init__(self) -> None:
        super().__init__(axisOrder="row-major")
        self._source: np.ndarray | None = None
        self._picture = QImage()

    def paint(self, painter: QPainter, *args: object) -> None:
        """Draw the picture, converted once per slice and window."""
        if self.image is None:
            return
        rows, columns = self.image.shape
        if self._source is not self.image:
            gray = QImage(self.image.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
            self._picture = gray.convertToFormat(QImage.Format.Format_RGB32)
            self._source = self.image
        painter.drawImage(QRectF(0, 0, columns, rows), self._picture)


class SliceView(pg.GraphicsView):
    """Shows `ViewerModel`; pointer events go to the tools."""

    def __init__(self, model: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent, background=theme.BACKGROUND)
        self._model = model
        self._image = SliceItem()
        self._image.setLevels((0, 255))
        self.scene().addItem(self._image)
        self._marks = MarksLayer(model, self._image)
        self._overlay: OverlayLayer | None = None
        self._active: Tool | None = None
        self._last = QPointF()
        self._wheel_rest = 0
        self.setObjectName("slice_view")
        self.setAccessibleName("Axial viewer")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(240, 200)
        self.setMouseTracking(True)
        self._bind(model)
        self._apply_smoothing(model.smooth)
        self._apply_tool(model.tool)
        self._apply_volume()

    def _bind(self, model: ViewerModel) -> None:
        bind(self, model.volume_changed, self._apply_volume)
        bind(self, model.slice_changed, self._draw_slice)
        bind(self, model.window_changed, self._draw_slice)
        bind(self, model.view_changed, self._apply_view)
        bind(self, model.tool_changed, self._apply_tool)
        bind(self, model.probe_changed, self._repaint_corners)
        bind(self, model.overlays_changed, self._repaint_corners)
        bind(self, model.smoothing_changed, self._apply_smoothing)

    def set_overlay(self, overlay: OverlayModel) -> None:
        """Let maps be laid over the slice."""
        self._overlay = OverlayLayer(overlay, self._model, self._image)
        bind(self, overlay.changed, self._apply_overlay)

    # -- from the model -----------------------------------------------------------------------------------------

    def _apply_overlay(self) -> None:
        self.viewport().update()

    def _apply_volume(self) -> None:
        shown = self._model.volume is not None
        self._image.setVisible(shown)
        if shown:
            self._draw_slice()
        self._apply_view()

    def _draw_slice(self, *_: object) -> None:
        gray = self._model.displayed_gray()
        if gray is not None:
            self._image.setImage(gray, autoLevels=False, levels=(0, 255))
            self._repaint_corners()

    def _apply_view(self) -> None:
        if self._model.volume is not None:
            area, (width, height) = self.visible_plane(), self._model.plane_size
            rows, columns = self._image.image.shape
            px_per_unit = self.viewport().width() / area.width()
            place = QTransform.fromTranslate(-area.x() * px_per_unit, -area.y() * px_per_unit)
            place.scale(width / columns * px_per_unit, height / rows * px_per_unit)
            self._image.setTransform(place)
        self.viewport().update()

    def _apply_tool(self, key: str) -> None:
        self.viewport().setCursor(CURSORS[tools()[key].cursor])

    def _apply_smoothing(self, smooth: bool) -> None:
        self.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        self.viewport().update()

    def _repaint_corners(self, *_: object) -> None:
        """Repaint where text changes; beside the picture, which repaints itself, that is all there is to do."""
        port = self.viewport().rect()
        line = theme.line_height(self.font())
        width, height = min(30 * line, port.width() // 2), 5 * line + MARGIN_PX
        bottom = QRect(0, port.height() - height, port.width(), height)
        self.viewport().update(bottom)
        self.viewport().update(QRect(port.width() - width, 0, width, height + 4 * line))
        self.viewport().update(QRect(0, 0, width, height + 4 * line))

    # -- geometry -----------------------------------------------------------------------------------------------

    def visible_plane(self) -> QRectF:
        """Return the part of the plane that fills the widget at the model's zoom and centre."""
        width, height = self._model.plane_size
        size = self.viewport().size()
        unit_per_px = max(width / max(size.width(), 1), height / max(size.height(), 1)) / self._model.zoom
        visible_width, visible_height = size.width() * unit_per_px, size.height() * unit_per_px
        x, y = self._model.centre
        return QRectF(x - visible_width / 2, y - visible_height / 2, visible_width, visible_height)

    def plane_at(self, position_px: QPointF) -> tuple[float, float]:
        """Return the point of the plane under a widget position."""
        area, size = self.visible_plane(), self.viewport().size()
        return (
            area.x() + position_px.x() / max(size.width(), 1) * area.width(),
            area.y() + position_px.y() / max(size.height(), 1) * area.height(),
        )

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Keep zoom and centre when the size changes."""
        super().resizeEvent(event)
        if hasattr(self, "_model"):
            self._apply_view()

    # -- pointer and keys ---------------------------------------------------------------------------------------

    def _tool_for(self, button: Qt.MouseButton) -> Tool | None:
        fixed = {Qt.MouseButton.RightButton: "window", Qt.MouseButton.MiddleButton: "pan"}
        key = fixed.get(button, self._model.tool if button == Qt.MouseButton.LeftButton else None)
        return None if key is None else tools()[key]

    def _event(self, position: QPointF) -> PointerEvent:
        x, y = self.plane_at(position)
        last_x, last_y = self.plane_at(self._last)
        return PointerEvent(
            x=x,
            y=y,
            dx=x - last_x,
            dy=y - last_y,
            dx_px=position.x() - self._last.x(),
            dy_px=position.y() - self._last.y(),
            height_px=self.viewport().height(),
        )

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Start the tool of the button."""
        event.accept()
        if self._model.volume is None or self._active is not None:
            return
        self._active = self._tool_for(event.button())
        self._last = event.position()
        if self._active is not None:
            self.viewport().setCursor(CURSORS[self._active.cursor])
            self._active.press(self._model, self._event(event.position()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag with the tool, and read the voxel under the pointer."""
        event.accept()
        if self._active is not None and event.buttons() != Qt.MouseButton.NoButton:
            pointer = self._event(event.position())
            self._last = event.position()
            self._active.drag(self._model, pointer)
        self._model.probe_at(*self.plane_at(event.position()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End the tool."""
        event.accept()
        if self._active is not None and event.buttons() == Qt.MouseButton.NoButton:
            self._active.release(self._model, self._event(event.position()))
            self._active = None
            self._apply_tool(self._model.tool)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Fit the slice."""
        event.accept()
        if event.button() == Qt.MouseButton.LeftButton:
            self._model.fit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll slices; with Ctrl, zoom about the pointer."""
        event.accept()
        self._wheel_rest += event.angleDelta().y() or event.angleDelta().x()
        notches = int(self._wheel_rest / WHEEL_NOTCH)
        self._wheel_rest -= notches * WHEEL_NOTCH
        if notches == 0 or self._model.volume is None:
            return
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._model.zoom_by(ZOOM_PER_NOTCH**notches, self.plane_at(event.position()))
        else:
            self._model.scroll(-notches)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave every key to the table of commands."""
        event.ignore()

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show where keys go."""
        super().focusInEvent(event)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Take the frame away."""
        super().focusOutEvent(event)
        self.viewport().update()

    def leaveEvent(self, event: QEvent) -> None:
        """Clear the probe."""
        self._model.probe_at(None)
        super().leaveEvent(event)

    def enterEvent(self, event: QEnterEvent) -> None:
        """Show the tool's cursor again."""
        self._apply_tool(self._model.tool)
        super().enterEvent(event)

    # -- text over the picture ----------------------------------------------------------------------------------

    def overlay_texts(self) -> dict[str, str]:
        """Return what is written over the picture, by place."""
        model = self._model
        if model.volume is None or model.info is None:
            return {"centre": model.message}
        turn = model.orientation
        texts = {"left": turn.left, "right": turn.right, "top": turn.top, "bottom": turn.bottom}
        if model.info.banner:
            texts["banner"] = model.info.banner
        if not model.overlays:
            return texts
        texts["top_left"] = "\n".join(part for part in (model.info.title, model.info.description) if part)
        texts["top_right"] = self._window_text()
        texts["bottom_left"] = model.position_text()
        texts["bottom_right"] = model.probe.text if model.probe is not None else ""
        return texts

    def _window_text(self) -> str:
        model = self._model
        name = PRESETS_BY_KEY[model.preset].label if model.preset is not None else "Custom"
        center, width = model.window
        unit = " HU" if model.volume is not None and model.volume.units == "HU" else ""
        return f"{name}\nC {center:.0f}  W {width:.0f}{unit}\nZoom {model.zoom * 100:.0f} %"

    def drawForeground(self, painter: QPainter, rect: QRectF | QRect) -> None:
        """Write the overlays in screen pixels."""
        painter.save()
        painter.resetTransform()
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        painter.setFont(self.font())
        texts = self.overlay_texts()
        frame = self.viewport().rect()
        top = self._paint_banner(painter, frame, texts.pop("banner", ""))
        inner = frame.adjusted(MARGIN_PX, MARGIN_PX + top, -MARGIN_PX, -MARGIN_PX)
        for place, text in texts.items():
            if text:
                self._paint_text(painter, inner, place, text)
        if self._overlay is not None:
            painter.setFont(theme.small_font(self))
            self._overlay.paint_legend(painter, inner)
        if self.hasFocus():
            painter.setPen(theme.ACCENT)  # dimmer than elsewhere: it stands beside the picture most of the time
            painter.drawRect(frame.adjusted(0, 0, -1, -1))
        painter.restore()

    def _paint_banner(self, painter: QPainter, frame: QRect, text: str) -> int:
        """Paint the red strip and return its height."""
        if not text:
            return 0
        wrap = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
        painter.setFont(theme.scaled_font(self, 1.0, bold=True))
        room = frame.adjusted(MARGIN_PX, 0, -MARGIN_PX, 0)
        height = QFontMetrics(painter.font()).boundingRect(room, wrap, text).height() + 12
        strip = QRect(frame.x(), frame.y(), frame.width(), height)
        painter.fillRect(strip, BANNER_COLOR)
        painter.setPen(QColor("white"))
        painter.drawText(strip.adjusted(MARGIN_PX, 0, -MARGIN_PX, 0), wrap, text)
        painter.setFont(self.font())
        return height

    def _paint_text(self, painter: QPainter, inner: QRect, place: str, text: str) -> None:
        flags = int(PLACES[place] | (Qt.TextFlag.TextWordWrap if place == "centre" else Qt.AlignmentFlag(0)))
        edge = place in ("left", "right", "top", "bottom")
        painter.setFont(theme.scaled_font(self, 1.35 if edge else 1.0, bold=edge))
        painter.setPen(SHADOW)
        for dx, dy in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            painter.drawText(inner.translated(dx, dy), flags, text)
        painter.setPen(theme.WARNING if edge else (theme.MUTED if place == "centre" else theme.TEXT))
        painter.drawText(inner, flags, text)


_ALIGN = Qt.AlignmentFlag
PLACES = {
    "centre": _ALIGN.AlignCenter,
    "left": _ALIGN.AlignLeft | _ALIGN.AlignVCenter,
    "right": _ALIGN.AlignRight | _ALIGN.AlignVCenter,
    "top": _ALIGN.AlignHCenter | _ALIGN.AlignTop,
    "bottom": _ALIGN.AlignHCenter | _ALIGN.AlignBottom,
    "top_left": _ALIGN.AlignLeft | _ALIGN.AlignTop,
    "top_right": _ALIGN.AlignRight | _ALIGN.AlignTop,
    "bottom_left": _ALIGN.AlignLeft | _ALIGN.AlignBottom,
    "bottom_right": _ALIGN.AlignRight | _ALIGN.AlignBottom,
}
