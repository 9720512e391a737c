"""The one door from other threads onto the GUI thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot


class GuiThread(QObject):
    """Runs callables on the thread that made this object, in the order of `post`."""

    _posted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._open = True
        self._posted.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def post(self, action: Callable[[], None]) -> None:
        """Run `action` on the GUI thread soon; from any thread. Dropped once the door is closed."""
        if self._open:
            self._posted.emit(action)

    def later(self, milliseconds: int, action: Callable[[], None]) -> None:
        """Run `action` after a while; call on the GUI thread. The timer dies with this object."""
        QTimer.singleShot(milliseconds, self, lambda: self._run(action))

    def close(self) -> None:
        """Drop what is still posted: the window is going away."""
        self._open = False

    @Slot(object)
    def _run(self, action: Callable[[], None]) -> None:
        if self._open:
            action()
