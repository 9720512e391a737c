"""Helper processes: one that dies takes nothing else along, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.errors import DicomError, InferenceError
from engine.inference.helpers import Helpers
from engine.progress import Cancelled, CancelOnly, CancelToken
from tests.support.helper_jobs import die, number_of_process, refuse

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def helpers() -> Iterator[Helpers]:
    made = Helpers(1)
    yield made
    made.close()


def test_jobs_run_elsewhere_and_errors_come_back_whole(helpers: Helpers) -> None:
    assert helpers.result(helpers.submit(number_of_process)) != os.getpid()
    with pytest.raises(DicomError) as caught:
        helpers.result(helpers.submit(refuse, "this file"))
    assert (caught.value.message, caught.value.hint, caught.value.code) == ("this file", "none", "tests.refused")


@pytest.mark.skipif(not hasattr(os, "nice"), reason="this system has no niceness")
def test_helpers_stand_back_behind_the_forward(helpers: Helpers) -> None:
    helper = psutil.Process(helpers.result(helpers.submit(number_of_process)))
    assert helper.nice() == min(19, psutil.Process().nice() + 10)


def test_a_job_that_kills_its_process_fails_alone(helpers: Helpers) -> None:
    before = helpers.submit(number_of_process, 0.2)
    deadly = helpers.submit(die)
    behind = helpers.submit(number_of_process)
    assert helpers.result(before) != os.getpid()
    with pytest.raises(InferenceError) as caught:
        helpers.result(deadly)
    assert caught.value.code == "inference.helper_lost"
    assert caught.value.kind == "environment"
    assert helpers.result(behind) != os.getpid(), "it was waiting in the same process"
    assert helpers.result(helpers.submit(number_of_process)) != os.getpid()


def test_waiting_ends_when_the_user_stops(helpers: Helpers) -> None:
    token = CancelToken()
    token.cancel()
    job = helpers.submit(number_of_process, 0.5)
    with pytest.raises(Cancelled):
        helpers.result(job, CancelOnly(token))


def test_helpers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    command = [sys.executable, "-m", "tests.support.helper_jobs", str(started)]
    with subprocess.Popen(command, cwd=ROOT) as parent:
        deadline = time.monotonic() + 60
        while not (started.exists() and started.read_text(encoding="ascii")) and time.monotonic() < deadline:
            time.sleep(0.05)
        helper = psutil.Process(int(started.read_text(encoding="ascii")))
        parent.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([helper], timeout=20)
    assert not alive
    assert len(gone) == 1
