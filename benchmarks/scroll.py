"""Scrolling with all overlays, evidence cursor and findings on the screen: 95 % of frames under 16 ms.

Run with ``xvfb-run -a -s "-screen 0 1920x1080x24" python -m benchmarks.scroll``. A frame is one slice step until the
window has been painted. The baseline, in the same run and at the same size, is a bare pyqtgraph ImageItem that is
given the int16 slice with a 256-entry table and levels; the window does more, so the ratio says what the rest costs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QApplication, QWidget

from app.viewmodels.review import ReviewModels
from app.viewmodels.viewer import SeriesInfo
from app.views import theme
from app.views.main_window import MainWindow
from engine.findings.catalogue import load_catalogue
from engine.geometry import Volume, VolumeGeometry
from tests.support.analyses import make_analysis
from tests.support.window import RecordingActions

TARGET_MS = 16.0
N_SLICES, SIDE = 120, 512
ROOT = Path(__file__).resolve().parents[1]


def volume() -> Volume:
    voxels = np.random.default_rng(0).normal(35, 12, (N_SLICES, SIDE, SIDE)).astype(np.int16)
    origins = np.arange(N_SLICES)[:, None] * np.array([0.0, 0.0, 1.25])
    geometry = VolumeGeometry(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.45, 0.45), origins, SIDE, SIDE)
    return Volume(voxels, geometry, "HU", None, ("",) * N_SLICES)


def frames_ms(app: QApplication, step: Callable[[int], None], count: int) -> np.ndarray:
    """Return the time of each step until everything is painted, after ten frames to warm up."""
    times = np.empty(count + 10)
    for index in range(len(times)):
        started = time.perf_counter()
        step(index % N_SLICES)
        app.processEvents()
        times[index] = (time.perf_counter() - started) * 1e3
    return times[10:]


def review_window(app: QApplication, head: Volume, size: tuple[int, int], count: int) -> tuple[np.ndarray, QSize]:
    catalogue = load_catalogue(ROOT / "resources" / "findings" / "catalogue.csv")
    models = ReviewModels()
    window = MainWindow(models, RecordingActions(), ROOT / "resources")
    models.viewer.set_volume(head, SeriesInfo("1.2.3", "Patient", "Head", "", (1.25,) * len(head.voxels)))
    models.show_analysis(catalogue, make_analysis(catalogue, n_acquired=N_SLICES, n_prepared=38))
    show(app, window, size)
    models.viewer.probe_at(*models.viewer.centre)

    def step(index: int) -> None:
        models.viewer.slice_index = index

    times = frames_ms(app, step, count)
    viewer = window.slice_view.viewport().size()
    window.close()
    return times, viewer


def bare_image(app: QApplication, head: Volume, size: QSize, count: int) -> np.ndarray:
    view = pg.GraphicsView(background="k")
    item = pg.ImageItem(axisOrder="row-major")
    item.setLookupTable(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1))
    view.addItem(item)
    scale = min(size.width(), size.height()) / SIDE
    item.setScale(scale)
    show(app, view, (size.width(), size.height()))
    times = frames_ms(app, lambda index: item.setImage(head.voxels[index], levels=(0, 80), autoLevels=False), count)
    view.close()
    return times


def show(app: QApplication, widget: QWidget, size: tuple[int, int]) -> None:
    widget.resize(*size)
    widget.show()
    for _ in range(20):
        app.processEvents()
        time.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(1920, 1080), metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    theme.apply_theme(app, ROOT / "resources")
    head = volume()
    ours, viewer = review_window(app, head, tuple(options.size), options.frames)
    bare = bare_image(app, head, viewer, options.frames)
    ours_p95, bare_p95 = np.percentile(ours, 95), np.percentile(bare, 95)
    print(
        f"machine: {platform.machine()} {platform.system()}, {os.cpu_count()} cores, {app.platformName()}, no GPU used"
    )
    print(f"window {options.size[0]}×{options.size[1]}, viewer {viewer.width()}×{viewer.height()}, {SIDE}² int16")
    print(f"review window:   p50 {np.percentile(ours, 50):.2f} ms, p95 {ours_p95:.2f} ms")
    print(f"bare ImageItem:  p50 {np.percentile(bare, 50):.2f} ms, p95 {bare_p95:.2f} ms")
    print(f"ratio of p95: {ours_p95 / bare_p95:.2f}; target: p95 under {TARGET_MS:.0f} ms")
    return 0 if ours_p95 < TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
