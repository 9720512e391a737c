"""Colours, icons and the style sheet of the dark reading room."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QPalette
from PySide6.QtWidgets import QApplication, QWidget

BACKGROUND = QColor("#0b0d0f")
PANEL = QColor("#15181c")
RAISED = QColor("#1e2328")
LINE = QColor("#2c3239")
TEXT = QColor("#dde2e8")
MUTED = QColor("#99a3ae")
FAINT = QColor("#848e99")
ACCENT = QColor("#4aa3df")
SELECTED = QColor("#1f3f5a")
FOCUS = QColor("#cfe6f7")
WARNING = QColor("#f0c541")
DANGER = QColor("#ff6b57")
GOOD = QColor("#3ecf9b")

# Okabe and Ito's orange and blue: told apart in every common colour vision deficiency; dark is the frozen path.
TOWARDS, AGAINST = QColor("#e69f00"), QColor("#56b4e9")
TOWARDS_FROZEN, AGAINST_FROZEN = QColor("#a36a00"), QColor("#2b76a6")
TOWARDS_EXPERTS, AGAINST_EXPERTS = QColor("#ffc34d"), QColor("#9ad6f7")
ATTENTION = QColor("#c9b3e6")
CURSOR = QColor("#ffffff")
POSITIVE_BAR, NEGATIVE_BAR = QColor("#e69f00"), QColor("#5b7f99")
URGENCY = {"critical": QColor("#ff6b57"), "urgent": QColor("#f0c541"), "routine": QColor("#848e99")}
URGENCY_SIGNS = {"critical": "▲", "urgent": "◆", "routine": "•"}
SMALLEST_PX = 11.0


def apply_theme(app: QApplication, resources: Path) -> None:
    """Set palette, style and style sheet; call once, before the first window."""
    app.setStyle("Fusion")
    app.setPalette(_palette())
    app.setStyleSheet((resources / "style" / "dark.qss").read_text(encoding="utf-8"))


def _palette() -> QPalette:
    palette = QPalette()
    roles = QPalette.ColorRole
    for role, color in (
        (roles.Window, PANEL),
        (roles.WindowText, TEXT),
        (roles.Base, BACKGROUND),
        (roles.AlternateBase, PANEL),
        (roles.Text, TEXT),
        (roles.Button, RAISED),
        (roles.ButtonText, TEXT),
        (roles.BrightText, DANGER),
        (roles.ToolTipBase, RAISED),
        (roles.ToolTipText, TEXT),
        (roles.Highlight, SELECTED),
        (roles.HighlightedText, TEXT),
        (roles.PlaceholderText, FAINT),
        (roles.Link, ACCENT),
    ):
        palette.setColor(role, color)
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, FAINT)
    return palette


@lru_cache(maxsize=128)
def icon(resources: Path, name: str) -> QIcon:
    """Return an icon of ours by name; a missing file is an error in the program, so it raises.

    Raises
    ------
    FileNotFoundError
        If there is no such icon.
    """
    path = resources / "icons" / f"{name}.svg"
    if not path.is_file():
        raise FileNotFoundError(path)
    return QIcon(str(path))


def scaled_font(widget: QWidget, factor: float, bold: bool = False) -> QFont:
    """Return the widget's font, scaled, so that sizes follow the platform's own."""
    font = QFont(widget.font())
    font.setPointSizeF(font.pointSizeF() * factor)
    font.setBold(bold)
    return font


def small_font(widget: QWidget) -> QFont:
    """Return the font of legends and axes: a little smaller than the widget's, never below 11 logical pixels."""
    font = QFont(widget.font())
    px_per_point = widget.logicalDpiY() / 72.0
    font.setPointSizeF(max(font.pointSizeF() * 0.85, SMALLEST_PX / px_per_point))
    return font


def line_height(font: QFont) -> int:
    """Return the height of one text line in pixels."""
    return QFontMetrics(font).height()
