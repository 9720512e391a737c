"""Pictures of every screen, taken from a live window; for the documentation and for looking at every change."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QEventLoop
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QApplication, QWidget

from app.viewmodels.review import ReviewModels
from app.views.main_window import MainWindow
from engine.errors import ExportError

PICTURE_SIZE = (1920, 1080)
SMALL_SIZE = (1366, 768)
SIZES = (SMALL_SIZE, PICTURE_SIZE)
DIALOGS = ("export", "retrain", "models", "backbones", "preferences", "watch", "help", "about")
VOLUME_LIMIT_S = 60.0


def make_shots(out: Path, window: MainWindow, sizes: tuple[tuple[int, int], ...] = SIZES) -> tuple[Path, ...]:
    """Take a picture of every screen.

    Parameters
    ----------
    out
        Folder for the PNG files; made if it is missing.
    window
        A window on the screen with a study open; an analysed one shows most. Its size, presets and dialogs are as
        before afterwards.
    sizes
        Widths and heights of the main window.

    Returns
    -------
    tuple of Path
        The files, in the order of taking.

    Raises
    ------
    ExportError
        If a picture cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = window.size()
    paths = [_main(out, window, f"review_{width}x{height}", width, height) for width, height in sizes]
    window.resize(*sizes[0])
    paths += [_preset(out, window, key) for key in ("subdural", "bone")]
    paths.append(_split(out, window))
    paths += [_dialog(out, window, name) for name in DIALOGS]
    if window.models.viewer.volume is not None:
        paths += _volume(out, window)
    paths.append(_empty(out, window, sizes[0]))
    window.resize(before)
    return tuple(paths)


def settle(seconds: float = 0.15, until: Callable[[], bool] | None = None) -> None:
    """Run the event loop for some time, or until something holds within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until is not None and until()):
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.005)


def save(picture: QPixmap, path: Path) -> Path:
    """Write a picture.

    Raises
    ------
    ExportError
        If Qt cannot write it.
    """
    if not picture.save(str(path)):
        raise ExportError(
            f"The picture {path} cannot be written.",
            hint="Check that the folder can be written and has room.",
            code="export.picture",
            kind="environment",
        )
    return path


def take(out: Path, widget: QWidget, name: str) -> Path:
    """Let the widget settle and write its picture as ``name.png``; ExportError if it cannot be written."""
    settle()
    return save(widget.grab(), out / f"{name}.png")


def _main(out: Path, window: MainWindow, name: str, width: int, height: int) -> Path:
    window.resize(width, height)
    return take(out, window, name)


def _preset(out: Path, window: MainWindow, key: str) -> Path:
    viewer = window.models.viewer
    before, preset = viewer.window, viewer.preset
    viewer.set_preset(key)
    path = take(out, window.slice_view, f"window_{key}")
    if preset is None:
        viewer.window = before
    else:
        viewer.set_preset(preset)
    return path


def _split(out: Path, window: MainWindow) -> Path:
    evidence = window.models.evidence
    before = evidence.split
    evidence.split = True
    path = take(out, window.evidence_panel, "evidence_split")
    evidence.split = before
    return path


def _dialog(out: Path, window: MainWindow, name: str) -> Path:
    return take_dialog(out, window, name)


def take_dialog(out: Path, window: MainWindow, command: str, name: str = "", seconds: float = 0.15) -> Path:
    """Open an action's dialog, let it fill, write its picture as ``dialog_NAME.png`` and close it.

    Parameters
    ----------
    name
        Of the dialog, where the action has another one.
    seconds
        How long the dialog may take to fill.

    Raises
    ------
    ExportError
        If the picture cannot be written.
    """
    name = name or command
    window.command_actions[command].trigger()
    dialog = window.command_target.dialog(name)
    if dialog is None:
        raise RuntimeError(f"the action {command} opened no dialog {name}")
    settle(seconds)
    path = take(out, dialog, f"dialog_{name}")
    dialog.close()
    return path


def _volume(out: Path, window: MainWindow) -> list[Path]:
    """Take the 3D view in each look, or its message where it cannot run. A native surface: the screen is asked."""
    window.command_actions["volume"].trigger()
    view = window.command_target.view.volume_window
    if view is None:
        raise RuntimeError("the action volume opened no window")
    settle(VOLUME_LIMIT_S, until=lambda: view.settled)
    paths = []
    for place in range(view.look.count() if view.rendering else 1):
        view.look.setCurrentIndex(place)
        settle(0.4)
        name = view.look.currentData() if view.rendering else "message"
        picture = view.screen().grabWindow(view.winId()) if view.rendering else view.grab()
        paths.append(save(picture, out / f"volume_{name}.png"))
    view.look.setCurrentIndex(0)
    view.close()
    return paths


def _empty(out: Path, window: MainWindow, size: tuple[int, int]) -> Path:
    fresh = MainWindow(ReviewModels(), window.review_actions, window.resources)
    fresh.resize(*size)
    fresh.show()
    path = take(out, fresh, "empty")
    fresh.close()
    fresh.deleteLater()
    settle(0.05)
    return path
