"""The trainer as a process of its own: real processes, real pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engine.errors import report_lines_of
from engine.store.repository import Store
from tests.trainer.conftest import TinyRun
from tests.trainer.feedback_store import add_phantom, state
from trainer.config import RetrainConfig
from trainer.protocol import (
    Cancelled,
    EpochEnded,
    Event,
    Failed,
    Finished,
    RetrainRequest,
    Started,
    read_comparison,
    read_event,
    write_request,
)

PROJECT = Path(__file__).resolve().parents[2]
ENDLESS = RetrainConfig(epochs=100_000, heldout_fraction=0.0, threads=1)
SHORT = RetrainConfig(epochs=3, heldout_fraction=0.0, threads=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reviewed")
    with Store.open(folder / "store.sqlite") as opened:
        state(opened, add_phantom(opened, folder / "study", seed=900), {"meningioma": True, "sinusitis": False})
    return str(folder / "store.sqlite")


def _request_file(folder: Path, run: TinyRun, store: str, config: RetrainConfig) -> Path:
    request = RetrainRequest(
        store=store,
        base_package=str(run.package),
        reference_cohort=str(run.reference),
        out=str(folder / "out"),
        config=config,
    )
    write_request(request, folder / "request.json")
    return folder / "request.json"


@contextmanager
def _trainer(request_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A trainer whose stdin stays open; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", str(request_file)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _until(process: subprocess.Popen[str], kind: type[Event]) -> list[Event]:
    """Read events up to and including the first of this kind."""
    assert process.stdout is not None
    events: list[Event] = []
    for line in process.stdout:
        events.append(read_event(line))
        if isinstance(events[-1], kind):
            return events
    assert process.stderr is not None
    pytest.fail(f"the trainer ended before {kind.__name__}: {events}\n{process.stderr.read()}")


def test_a_run_tells_its_way_and_ends_with_one_result(tiny_run: TinyRun, store: str, tmp_path: Path) -> None:
    with _trainer(_request_file(tmp_path, tiny_run, store, SHORT)) as process:
        events = _until(process, Finished)
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.wait(30) == 0
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert (started.kind, started.pid) == ("retrain", process.pid)
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2, 3]
    assert isinstance(finished, Finished)
    assert finished.comparison_path is not None
    assert read_comparison(Path(finished.comparison_path)).candidate_digest == finished.package_digest


def test_the_stop_line_ends_the_run_with_a_checkpoint(tiny_run: TinyRun, store: str, tmp_path: Path) -> None:
    with _trainer(_request_file(tmp_path, tiny_run, store, ENDLESS)) as process:
        _until(process, EpochEnded)
        assert process.stdin is not None
        process.stdin.write("stop\n")
        process.stdin.flush()
        cancelled = _until(process, Cancelled)[-1]
        assert process.wait(30) == 0
    assert isinstance(cancelled, Cancelled)
    assert cancelled.checkpoint_path == str(tmp_path / "out" / "checkpoint.safetensors")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint.safetensors"]


def test_the_end_of_stdin_stops_it_too(tiny_run: TinyRun, store: str, tmp_path: Path) -> None:
    with _trainer(_request_file(tmp_path, tiny_run, store, ENDLESS)) as process:
        _until(process, EpochEnded)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        _until(process, Cancelled)
        assert process.wait(30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_it_ends_with_a_parent_that_is_killed(tiny_run: TinyRun, store: str, tmp_path: Path) -> None:
    request_file = _request_file(tmp_path, tiny_run, store, ENDLESS)
    parent_code = (
        "import subprocess, sys\n"
        "trainer = subprocess.Popen([sys.executable, '-m', 'trainer', sys.argv[1]], stdin=subprocess.PIPE,\n"
        "                           stdout=subprocess.PIPE, text=True)\n"
        "for line in trainer.stdout:\n"
        "    print(line, end='', flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code, str(request_file)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    try:
        started = _until(parent, Started)[0]
        _until(parent, EpochEnded)
        assert isinstance(started, Started)
        trainer = psutil.Process(started.pid)
        os.kill(parent.pid, signal.SIGKILL)
        gone, _ = psutil.wait_procs([trainer], timeout=60)
        assert gone == [trainer]
    finally:
        parent.kill()
        parent.communicate()
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "out" / "package").exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "training.request_invalid"),
        ('{"kind": "train", "config_path": "x.toml", "out": "o", "extra": 1}', "training.request_invalid"),
        ('{"kind": "train", "config_path": "x.toml", "out": "o"}', "config.unreadable"),
        (None, "training.request_unreadable"),
    ],
)
def test_a_bad_request_fails_with_code_and_hint(tmp_path: Path, content: str | None, code: str) -> None:
    if content is not None:
        (tmp_path / "request.json").write_text(content, encoding="utf-8")
    with _trainer(tmp_path / "request.json") as process:
        failed = _until(process, Failed)[-1]
        assert process.wait(30) == 3
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert failed.hint
    assert "Traceback" not in failed.message


def test_a_bug_ends_as_failed_and_quotes_no_value(tmp_path: Path) -> None:
    code = (
        "import sys, trainer.__main__ as program\n"
        "def broken(*_): print('noise'); raise ValueError('Doe^Jane')\n"
        "program._run = broken\n"
        "sys.exit(program.worker_main(sys.argv[1]))\n"
    )
    write_request(
        RetrainRequest(store="s", base_package="b", reference_cohort="r", out=str(tmp_path)), tmp_path / "request.json"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "request.json")],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    events = [read_event(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, len(events)) == ("internal", 2)
    assert "Doe" not in done.stdout + done.stderr
    assert "ValueError" in events[-1].message
    assert "noise" in done.stderr
    assert "in broken" in report_lines_of(done.stderr)
    assert "builtins.ValueError: (text withheld" in report_lines_of(done.stderr)


def test_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainer"], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
