"""How soon the program answers: `--help`, the usable window, the demo analysed, and the event loop's largest gap.

Baselines of the same run: an empty Python process for `--help`, an empty Qt window for the window.
Run it under a display (Xvfb is enough); it exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAIN = str(ROOT / "main.py")
HELP_TARGET_S = 0.4
WINDOW_TARGET_S = 2.0
DEMO_TARGET_S = 15.0
GAP_TARGET_MS = 50.0
HEARTBEAT_MS = 2
EPOCHS = 2

EMPTY_WINDOW = """
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMainWindow
app = QApplication([])
window = QMainWindow()
window.show()
QTimer.singleShot(0, lambda: (print("usable", flush=True), app.quit()))
app.exec()
"""


def main() -> int:
    """Measure everything; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--session", metavar="HOME", help="internal: the measured window")
    arguments = parser.parse_args()
    if arguments.session:
        return session(Path(arguments.session))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, display: {display()}")
    with tempfile.TemporaryDirectory() as home:
        met = [*quick_targets(home, arguments.repeats), *session_targets(home)]
    return 0 if all(met) else 1


def display() -> str:
    """Name what the window is shown on."""
    return os.environ.get("QT_QPA_PLATFORM") or os.environ.get("DISPLAY") or "none"


def quick_targets(home: str, repeats: int) -> list[bool]:
    """Measure `--help` and the usable window."""
    python = sys.executable
    empty_s = median(lambda: whole([python, "-c", "pass"]), repeats)
    help_s = median(lambda: whole([python, MAIN, "--help"]), repeats)
    bare_s = median(lambda: until_usable([python, "-c", EMPTY_WINDOW]), repeats)
    usable_s = median(lambda: until_usable([python, MAIN, "--home", home, "--quit-after-start"]), repeats)
    return [
        told("main.py --help", help_s, HELP_TARGET_S, f"empty Python {empty_s:.3f} s, ratio {help_s / empty_s:.1f}"),
        told("window usable", usable_s, WINDOW_TARGET_S, f"empty Qt window {bare_s:.3f} s, {usable_s / bare_s:.1f} x"),
    ]


def session_targets(home: str) -> list[bool]:
    """Measure a session: the demo opened, analysed and retrained from, with a heartbeat on the event loop."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, __file__, "--session", home], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        met = []
        for line in process.stdout:
            event = json.loads(line)
            elapsed = time.perf_counter() - began
            if event["phase"] == "analysed":
                met.append(told("demo analysed, from process start", elapsed, DEMO_TARGET_S, "no baseline"))
            met.append(told_gap(event["phase"], event["gap_ms"], event["over"]))
    return [*met, process.returncode == 0]


def told(name: str, seconds: float, target: float, note: str) -> bool:
    """Print one result."""
    met = seconds <= target
    print(f"{name}: {seconds:.3f} s (target {target:g} s, {note}) {'met' if met else 'MISSED'}", flush=True)
    return met


def told_gap(phase: str, gap_ms: float, over: int) -> bool:
    """Print the event loop's largest gap up to a phase's end."""
    met = gap_ms <= GAP_TARGET_MS
    word = "met" if met else "MISSED"
    print(
        f"event loop until {phase}: largest gap {gap_ms:.0f} ms, {over} over {GAP_TARGET_MS:g} ms, {word}", flush=True
    )
    return met


def median(measure: Callable[[], float], repeats: int) -> float:
    """Return the median after one warm-up."""
    measure()
    return statistics.median(measure() for _ in range(repeats))


def whole(command: list[str]) -> float:
    """Return how long a process runs."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def until_usable(command: list[str]) -> float:
    """Return how long a process takes to say that its window is usable."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = time.perf_counter() - began
        process.stdout.read()
    if line.strip() != "usable" or process.returncode != 0:
        raise SystemExit(f"the window did not start (exit code {process.returncode})")
    return elapsed


def session(home: Path) -> int:
    """Run the window with a heartbeat and print a line of JSON after every phase."""
    sys.path.insert(0, str(ROOT))
    from PySide6.QtCore import QEventLoop, QTimer
    from PySide6.QtWidgets import QApplication

    from app.composition import Application
    from app.settings import AppPaths, Settings
    from app.viewmodels.actions import RetrainOptions
    from app.views import theme
    from app.views.main_window import MainWindow
    from app.window import settle_garbage, tame_interpreter

    tame_interpreter()
    paths = AppPaths.at(home).create()
    qt = QApplication([])
    theme.apply_theme(qt, paths.resources)
    application = Application(paths, Settings(reader="benchmark"))
    application.runner.idle.connect(lambda: settle_garbage(application))
    window = MainWindow(application.models, application, paths.resources)
    window.show()
    qt.processEvents()
    heartbeat = Heartbeat()
    timer = QTimer()
    timer.timeout.connect(heartbeat.beat)
    timer.start(HEARTBEAT_MS)

    def wait(condition: Callable[[], bool], limit_s: float) -> bool:
        end = time.perf_counter() + limit_s
        while not condition() and time.perf_counter() < end:
            qt.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        return condition()

    models = application.models
    application.start()
    application.open_demo()
    if not wait(lambda: models.viewer.volume is not None, 60):
        return _gave_up(application, "the demo was not opened")
    heartbeat.tell("opened")
    if not wait(lambda: application.demo_settled, 300):
        return _gave_up(application, "the demo was not analysed")
    heartbeat.tell("analysed")
    for row in [row for row in models.findings.rows if row.covered][:3]:
        models.findings.selected_key = row.key
        models.feedback.give("present" if row.positive else "absent")
    application.start_retraining(RetrainOptions(epochs=EPOCHS))
    if not wait(lambda: models.training.state in ("finished", "failed"), 500) or models.training.state == "failed":
        return _gave_up(application, f"the retraining did not finish: {models.training.message}")
    heartbeat.tell("retrained")
    timer.stop()
    window.close()
    application.close()
    return 0


def _gave_up(application: object, reason: str) -> int:
    print(reason, file=sys.stderr)
    for notice in application.models.notices.notices:  # type: ignore[attr-defined]
        print(f"{notice.title}: {notice.message}", file=sys.stderr)
    application.close()  # type: ignore[attr-defined]
    return 1


class Heartbeat:
    """Notes the time between two turns of the event loop."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._gaps_ms: list[float] = []

    def beat(self) -> None:
        """One turn."""
        now = time.perf_counter()
        self._gaps_ms.append(1000 * (now - self._last) - HEARTBEAT_MS)
        self._last = now

    def tell(self, phase: str) -> None:
        """Print the largest gap since the last phase."""
        over = sum(gap > GAP_TARGET_MS for gap in self._gaps_ms)
        print(json.dumps({"phase": phase, "gap_ms": max(self._gaps_ms, default=0.0), "over": over}), flush=True)
        self._gaps_ms.clear()


if __name__ == "__main__":
    sys.exit(main())
