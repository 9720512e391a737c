"""The compute worker costs the running request and nothing else, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from app.errors import ReportedElsewhere, notice_from
from app.jobs.compute_process import AnalysisInput, ComputeProcess
from engine.errors import InferenceError
from engine.geometry import Volume, VolumeGeometry
from engine.inference.messages import WorkerSettings
from engine.progress import Cancelled, CancelToken
from tests.support.scripted_worker import serve


class TokenContext:
    """A context that a test cancels."""

    def __init__(self) -> None:
        self.token = CancelToken()
        self.reports: list[tuple[int, int, str]] = []

    def progress(self, done: int, total: int, text: str) -> None:
        self.reports.append((done, total, text))

    def raise_if_cancelled(self) -> None:
        self.token.raise_if_cancelled()


@pytest.fixture
def item() -> AnalysisInput:
    geometry = VolumeGeometry(
        row_cosine_lps=np.array([1.0, 0.0, 0.0]),
        column_cosine_lps=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(1.0, 1.0),
        origins_lps_mm=np.array([[0.0, 0.0, 5.0 * k] for k in range(4)]),
        rows=8,
        columns=6,
    )
    voxels = np.arange(4 * 8 * 6, dtype=np.int16).reshape(4, 8, 6)
    volume = Volume(voxels, geometry, "HU", None, tuple(f"1.2.{k}" for k in range(4)))
    return AnalysisInput(volume, "1.2", "1.2.3", 0.25, ("a warning",))


@pytest.fixture
def died() -> threading.Event:
    return threading.Event()


@pytest.fixture
def compute(died: threading.Event) -> Iterator[ComputeProcess]:
    compute = ComputeProcess(WorkerSettings("", "cpu", 1), serve, died.set, cancel_patience_s=0.3)
    blocks_before = shared_blocks()
    yield compute
    compute.stop()
    assert compute.pid is None
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    # Tests in other processes have blocks too, and let them go; a block that is left here stays.
    deadline = time.monotonic() + 10
    while (left := shared_blocks() - blocks_before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, "every shared memory block is unlinked"


def shared_blocks() -> set[str]:
    """Return the blocks of shared memory; other programs keep semaphores in the same folder."""
    names = os.listdir("/dev/shm") if sys.platform == "linux" else ()
    return {name for name in names if name.startswith("psm_")}


def test_other_settings_hold_from_the_next_request_on(compute: ComputeProcess, item: AnalysisInput) -> None:
    compute.load_model("plain")
    first = compute.pid
    compute.configure(WorkerSettings("", "cpu", 1))
    compute.load_model("plain")
    assert compute.pid == first, "the same settings need no other worker"

    class ChangedMeanwhile(TokenContext):
        def progress(self, done: int, total: int, text: str) -> None:
            super().progress(done, total, text)
            compute.configure(WorkerSettings("", "cpu", 2))

    context = ChangedMeanwhile()
    assert compute.analyse(item, "plain", context).series_instance_uid == "1.2.3"
    assert context.reports
    assert compute.pid == first, "what runs ends as it began"
    compute.load_model("plain")
    assert compute.pid != first


def test_the_voxels_arrive_and_the_answer_names_the_series(compute: ComputeProcess, item: AnalysisInput) -> None:
    context = TokenContext()
    analysis = compute.analyse(item, "plain", context)
    assert analysis.ledger.logits[0] == item.volume.voxels.sum()
    assert analysis.series_instance_uid == "1.2.3"
    assert analysis.slices[0].sop_instance_uids == item.volume.sop_instance_uids
    assert (analysis.warnings, analysis.timings_s.read) == (("a warning",), 0.25)
    assert context.reports == [(1, 3, "scripted")]
    assert compute.device == "cpu"


def test_a_worker_is_kept_warm_and_its_model_too(compute: ComputeProcess, item: AnalysisInput) -> None:
    compute.analyse(item, "plain")
    pid, model = compute.pid, compute.load_model("plain")
    compute.analyse(item, "plain")
    assert compute.pid == pid
    assert compute.load_model("plain") is model
    assert compute.load_model("other") is not model


def test_a_crash_fails_the_running_request_only(
    compute: ComputeProcess, item: AnalysisInput, died: threading.Event
) -> None:
    with pytest.raises(InferenceError, match="ended unexpectedly") as caught:
        compute.analyse(item, "crash")
    assert (caught.value.code, caught.value.kind) == ("compute.crashed", "environment")
    assert compute.analyse(item, "plain").ledger.logits[0] == item.volume.voxels.sum()


def test_a_worker_killed_while_idle_is_noticed_and_replaced(
    compute: ComputeProcess, item: AnalysisInput, died: threading.Event
) -> None:
    compute.analyse(item, "plain")
    first = compute.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert died.wait(5)
    assert compute.analyse(item, "plain").ledger.logits[0] == item.volume.voxels.sum()
    assert compute.pid != first


def test_a_cancel_stops_the_request_and_keeps_the_worker(compute: ComputeProcess, item: AnalysisInput) -> None:
    compute.load_model("slow")
    pid = compute.pid
    context = TokenContext()
    threading.Timer(0.1, context.token.cancel).start()
    with pytest.raises(Cancelled):
        compute.analyse(item, "slow", context)
    assert compute.pid == pid


def test_a_worker_that_ignores_a_cancel_is_replaced(compute: ComputeProcess, item: AnalysisInput) -> None:
    context = TokenContext()
    compute.load_model("deaf")
    first = compute.pid
    assert first is not None
    threading.Timer(0.1, context.token.cancel).start()
    with pytest.raises(InferenceError, match="did not stop") as caught:
        compute.analyse(item, "deaf", context)
    assert caught.value.code == "compute.stuck"
    assert not psutil.pid_exists(first)
    assert compute.analyse(item, "plain").ledger.logits[0] == item.volume.voxels.sum()


def test_an_error_of_the_engine_arrives_as_itself(compute: ComputeProcess, item: AnalysisInput) -> None:
    with pytest.raises(InferenceError, match="scripted refusal") as caught:
        compute.analyse(item, "refuse")
    assert (caught.value.code, caught.value.kind, caught.value.hint) == ("test.refused", "scope", "none")


def test_a_bug_in_the_worker_carries_its_report(compute: ComputeProcess, item: AnalysisInput) -> None:
    with pytest.raises(InferenceError) as caught:
        compute.analyse(item, "bug")
    assert isinstance(caught.value.__cause__, ReportedElsewhere)
    assert "a report" in notice_from(caught.value).details


def test_a_worker_that_cannot_start_is_an_error_not_a_hang() -> None:
    compute = ComputeProcess(WorkerSettings("", "dies at once", 1), serve)
    with pytest.raises(InferenceError, match="exit code 3"):
        compute.start()
    compute.stop()


PARENT = """
import sys, time
from app.jobs.compute_process import ComputeProcess
from engine.inference.messages import WorkerSettings
from tests.support.scripted_worker import serve

if __name__ == "__main__":
    compute = ComputeProcess(WorkerSettings("", "cpu", 1), serve)
    compute.start()
    print(compute.pid, flush=True)
    time.sleep(60)
"""


def test_the_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 20
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
