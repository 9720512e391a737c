"""Jobs end exactly once, on the GUI thread, and a stale result is never applied."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot

from app.jobs.runner import JobRunner, JobStatus
from app.logs import close_log, open_log
from engine.errors import StoreError
from engine.progress import Cancelled, Context


class Ends:
    """Collects the ends of jobs with the thread they came on."""

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []
        self.on_gui_thread: list[bool] = []

    def note(self, outcome: str) -> Callable[..., None]:
        def called(*arguments: object) -> None:
            self.log.append((outcome, arguments[0] if arguments else None))
            self.on_gui_thread.append(QThread.currentThread().isMainThread())

        return called

    @property
    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {f"on_{outcome}": self.note(outcome) for outcome in ("succeeded", "failed", "cancelled")}


@pytest.fixture
def runner(qtbot: QtBot) -> Iterator[JobRunner]:
    runner = JobRunner({"io": 2, "store": 1})
    yield runner
    assert runner.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]


@pytest.fixture
def ends() -> Ends:
    return Ends()


def raising(error: BaseException) -> Callable[[Context], None]:
    def operation(context: Context) -> None:
        raise error

    return operation


@pytest.mark.parametrize(
    ("operation", "outcome"),
    [
        (lambda context: 42, "succeeded"),
        (raising(RuntimeError("in an operation")), "failed"),
        (raising(GeneratorExit()), "failed"),
        (raising(SystemExit(1)), "failed"),
        (raising(KeyboardInterrupt()), "failed"),
        (raising(MemoryError()), "failed"),
        (raising(Cancelled()), "cancelled"),
    ],
)
def test_every_job_ends_once_whatever_is_raised(
    runner: JobRunner, ends: Ends, qtbot: QtBot, operation: Callable[[Context], object], outcome: str
) -> None:
    runner.submit(operation, lane="io", title="work", **ends.callbacks)
    qtbot.waitUntil(lambda: not runner.running)
    assert [end for end, _ in ends.log] == [outcome]
    assert ends.on_gui_thread == [True]
    after = Ends()
    runner.submit(lambda context: "the lane lives", lane="io", title="work", **after.callbacks)
    qtbot.waitUntil(lambda: after.log == [("succeeded", "the lane lives")])


def test_a_failure_in_a_callback_still_lets_the_runner_become_idle(runner: JobRunner, qtbot: QtBot) -> None:
    def break_down(result: object) -> None:
        raise ValueError("in a callback")

    with qtbot.capture_exceptions() as caught, qtbot.waitSignal(runner.idle):
        runner.submit(lambda context: None, lane="io", title="work", on_succeeded=break_down)
    assert [kind for kind, *_ in caught] == [ValueError]


def test_the_store_lane_keeps_order_and_never_overlaps(runner: JobRunner, ends: Ends, qtbot: QtBot) -> None:
    inside = []
    order = []

    def write(number: int) -> Callable[[Context], None]:
        def operation(context: Context) -> None:
            inside.append(number)
            assert len(inside) == 1
            threading.Event().wait(0.001)
            order.append(inside.pop())

        return operation

    for number in range(50):
        runner.submit(write(number), lane="store", title="write", **ends.callbacks)
    qtbot.waitUntil(lambda: not runner.running)
    assert order == list(range(50))
    assert {end for end, _ in ends.log} == {"succeeded"}


def test_a_newer_job_of_the_same_key_replaces_the_older_one(runner: JobRunner, qtbot: QtBot) -> None:
    release = threading.Event()
    stubborn, newer = Ends(), Ends()

    def deaf(context: Context) -> str:
        release.wait(5)  # It never asks whether it was cancelled, so it returns a result.
        return "old"

    runner.submit(deaf, lane="io", title="load", key="series", **stubborn.callbacks)
    runner.submit(lambda context: "new", lane="io", title="load", key="series", **newer.callbacks)
    qtbot.waitUntil(lambda: newer.log == [("succeeded", "new")])
    release.set()
    qtbot.waitUntil(lambda: not runner.running)
    assert stubborn.log == [("cancelled", None)]


def test_a_cancelled_job_stops_at_its_next_check(runner: JobRunner, ends: Ends, qtbot: QtBot) -> None:
    began = threading.Event()

    def endless(context: Context) -> None:
        began.set()
        while True:
            context.raise_if_cancelled()
            threading.Event().wait(0.001)

    job = runner.submit(endless, lane="io", title="work", **ends.callbacks)
    assert began.wait(5)
    runner.cancel(job.id)
    qtbot.waitUntil(lambda: ends.log == [("cancelled", None)])


def test_a_job_that_waits_in_its_lane_can_be_cancelled(runner: JobRunner, ends: Ends, qtbot: QtBot) -> None:
    release = threading.Event()
    ran = []
    runner.submit(lambda context: release.wait(5), lane="store", title="first", **ends.callbacks)
    second = runner.submit(lambda context: ran.append(True), lane="store", title="second", **ends.callbacks)
    runner.cancel(second.id)
    release.set()
    qtbot.waitUntil(lambda: len(ends.log) == 2)
    assert ends.log[1] == ("cancelled", None)
    assert not ran


def test_short_jobs_never_show_and_progress_is_throttled(runner: JobRunner, ends: Ends, qtbot: QtBot) -> None:
    shown: list[JobStatus] = []
    runner.job_changed.connect(shown.append)
    runner.submit(lambda context: context.progress(1, 1, "done"), lane="io", title="short")
    qtbot.waitUntil(lambda: not runner.running)
    assert not shown

    stop = threading.Event()

    def chatty(context: Context) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            context.progress(count, 0, f"step {count}")
            threading.Event().wait(0.001)
        context.progress(count, count, "last")
        threading.Event().wait(0.3)

    job = runner.submit(chatty, lane="io", title="long", **ends.callbacks)
    qtbot.wait(1600)
    stop.set()
    qtbot.waitUntil(lambda: not runner.running)
    assert {status.id for status in shown} == {job.id}
    assert shown[0].state == "running"
    assert shown[-1].state == "succeeded"
    # Shown for about one second of some thousand reports: ten a second, and what timers add.
    assert 2 < len(shown) < 25
    assert shown[-1].text == "last", "the latest report is never left behind"


def test_shutdown_drops_results_and_ends_threads(qtbot: QtBot, ends: Ends) -> None:
    runner = JobRunner({"io": 1})
    began = threading.Event()

    def endless(context: Context) -> None:
        began.set()
        while True:
            context.raise_if_cancelled()
            threading.Event().wait(0.001)

    runner.submit(endless, lane="io", title="work", **ends.callbacks)
    runner.submit(lambda context: None, lane="io", title="waits", **ends.callbacks)
    assert began.wait(5)
    assert runner.shutdown()
    qtbot.wait(20)
    assert not ends.log
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]


def test_shutdown_lets_a_write_finish(qtbot: QtBot) -> None:
    runner = JobRunner({"store": 1})
    written = []

    def write(context: Context) -> None:
        threading.Event().wait(0.05)
        written.append(True)

    for _ in range(3):
        runner.submit(write, lane="store", title="write", cancellable=False)
    assert runner.shutdown()
    assert written == [True, True, True]


def test_a_write_that_fails_during_shutdown_is_noted_by_its_code(
    qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = JobRunner({"store": 1, "compute": 1})
    lost = StoreError("not for stderr", hint="none", code="test.lost", kind="environment")
    release = threading.Event()

    def killed(context: Context) -> None:
        release.wait(5)
        raise StoreError("its worker was killed", hint="none", code="test.killed", kind="environment")

    def fail(context: Context) -> None:
        release.wait(5)
        raise lost

    log = open_log(tmp_path)
    ends = Ends()
    runner.submit(killed, lane="compute", title="analyse", **ends.callbacks)
    runner.submit(fail, lane="store", title="save", cancellable=False, **ends.callbacks)
    runner.submit(raising(ValueError("Jane Roe")), lane="store", title="save", cancellable=False)
    threading.Timer(0.05, release.set).start()
    assert runner.shutdown()
    close_log(log)
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("[")[2] for line in said] == ["test.lost]", "ValueError]"]
    noted = (tmp_path / "app.log").read_text(encoding="utf-8")
    assert "test.lost" in noted
    assert "ValueError" in noted
    assert "test.killed" not in noted, "what was cancelled is not missed"
    assert "Jane" not in noted
    assert not ends.log
