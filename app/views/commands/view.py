"""Actions on the picture."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.views.commands.base import Command

ORDER = 30


class ViewTarget(Protocol):
    """What the window offers to this area."""

    def is_shown(self) -> bool:
        """Say whether there is a picture."""

    def fit(self) -> None:
        """Fit the slice."""

    def zoom_in(self) -> None:
        """Magnify."""

    def zoom_out(self) -> None:
        """Shrink."""

    def scroll(self, steps: int) -> None:
        """Move by slices."""

    def scroll_to_end(self, last: bool) -> None:
        """Show the first or last slice."""

    def toggle_cine(self) -> None:
        """Play the slices, or stop."""

    def toggle_overlays(self) -> None:
        """Show or hide the text over the picture."""

    def toggle_smoothing(self) -> None:
        """Interpolate between pixels, or not."""

    def open_volume_view(self) -> None:
        """Open the 3D view."""

    def toggle_full_screen(self) -> None:
        """Enter or leave full screen."""


def commands(target: ViewTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command(
            "fit",
            "Fit",
            ("F",),
            "Show the whole slice (double click)",
            "View",
            target.fit,
            "fit",
            toolbar=True,
            enabled=target.is_shown,
        ),
        Command("zoom_in", "Zoom in", ("Ctrl++", "Ctrl+="), "Magnify (Ctrl+wheel)", "View", target.zoom_in),
        Command("zoom_out", "Zoom out", ("Ctrl+-",), "Shrink (Ctrl+wheel)", "View", target.zoom_out),
        Command(
            "previous", "Previous slice", ("Up", "Left"), "Wheel up", "View", partial(target.scroll, -1), scope="viewer"
        ),
        Command(
            "next", "Next slice", ("Down", "Right"), "Wheel down", "View", partial(target.scroll, 1), scope="viewer"
        ),
        Command("page_up", "Five slices back", ("PgUp",), "", "View", partial(target.scroll, -5), scope="viewer"),
        Command("page_down", "Five slices on", ("PgDown",), "", "View", partial(target.scroll, 5), scope="viewer"),
        Command("first", "First slice", ("Home",), "", "View", partial(target.scroll_to_end, False), scope="viewer"),
        Command("last", "Last slice", ("End",), "", "View", partial(target.scroll_to_end, True), scope="viewer"),
        Command(
            "cine", "Cine", ("Space",), "Play the slices; again to stop", "View", target.toggle_cine, scope="viewer"
        ),
        Command("overlays", "Text overlays", ("O",), "Show or hide the corner texts", "View", target.toggle_overlays),
        Command(
            "smoothing",
            "Smoothing",
            ("Shift+S",),
            "Interpolate between pixels, or not",
            "View",
            target.toggle_smoothing,
        ),
        Command(
            "volume",
            "3D view",
            ("V",),
            "Volume rendering, bone and brain",
            "View",
            target.open_volume_view,
            "cube",
            toolbar=True,
            enabled=target.is_shown,
        ),
        Command(
            "full_screen", "Full screen", ("F11",), "Enter or leave full screen", "View", target.toggle_full_screen
        ),
    )
