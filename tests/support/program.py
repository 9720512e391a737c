"""The whole program in one process: window, store, compute worker; used with keys and mouse as a reader would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeySequence, QWindow
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QWidget
from pytestqt.exceptions import TimeoutError as NeverHappened
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.settings import AppPaths, Settings
from app.views import theme
from app.views.main_window import MainWindow
from engine.store.records import FeedbackRecord
from engine.store.repository import Store

WAIT_MS = 90_000
D = TypeVar("D", bound=QDialog)


class Program:
    """An application in a home of its own, its window on the screen. `close` ends it as closing the window does."""

    def __init__(self, home: Path, qtbot: QtBot, **settings: Any) -> None:
        self.paths, self.qtbot = AppPaths.at(home).create(), qtbot
        chosen = Settings(**({"reader": "Dr Ames", "device": "cpu", "threads": 1} | settings))
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply_theme(app, self.paths.resources)
        self.application = Application(self.paths, chosen)
        self.models = self.application.models
        self.application.start()
        self.window = MainWindow(self.models, self.application, self.paths.resources)
        self.window.resize(1366, 768)
        with qtbot.waitExposed(self.window):
            self.window.show()
        self.window.activateWindow()
        qtbot.waitUntil(self.window.isActiveWindow)
        self.window.slice_view.setFocus()

    def close(self) -> None:
        """Close the window and end the program."""
        self.window.close()
        self.application.close()
        self.window.deleteLater()

    # -- keys and mouse -----------------------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press keys, named as in the help, wherever the focus is."""
        for key in keys:
            combination = QKeySequence(key)[0]
            QTest.keyClick(self._front(), combination.key(), combination.keyboardModifiers())

    def type(self, text: str) -> None:
        """Type a text wherever the focus is."""
        for character in text:
            QTest.keyClick(self._front(), character)

    def click(self, widget: QWidget, at: QPoint | QPointF | None = None) -> None:
        """Click with the left button, in the middle or at a place."""
        place = at.toPoint() if isinstance(at, QPointF) else at or widget.rect().center()
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=place)

    def drag(self, widget: QWidget, points: Sequence[QPoint]) -> None:
        """Press at the first point, move over the others, let go at the last."""
        self.qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=points[0])
        for point in points[1:]:
            self.qtbot.mouseMove(widget, point)
        self.qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=points[-1])

    def drop(self, *paths: Path) -> None:
        """Drop files or folders on the window."""
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        middle, copy = self.window.rect().center(), Qt.DropAction.CopyAction
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(self.window, QDragEnterEvent(middle, copy, data, left, none))
        QApplication.sendEvent(self.window, QDropEvent(QPointF(middle), copy, data, left, none))

    def _front(self) -> QWindow:
        """Return the window in front: from there on a key finds its way as a real one does, into an open list too."""
        active = QApplication.activeWindow()
        handle = None if active is None else active.windowHandle()
        assert handle is not None, "no window of the program is in front"
        return handle

    # -- waiting ------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the event loop until something holds; if it never does, say what the window shows instead."""
        try:
            self.qtbot.waitUntil(condition, timeout=WAIT_MS)
        except NeverHappened as error:
            raise AssertionError(f"waited in vain; the window says: {self.told()}") from error

    def told(self) -> str:
        """Return what the window tells: notices, state, and what runs."""
        models = self.models
        notices = [f"{item.title}: {item.message} {item.details}" for item in models.notices.notices]
        running = [job.title for job in models.jobs.rows]
        state = (models.findings.status, models.worklist.total, models.worklist.empty_text, models.queue.rows)
        return f"notices {notices}; jobs {running}; {state}"

    def settle(self) -> None:
        """Wait until nothing is read, saved or computed any more."""
        self.until(lambda: not self.application.runner.running and self.application.worklist.settled)

    def saved(self) -> None:
        """Wait until nothing is being read, saved or computed; the worklist may follow a little later."""
        self.until(lambda: not self.application.runner.running)

    def analysed(self) -> None:
        """Wait until the series in view is analysed and everything is shown."""
        self.until(lambda: self.models.findings.status.kind == "analysed")
        self.settle()

    def dialog(self, kind: type[D]) -> D:
        """Return the open dialog of this kind once keys go to it."""
        self.until(lambda: len(self._open(kind)) == 1)
        (found,) = self._open(kind)
        found.activateWindow()  # a window manager does it elsewhere
        self.qtbot.waitUntil(found.isActiveWindow)
        return found

    def front(self) -> None:
        """Come back to the window and the picture, as a window manager lets a closed dialog do."""
        self.window.activateWindow()
        self.qtbot.waitUntil(self.window.isActiveWindow)
        self.window.slice_view.setFocus()

    def _open(self, kind: type[D]) -> list[D]:
        return [widget for widget in self.window.findChildren(kind) if widget.isVisible()]

    # -- the store, read as another program would ---------------------------------------------------------------

    def history(self, series_uid: str) -> tuple[FeedbackRecord, ...]:
        """Return every row of a series, the oldest first."""
        with Store.open(self.paths.store_file) as store:
            return store.feedback_history(series_uid)
