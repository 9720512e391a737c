"""The trainer's process ends in exactly one of finished, failed and cancelled, and leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.errors import notice_from
from app.jobs.training_process import run_trainer, trainer_command
from engine.errors import TrainingError
from engine.progress import Cancelled, CancelToken
from trainer.protocol import EpochEnded, Event, Progressed, Started


class CancelOnProgress:
    """Cancels the run as soon as it has said that it works."""

    def __init__(self) -> None:
        self.token = CancelToken()

    def progress(self, done: int, total: int, text: str) -> None:
        self.token.cancel()

    def raise_if_cancelled(self) -> None:
        self.token.raise_if_cancelled()


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert not [child for child in psutil.Process().children(recursive=True) if "scripted_trainer" in _line(child)]


def _line(process: psutil.Process) -> str:
    return " ".join(process.cmdline()) if process.is_running() else ""


def command(manner: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.scripted_trainer", manner]


def test_events_arrive_typed_and_in_order() -> None:
    events: list[Event] = []
    finished = run_trainer(command("finish"), events.append)
    assert finished.package_path == "candidate"
    assert [type(event) for event in events[:3]] == [Started, Progressed, EpochEnded]
    assert events[-1] is finished


def test_a_failure_keeps_code_kind_and_hint() -> None:
    with pytest.raises(TrainingError, match="no data") as caught:
        run_trainer(command("fail"), lambda event: None)
    assert (caught.value.code, caught.value.kind, caught.value.hint) == ("training.test", "input", "review more")


def test_a_trainer_that_dies_is_an_error_with_its_report_and_nothing_else_it_wrote() -> None:
    with pytest.raises(TrainingError, match="exit code 9") as caught:
        run_trainer(command("die"), lambda event: None)
    details = notice_from(caught.value).details
    assert "Exit code: 9" in details
    assert "builtins.KeyError: (text withheld" in details
    assert "DOE" not in details


def test_a_bug_of_the_trainer_comes_with_its_report() -> None:
    with pytest.raises(TrainingError, match="a bug") as caught:
        run_trainer(command("bug"), lambda event: None)
    details = notice_from(caught.value).details
    assert "builtins.KeyError: (text withheld" in details
    assert "DOE" not in details


def test_a_foreign_line_is_refused_and_the_process_is_ended() -> None:
    with pytest.raises(TrainingError, match="protocol"):
        run_trainer(command("babble"), lambda event: None)


def test_a_cancel_asks_on_stdin_and_waits() -> None:
    with pytest.raises(Cancelled):
        run_trainer(command("stop"), lambda event: None, CancelOnProgress())


def test_a_trainer_that_does_not_stop_is_killed() -> None:
    with pytest.raises(Cancelled):
        run_trainer(command("deaf"), lambda event: None, CancelOnProgress(), stop_patience_s=0.3)


def test_the_request_travels_in_a_file(tmp_path: Path) -> None:
    line = trainer_command(tmp_path / "request.json")
    assert line[-3:] == ["--worker", "trainer", str(tmp_path / "request.json")]
    assert Path(line[1]).name == "main.py"
