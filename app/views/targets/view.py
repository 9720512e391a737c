"""What the actions on the picture do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.viewmodels.actions import ReviewActions
from app.viewmodels.review import ReviewModels
from app.views.targets.base import Dialogs, Target
from app.views.volume_window import VolumeWindow

if TYPE_CHECKING:
    from psygnal import SignalInstance

    from app.views.main_window import MainWindow

ZOOM_STEP = 1.25


class ViewCommands(Target):
    """Implements `ViewTarget`."""

    def __init__(self, window: MainWindow, models: ReviewModels, actions: ReviewActions, dialogs: Dialogs) -> None:
        super().__init__(window, models, actions, dialogs)
        self.volume_window: VolumeWindow | None = None  # once opened

    def changes(self) -> tuple[SignalInstance, ...]:
        """A series is shown, or none."""
        return (self._models.viewer.volume_changed,)

    def is_shown(self) -> bool:
        """Say whether there is a picture."""
        return self._models.viewer.volume is not None

    def close(self) -> None:
        """Close the 3D view."""
        if self.volume_window is not None:
            self.volume_window.shut_down()
            self.volume_window.deleteLater()
            self.volume_window = None

    def fit(self) -> None:
        """Fit the slice."""
        self._models.viewer.fit()

    def zoom_in(self) -> None:
        """Magnify."""
        self._models.viewer.zoom_by(ZOOM_STEP)

    def zoom_out(self) -> None:
        """Shrink."""
        self._models.viewer.zoom_by(1 / ZOOM_STEP)

    def scroll(self, steps: int) -> None:
        """Move by slices."""
        self._window.cine.stop()
        self._models.viewer.scroll(steps)

    def scroll_to_end(self, last: bool) -> None:
        """Show the first or last slice."""
        self._models.viewer.slice_index = self._models.viewer.n_slices - 1 if last else 0

    def toggle_cine(self) -> None:
        """Play the slices, or stop."""
        self._window.cine.toggle()

    def toggle_overlays(self) -> None:
        """Show or hide the text over the picture."""
        self._models.viewer.overlays = not self._models.viewer.overlays

    def toggle_smoothing(self) -> None:
        """Interpolate between pixels, or not."""
        self._models.viewer.smooth = not self._models.viewer.smooth

    def open_volume_view(self) -> None:
        """Open the 3D view of the current volume."""
        volume = self._models.viewer.volume
        if volume is None:
            return
        if self.volume_window is None:
            self.volume_window = VolumeWindow(self._window.resources)
        self.volume_window.show()
        self.volume_window.show_volume(volume)
        self.volume_window.raise_()

    def toggle_full_screen(self) -> None:
        """Enter or leave full screen."""
        if self._window.isFullScreen():
            self._window.showNormal()
        else:
            self._window.showFullScreen()
