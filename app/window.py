"""Run the window: the Qt application around the composition."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication

from app.composition import Application
from app.display import prefer_x11, require_display
from app.settings import load_settings
from app.views import theme
from app.views.main_window import MainWindow

if TYPE_CHECKING:
    from app.commands.base import Environment

DEMO_PATIENCE_S = 300.0
NEEDED_TO_OPEN = ("engine.store.repository", "engine.dicom.scan", "engine.dicom.read", "engine.models.library")
SWITCH_INTERVAL_S = 0.001
DEFAULT_THRESHOLD = gc.get_threshold()
NO_FULL_COLLECTION = 1_000_000


def run_window(environment: Environment, arguments: argparse.Namespace) -> int:
    """Open the window and run until it is closed; the exit code.

    Raises
    ------
    HeadCTError
        If no window can be shown, or the program's folders cannot be written.
    """
    require_display()
    prefer_x11()
    tame_interpreter()
    paths = environment.paths
    loaded = load_settings(paths.settings_file)
    qt = QApplication(sys.argv[:1])
    qt.setApplicationName("Head CT review")
    theme.apply_theme(qt, paths.resources)
    application = Application(paths, loaded.settings, loaded.problems)
    application.runner.idle.connect(lambda: settle_garbage(application))
    application.start()
    window = MainWindow(application.models, application, paths.resources)
    known_place = window.restoreGeometry(QByteArray.fromBase64(loaded.settings.window_geometry.encode()))
    watcher = FirstPaint(window, lambda: _begin(application, window, arguments))
    if known_place:
        window.show()
    else:
        window.showMaximized()
    code = qt.exec()
    watcher.stop()
    geometry = bytes(window.saveGeometry().toBase64().data()).decode()
    application.change_settings(window_geometry=geometry)
    application.close()
    return code


def take_shots(environment: Environment, out: Path) -> int:
    """Open the demo studies, have them analysed and write pictures of every screen; the exit code.

    Raises
    ------
    HeadCTError
        If no window can be shown, the demo cannot be analysed, or a picture cannot be written.
    """
    require_display()
    prefer_x11()
    from app.shot_at_2x import NAME as LARGE
    from app.views.shots import make_shots, settle
    from app.views.tour import PICTURES, Tour

    paths = environment.paths
    loaded = load_settings(paths.settings_file)
    qt = QApplication(sys.argv[:1])
    theme.apply_theme(qt, paths.resources)
    application = Application(paths, loaded.settings, loaded.problems)
    window = MainWindow(application.models, application, paths.resources)
    window.show()
    try:
        application.start()
        application.open_demo()
        settle(DEMO_PATIENCE_S, lambda: application.demo_settled)
        application.require_demo_analysed()
        pictures = [*make_shots(out, window), *_each_demo(application, window, out)]
        pictures += Tour(out, window, lambda: not application.runner.running).run()
    finally:
        window.close()
        application.close()
    print("\n".join(str(path) for path in dict.fromkeys(pictures)), flush=True)
    told = {path.stem for path in pictures} | {LARGE}
    if told != set(PICTURES):
        raise RuntimeError(f"the pictures taken and those listed differ: {sorted(told ^ set(PICTURES))}")
    command = [sys.executable, "-m", "app.shot_at_2x", str(environment.home), str(out)]
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(command, env={**os.environ, "QT_SCALE_FACTOR": "2"}, cwd=root, check=False).returncode


def _each_demo(application: Application, window: MainWindow, out: Path) -> list[Path]:
    """Take the window with every demo study, at the slice that pushed its first finding most."""
    from app.views.shots import PICTURE_SIZE, settle, take

    window.resize(*PICTURE_SIZE)
    pictures = []
    for row in application.models.worklist.rows:
        application.select_series(row.series_uid)
        settle(0.3)
        settle(DEMO_PATIENCE_S, lambda: application.demo_settled)
        application.models.evidence.jump_to_strongest()
        pictures.append(take(out, window, f"study_{Path(application.demo_name(row)).name}"))
    return pictures


def tame_interpreter() -> None:
    """Keep Python itself from holding up the GUI thread while the program's libraries are imported on other threads.

    What opening a study needs is imported here, before there is a window to hold up: unpacking the larger modules of
    SQLAlchemy or pydicom keeps the interpreter for tens of milliseconds, whichever thread does it.

    Other threads hand the interpreter back five times sooner than by default; and no full garbage collection, which
    takes 0.1 to 0.2 s with that many objects and stops every thread, happens until `settle_garbage`.
    """
    for module in NEEDED_TO_OPEN:
        importlib.import_module(module)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, NO_FULL_COLLECTION)


def settle_garbage(application: Application) -> None:
    """Once the libraries are in: keep what stands out of every later collection, so that a full one is short again."""
    if application.session.library_known and gc.get_threshold()[2] == NO_FULL_COLLECTION:
        gc.freeze()
        gc.set_threshold(*DEFAULT_THRESHOLD)


class FirstPaint(QObject):
    """Calls back once, when the window has been painted and the event loop is idle: from then on it is usable."""

    def __init__(self, window: QObject, then: Callable[[], None]) -> None:
        super().__init__(window)
        self._window = window
        self._then: Callable[[], None] | None = then
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See the first paint event go by."""
        if event.type() == QEvent.Type.Paint and self._then is not None:
            then, self._then = self._then, None
            QTimer.singleShot(0, self, then)
        return False

    def stop(self) -> None:
        """Watch no more."""
        self._window.removeEventFilter(self)


def _begin(application: Application, window: MainWindow, arguments: argparse.Namespace) -> None:
    if arguments.quit_after_start:
        print("usable", flush=True)
        QTimer.singleShot(0, window, window.close)
        return
    reading = application.models.reading
    if reading.ask_at_start or not reading.reader:
        reading.want_reader()
    if getattr(arguments, "demo", False):
        application.open_demo()
    elif arguments.paths:
        application.open_paths([path.absolute() for path in arguments.paths])
