"""Files dropped anywhere in the window: a frame while they hover, and one place that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QGraphicsView, QLineEdit, QPlainTextEdit, QTextEdit, QWidget

from app.views import theme

SHADE = QColor(11, 13, 15, 190)
KEEPING_DROPS = (QLineEdit, QPlainTextEdit, QTextEdit, QComboBox, QAbstractSpinBox, QGraphicsView)


def dropped_paths(mime: QMimeData) -> list[Path]:
    """Return the local files and folders of a drag."""
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]


def let_drops_through(window: QWidget) -> None:
    """Have text fields and views not keep files for themselves: the window takes them, wherever they fall."""
    for kind in KEEPING_DROPS:
        for widget in window.findChildren(kind):
            widget.setAcceptDrops(False)
            viewport = getattr(widget, "viewport", None)
            if viewport is not None:
                viewport().setAcceptDrops(False)


class DropHighlight(QWidget):
    """Lies over the window while files hover over it, and says what dropping them does."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.text = ""
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def show_for(self, paths: Sequence[Path]) -> None:
        """Cover the window."""
        name = f"“{paths[0].name}”" if len(paths) == 1 else f"{len(paths)} files and folders"
        self.text = f"Drop to import {name}"
        self.setAccessibleName(self.text)
        parent = self.parentWidget()
        if parent is not None:
            self.setGeometry(parent.rect())
        self.raise_()
        self.show()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the shade, the frame and the words."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), SHADE)
        painter.setPen(QPen(theme.ACCENT, 3, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(self.rect().adjusted(14, 14, -14, -14), 10, 10)
        painter.setPen(theme.TEXT)
        painter.setFont(theme.scaled_font(self, 1.5, bold=True))
        flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
        painter.drawText(self.rect().adjusted(40, 40, -40, -40), flags, self.text)
