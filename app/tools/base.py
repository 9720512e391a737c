"""What every viewer tool is, and what it is told about the pointer. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from app.viewmodels.viewer import ViewerModel

Cursor = Literal["arrow", "cross", "open_hand", "size_all", "size_vertical", "magnifier"]


@dataclass(frozen=True)
class PointerEvent:
    """The pointer over the viewer.

    Attributes
    ----------
    x, y
        Its place in the plane of the screen (see `app.viewmodels.display`): millimetres, or pixels for a 2D stack.
    dx, dy
        The way since the last event, in the same unit.
    dx_px, dy_px
        That way in screen pixels.
    height_px
        Height of the viewer in screen pixels.
    """

    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    dx_px: float = 0.0
    dy_px: float = 0.0
    height_px: float = 1.0


class Tool:
    """A viewer tool. A subclass names itself and answers the events it cares about; others are ignored."""

    key: ClassVar[str]
    label: ClassVar[str]
    shortcut: ClassVar[str]
    icon: ClassVar[str]
    cursor: ClassVar[Cursor] = "arrow"
    help: ClassVar[str]
    order: ClassVar[int] = 100

    def press(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Answer a button press."""

    def drag(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Answer a move with the button held."""

    def release(self, viewer: ViewerModel, event: PointerEvent) -> None:
        """Answer the button's release."""
