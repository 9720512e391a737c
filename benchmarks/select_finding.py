"""Selecting a finding until its reasons are drawn: 95 % under 50 ms, on whichever tab of the Why panel is open.

Run with ``xvfb-run -a -s "-screen 0 1920x1080x24" python -m benchmarks.select_finding``. A selection is one change of
the selected finding until the window has been painted: list, feedback box, and the open tab, for every tab in turn; a
map of every finding lies ready and is laid over the image. Then once more with every tab turned to after each
selection, so that all reasons of the finding have been on the screen. The baseline, in the same run and at the size of
the page, is a bare pyqtgraph plot that is given the same ledger, attention and gates as two bar items and an image.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QApplication, QWidget

from app.viewmodels.evidence import TABS
from app.viewmodels.review import ReviewModels
from app.viewmodels.viewer import SeriesInfo
from app.views import theme
from app.views.main_window import MainWindow
from engine.analysis import Analysis
from engine.findings.catalogue import load_catalogue
from engine.geometry import Volume, VolumeGeometry
from tests.support.analyses import make_analysis
from tests.support.why import made_maps, with_reasons
from tests.support.window import RecordingActions

TARGET_MS = 50.0
N_ACQUIRED, N_PREPARED, SIDE, GRID = 120, 44, 512, (224, 224)
WARM_UP = 8
ROOT = Path(__file__).resolve().parents[1]


def volume() -> Volume:
    voxels = np.random.default_rng(0).normal(35, 12, (N_ACQUIRED, SIDE, SIDE)).astype(np.int16)
    origins = np.arange(N_ACQUIRED)[:, None] * np.array([0.0, 0.0, 1.25])
    geometry = VolumeGeometry(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.45, 0.45), origins, SIDE, SIDE)
    return Volume(voxels, geometry, "HU", None, tuple(f"1.2.3.{n}" for n in range(N_ACQUIRED)))


def filled(head: Volume) -> tuple[ReviewModels, Analysis]:
    """Return view-models with an analysis, and a map of every finding on the slice in view."""
    catalogue = load_catalogue(ROOT / "resources" / "findings" / "catalogue.csv")
    models = ReviewModels("Benchmark")
    models.viewer.set_volume(head, SeriesInfo("1.2.3", "Patient", "Head", "", (1.25,) * N_ACQUIRED))
    analysis = with_reasons(
        make_analysis(catalogue, n_acquired=N_ACQUIRED, n_prepared=N_PREPARED), head.require_geometry(), GRID
    )
    models.show_analysis(catalogue, analysis)
    models.overlay.on = True
    return models, analysis


def keep_maps(models: ReviewModels, keys: tuple[str, ...]) -> None:
    for key in keys:
        models.findings.selected_key = key
        target = models.explanation.target
        if target is None:
            raise RuntimeError(f"{key} has no slice to map")
        models.explanation.finished(target, made_maps(target, GRID))


def times_ms(app: QApplication, steps: Iterator[Callable[[], None]], count: int) -> np.ndarray:
    """Return the time of each step until everything is painted, after some to warm up."""
    times = np.empty(count + WARM_UP)
    for index in range(len(times)):
        step = next(steps)
        started = time.perf_counter()
        step()
        app.processEvents()
        times[index] = (time.perf_counter() - started) * 1e3
    return times[WARM_UP:]


def show(app: QApplication, widget: QWidget, size: tuple[int, int]) -> None:
    widget.resize(*size)
    widget.show()
    for _ in range(20):
        app.processEvents()
        time.sleep(0.01)


def ours(app: QApplication, size: tuple[int, int], count: int) -> tuple[dict[str, np.ndarray], QSize, Analysis]:
    """Measure the window, tab by tab and all of them after each selection."""
    models, analysis = filled(volume())
    window = MainWindow(models, RecordingActions(), ROOT / "resources")
    show(app, window, size)
    keys = analysis.ledger.keys[:40]
    keep_maps(models, keys)
    forever = itertools.cycle(keys)

    def select() -> None:
        models.findings.selected_key = next(forever)

    def select_and_turn() -> None:
        select()
        for name in TABS:
            models.evidence.tab = name
            app.processEvents()

    measured = {}
    for name, title in TABS.items():
        models.evidence.tab = name
        app.processEvents()
        measured[title] = times_ms(app, itertools.repeat(select), count)
    page = window.evidence_panel.pages.size()
    measured["all six, one after the other"] = times_ms(app, itertools.repeat(select_and_turn), max(count // 4, 10))
    window.close()
    return measured, page, analysis


def bare_plot(app: QApplication, analysis: Analysis, size: QSize, count: int) -> np.ndarray:
    plot = pg.PlotWidget()
    x = np.arange(N_PREPARED)
    bars, weights, image = pg.BarGraphItem(x=x, height=x, width=0.8), pg.BarGraphItem(x=x, height=x, width=0.8), None
    image = pg.ImageItem(axisOrder="row-major")
    for item in (bars, weights, image):
        plot.addItem(item)
    show(app, plot, (size.width(), size.height()))
    attention = np.array([item.attention for item in analysis.slices])
    gates = np.array([item.gate_weights for item in analysis.slices]).T
    rows = itertools.cycle(range(len(analysis.ledger.keys)))

    def select() -> None:
        values = analysis.ledger.values[next(rows)]
        bars.setOpts(height=values.sum(axis=1))
        weights.setOpts(height=attention)
        image.setImage(gates)

    times = times_ms(app, itertools.repeat(select), count)
    plot.close()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--selections", type=int, default=80)
    parser.add_argument("--size", type=int, nargs=2, default=(1920, 1080), metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    theme.apply_theme(app, ROOT / "resources")
    measured, page, analysis = ours(app, tuple(options.size), options.selections)
    bare = float(np.percentile(bare_plot(app, analysis, page, options.selections), 95))
    print(
        f"machine: {platform.machine()} {platform.system()}, {os.cpu_count()} cores, {app.platformName()}, no GPU used"
    )
    print(f"window {options.size[0]}×{options.size[1]}, page {page.width()}×{page.height()}, {N_PREPARED} slices")
    for name, times in measured.items():
        p95 = float(np.percentile(times, 95))
        print(f"{name + ':':32} p50 {np.percentile(times, 50):6.2f} ms, p95 {p95:6.2f} ms, ratio {p95 / bare:.2f}")
    print(f"{'bare pyqtgraph plot:':32} p95 {bare:.2f} ms")
    worst = max(float(np.percentile(measured[title], 95)) for title in TABS.values())
    print(f"worst tab: p95 {worst:.2f} ms, ratio {worst / bare:.2f}; target: p95 under {TARGET_MS:.0f} ms")
    return 0 if worst < TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
