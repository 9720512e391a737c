"""The window of the 3D view: two looks, the rendering, or the reason why there is none. It may fail alone.

Nothing is rendered from the acquired slices directly: they are first resampled in a thread to a regular LPS grid
(`app.views.volume_grid`), so that tilt and uneven spacing come out true. The same thread imports VTK and scipy.
"""

from __future__ import annotations

import importlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCloseEvent, QOffscreenSurface, QOpenGLContext, QShowEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from app.views import theme
from app.views.volume_looks import LOOKS
from engine.errors import HeadCTError
from engine.geometry import Volume
from engine.progress import CancelOnly, CancelToken

if TYPE_CHECKING:
    from app.views.volume_grid import RegularGrid
    from app.views.volume_view import VolumeScene

NO_OPENGL = "OpenGL is not available on this display, so there is no 3D view. Everything else works."
NO_VTK = "VTK cannot be loaded, so there is no 3D view. Everything else works."
NO_POSITION = "These images have no position in space, so they cannot be stacked into a volume."
PREPARING = "Resampling the slices for 3D…"
GL_RENDERER = 0x1F01
SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "SWR", "GDI Generic")
SIDE, SOFTWARE_SIDE = 200, 140
NOTE = "Resampled for display; not for measurement. Drag: turn · wheel: zoom · Shift+drag: move"


@dataclass(frozen=True, eq=False)
class _Grids:
    whole: RegularGrid
    brain: RegularGrid


def opengl_renderer() -> str:
    """Return the name of what renders OpenGL here, empty where nothing does: VTK itself may then end the process."""
    surface = QOffscreenSurface()
    surface.create()
    context = QOpenGLContext()
    if not (context.create() and context.makeCurrent(surface)):
        return ""
    name = str(context.functions().glGetString(GL_RENDERER))
    context.doneCurrent()
    return name


def is_software(renderer: str) -> bool:
    """Whether OpenGL runs on the processor: then voxels and rays are traded for an answer in time."""
    return any(name in renderer for name in SOFTWARE_RENDERERS)


class VolumeWindow(QWidget):
    """A window with the two looks, the rendering or the reason why there is none."""

    prepared = Signal(object, object)

    def __init__(self, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("3D view — research use only")
        self.setWindowIcon(theme.icon(resources, "cube"))
        self._token = CancelToken()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="volume-3d")
        self._grids: _Grids | None = None
        self._scene: VolumeScene | None = None
        self._renderer = ""
        self.look = QComboBox()
        for look in LOOKS:
            self.look.addItem(look.label, look.key)
        self.look.currentIndexChanged.connect(self._apply)
        self.look.setAccessibleName("Look")
        self.look.setToolTip("What is opaque: bone, or the soft tissue inside the skull")
        self.reset = QPushButton("Front view")
        self.reset.setToolTip("Face the patient again, whole head in view")
        self.reset.clicked.connect(self._reset_camera)
        self.message = QLabel(alignment=Qt.AlignmentFlag.AlignCenter, wordWrap=True)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.message)
        self._lay_out()
        self.prepared.connect(self._receive)
        self.resize(760, 680)

    def _lay_out(self) -> None:
        note = QLabel(NOTE)
        note.setProperty("role", "muted")
        row = QHBoxLayout()
        row.setContentsMargins(8, 6, 8, 0)
        row.addWidget(self.look)
        row.addWidget(self.reset)
        row.addStretch(1)
        row.addWidget(note)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.pages, 1)

    # -- preparing ----------------------------------------------------------------------------------------------

    def show_volume(self, volume: Volume) -> None:
        """Resample in the background, then render; a newer call replaces an older one."""
        self._token.cancel()
        self._token = token = CancelToken()
        self._grids = None
        if self._scene is not None:
            self._scene.forget()
        if volume.geometry is None or volume.geometry.n_slices < 2:
            self._say(NO_POSITION)
            return
        self._renderer = self._renderer or opengl_renderer()
        if not self._renderer:
            self._say(NO_OPENGL)
            return
        self._say(PREPARING)
        future = self._pool.submit(_prepare, volume, SOFTWARE_SIDE if is_software(self._renderer) else SIDE, token)
        future.add_done_callback(lambda done: self._hand_over(done, token))

    def _hand_over(self, future: Future[_Grids], token: CancelToken) -> None:
        """Run in the worker's thread: the signal carries the result to this window's thread."""
        if not token.cancelled:
            self.prepared.emit(future, token)

    def _receive(self, future: Future[_Grids], token: CancelToken) -> None:
        if token.cancelled:
            return
        error = future.exception()
        if isinstance(error, HeadCTError):
            self._say(f"{error.message}\n{error.hint}")
        elif isinstance(error, ImportError):
            self._say(f"{NO_VTK}\n{error}")
        elif error is not None:
            self._say("The slices could not be prepared for 3D. Everything else works.")
            raise error
        else:
            self._grids = future.result()
            self._start_scene()

    def _start_scene(self) -> None:
        if not self.isVisible():
            return
        if self._scene is None:
            from app.views.volume_view import VolumeScene  # already imported by the thread

            self._scene = VolumeScene(self.pages, is_software(self._renderer))
            self.pages.addWidget(self._scene.widget)
        self.pages.setCurrentWidget(self._scene.widget)
        self._scene.start()
        self._scene.look_from_front(self._grids.whole)
        self._apply()

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.pages.setCurrentWidget(self.message)

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def rendering(self) -> bool:
        """Whether a volume is on the screen."""
        return self._scene is not None and self.pages.currentWidget() is self._scene.widget

    @property
    def settled(self) -> bool:
        """Whether it has come to a rendering or to a message that says why there is none."""
        return self.rendering or self.message.text() != PREPARING

    def _apply(self, *_: object) -> None:
        if self._scene is None or self._grids is None:
            return
        look = next(look for look in LOOKS if look.key == self.look.currentData())
        self._scene.show(self._grids.brain if look.brain_only else self._grids.whole, look)

    def _reset_camera(self) -> None:
        if self._scene is not None and self._grids is not None:
            self._scene.look_from_front(self._grids.whole)
            self._scene.render()

    def showEvent(self, event: QShowEvent) -> None:
        """Render what was prepared while the window was hidden."""
        super().showEvent(event)
        if self._grids is not None and not self.rendering:
            self._start_scene()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Free the OpenGL resources while the native window still exists."""
        self._token.cancel()
        if self._scene is not None:
            self.pages.removeWidget(self._scene.widget)
            self._scene.close()
            self._scene = None
        self._grids = None
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Close and end the thread; for good."""
        self.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _prepare(volume: Volume, max_side: int, token: CancelToken) -> _Grids:
    """Return both grids; runs in the worker's thread. Raises Cancelled once a newer volume was asked for."""
    from app.views.volume_grid import inside_skull, to_regular_grid

    context = CancelOnly(token)
    importlib.import_module("app.views.volume_view")
    whole = to_regular_grid(volume, max_side, context)
    return _Grids(whole, inside_skull(whole, context))
