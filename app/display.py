"""Whether a window can be shown here. Qt aborts the whole process where it cannot, so this is asked first. No Qt."""

from __future__ import annotations

import ctypes
import os
import sys

from engine.errors import HeadCTError


def display_problem() -> str:
    """Say why no window can be shown; empty where one can."""
    if not sys.platform.startswith("linux") or os.environ.get("QT_QPA_PLATFORM", "xcb") not in ("xcb", "wayland"):
        return ""
    if os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
        return ""
    if not os.environ.get("DISPLAY"):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    return "" if _x_server_answers() else f"the X server {os.environ['DISPLAY']} does not answer"


def require_display() -> None:
    """Refuse to go on where no window can be shown.

    Raises
    ------
    HeadCTError
        Of kind ``environment``.
    """
    problem = display_problem()
    if problem:
        raise HeadCTError(
            f"No window can be shown: {problem}.",
            hint="Start it in a desktop session, under xvfb-run, or use the commands (main.py --help).",
            code="display.none",
            kind="environment",
        )


def prefer_x11() -> None:
    """Have Qt speak X11 where a Wayland session offers both: VTK's widget cannot draw on Wayland."""
    if sys.platform.startswith("linux") and os.environ.get("DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "xcb")


def _x_server_answers() -> bool:
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True  # Qt brings or finds what it needs itself; let it try.
    x11.XOpenDisplay.restype = ctypes.c_void_p
    connection = x11.XOpenDisplay(None)
    if not connection:
        return False
    x11.XCloseDisplay(ctypes.c_void_p(connection))
    return True
