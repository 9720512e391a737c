"""How long the GUI thread is away: the longest gap between two turns of the event loop, at most 50 ms in every phase.

Run with ``python -m benchmarks.gui_gaps`` under a display. The real program opens and analyses the demo, among many
other studies; then tabs are switched, findings selected, slices and the worklist scrolled, and a model is retrained.
A watcher on another thread notes where the GUI thread is in every gap over the target, and that place is printed. The
baseline, in the same run, is an empty window with the same heartbeat. It exits with 1 when a phase misses the target.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow

from app.composition import Application
from app.settings import AppPaths, Settings
from app.viewmodels.actions import RetrainOptions
from app.viewmodels.evidence import TABS
from app.views import theme
from app.views.main_window import MainWindow
from app.window import settle_garbage, tame_interpreter
from benchmarks.worklist import fill
from engine.store.repository import Store

ROOT = Path(__file__).resolve().parents[1]
TARGET_MS = 50.0
HEARTBEAT_MS = 2
STEP_S = 0.03  # between two actions: faster than a reader, slow enough that each is drawn
EPOCHS = 2


class Watch:
    """Notes the gaps between the heartbeats of a phase, and where the GUI thread was in the long ones."""

    def __init__(self) -> None:
        self.gaps_ms: list[float] = []
        self.places: Counter[str] = Counter()
        self._gui = threading.get_ident()
        self._last, self._cpu = time.perf_counter(), time.thread_time()
        self._seen = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="watch", daemon=True)
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        """Begin."""
        self._timer.start(HEARTBEAT_MS)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._timer.stop()
        self._over.set()
        self._thread.join()

    @contextmanager
    def phase(self) -> Iterator[None]:
        """Measure what runs inside alone."""
        self.gaps_ms, self.places, self._last, self._seen = [], Counter(), time.perf_counter(), ""
        yield

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        gap_ms = 1000 * (now - self._last) - HEARTBEAT_MS
        self.gaps_ms.append(gap_ms)
        if gap_ms > TARGET_MS:
            worked_ms = 1000 * (cpu - self._cpu)
            seen = self._seen or "not caught: the interpreter itself was held"
            self.places[
                f"{gap_ms:.0f} ms, {worked_ms:.0f} ms of them at work, the others without core or lock: {seen}"
            ] += 1
        self._last, self._cpu, self._seen = now, cpu, ""

    def _sample(self) -> None:
        while not self._over.wait(0.005):
            if time.perf_counter() - self._last > TARGET_MS / 2000 and not self._seen:
                frame = sys._current_frames().get(self._gui)
                self._seen = _place(traceback.extract_stack(frame))


def _place(stack: traceback.StackSummary) -> str:
    """Return the innermost calls of the program in a stack, the outermost of them first."""
    own = [item for item in stack if str(ROOT) in item.filename and "benchmarks" not in item.filename]
    own = [item for item in own if ".venv" not in item.filename] or list(stack)[-2:]
    return " > ".join(f"{Path(item.filename).name}:{item.lineno} {item.name}" for item in own[-4:])


def turn(seconds: float = STEP_S) -> None:
    """Let the event loop run."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 5)


def wait(condition: Callable[[], bool], what: str, limit_s: float = 300.0) -> None:
    """Let the event loop run until something holds."""
    end = time.perf_counter() + limit_s
    while not condition():
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        if time.perf_counter() > end:
            raise SystemExit(f"gave up: {what}")


def told(name: str, watch: Watch) -> bool:
    """Print a phase; True if it met the target."""
    largest, over = max(watch.gaps_ms, default=0.0), sum(gap > TARGET_MS for gap in watch.gaps_ms)
    word = "met" if over == 0 else "MISSED"
    print(f"{name}: largest gap {largest:.0f} ms, {over} over {TARGET_MS:g} ms, {word}", flush=True)
    for place, count in watch.places.most_common():
        print(f"    {count} × {place}", flush=True)
    return over == 0


def phases(application: Application, window: MainWindow) -> dict[str, Callable[[], None]]:
    """Return what is done in each phase."""
    models = application.models

    def opened() -> None:
        application.open_demo()
        wait(lambda: models.viewer.volume is not None, "the demo was not opened")

    def switched() -> None:
        for tab in islice(cycle(TABS), 4 * len(TABS)):
            models.evidence.tab = tab
            turn()

    def selected() -> None:
        for _ in range(80):
            window.command_actions["next_finding"].trigger()
            turn()

    def scrolled() -> None:
        for index in islice(cycle(range(models.viewer.n_slices)), 80):
            models.viewer.slice_index = index
            turn(0.01)

    def paged() -> None:
        models.worklist.as_table = True
        bar = window.worklist_page.table.verticalScrollBar()
        for place in range(80):
            bar.setValue(bar.maximum() * place // 80)
            turn()
        models.worklist.as_table = False
        turn(0.3)

    def retrained() -> None:
        for row in [row for row in models.findings.rows if row.covered][:3]:
            models.findings.selected_key = row.key
            models.feedback.give("present" if row.positive else "absent")
        application.start_retraining(RetrainOptions(epochs=EPOCHS))
        wait(lambda: models.training.state in ("finished", "failed"), "the retraining did not end", 500)
        if models.training.state == "failed":
            raise SystemExit(models.training.message)

    return {
        "opening the demo": opened,
        "analysing it": lambda: wait(lambda: application.demo_settled, "the demo was not analysed"),
        "switching the reasons' tabs": switched,
        "selecting findings": selected,
        "scrolling slices": scrolled,
        "paging through the worklist": paged,
        "stating and retraining": retrained,
    }


def baseline(qt: QApplication) -> None:
    """Measure an empty window."""
    empty = QMainWindow()
    empty.show()
    turn(0.3)
    watch = Watch()
    watch.start()
    with watch.phase():
        turn(2.0)
    watch.stop()
    empty.close()
    told("baseline, an empty window", watch)


def main() -> int:
    """Measure everything; 1 if a phase missed the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000, help="in the worklist, beside the demo")
    arguments = parser.parse_args()
    tame_interpreter()
    qt = QApplication([])
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {qt.platformName()}")
    baseline(qt)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        paths = AppPaths.at(Path(home)).create()
        with Store.open(paths.store_file) as store:
            fill(store, arguments.studies)
        theme.apply_theme(qt, paths.resources)
        application = Application(paths, Settings(reader="benchmark"))
        application.runner.idle.connect(lambda: settle_garbage(application))
        window = MainWindow(application.models, application, paths.resources)
        window.resize(1920, 1080)
        window.show()
        turn(0.5)
        watch, met = Watch(), []
        watch.start()
        with watch.phase():
            application.start()
            wait(lambda: application.worklist.settled and not application.runner.running, "the lists were not read")
        met.append(told("starting: store, models, worklist", watch))
        for name, action in phases(application, window).items():
            with watch.phase():
                action()
            met.append(told(name, watch))
        watch.stop()
        window.close()
        application.close()
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
