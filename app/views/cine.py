"""Plays the slices in a loop."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer

from app.viewmodels.viewer import ViewerModel
from app.views.bindings import bind

INTERVAL_MS = 90


class Cine(QObject):
    """A timer that scrolls; stops by itself when the volume changes."""

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self._step)
        bind(self, viewer.volume_changed, self.stop)

    @property
    def running(self) -> bool:
        """Whether the slices are playing."""
        return self._timer.isActive()

    def toggle(self) -> None:
        """Start or stop."""
        if self.running:
            self.stop()
        elif self._viewer.n_slices > 1:
            self._timer.start()

    def stop(self) -> None:
        """Stop."""
        self._timer.stop()

    def _step(self) -> None:
        self._viewer.slice_index = (self._viewer.slice_index + 1) % max(self._viewer.n_slices, 1)
