"""The compute worker as a real process of its own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.errors import InferenceError, PackageError
from engine.findings.catalogue import Catalogue, load_catalogue
from engine.geometry import Volume
from engine.inference.messages import (
    UNKNOWN_REQUEST,
    Analyse,
    Cancel,
    Failed,
    LoadModel,
    ModelLoaded,
    Progressed,
    Reply,
    SharedSeries,
    Shutdown,
    Started,
    Succeeded,
    WasCancelled,
    WorkerSettings,
)
from engine.inference.predictor import Predictor
from engine.inference.worker import serve
from tests.support.models import small_head, write_random_package

PATIENCE_S = 120.0


class Window:
    """The other end: a worker process, and what it says."""

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = multiprocessing.Pipe()
        self.process = context.Process(target=serve, args=(theirs, settings))
        self.process.start()
        theirs.close()

    def receive(self) -> Reply:
        assert self.connection.poll(PATIENCE_S), "the worker does not answer"
        reply: Reply = self.connection.recv()
        return reply

    def final(self, request: LoadModel | Analyse) -> tuple[Reply, list[Progressed]]:
        """Send a request; return its last answer and the progress before it."""
        self.connection.send(request)
        return self.rest()

    def rest(self) -> tuple[Reply, list[Progressed]]:
        steps: list[Progressed] = []
        while isinstance(reply := self.receive(), Progressed):
            steps.append(reply)
        return reply, steps

    def close(self) -> None:
        self.connection.close()
        self.process.join(PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


@contextmanager
def shared(volume: Volume, request_id: int, **changes: object) -> Iterator[Analyse]:
    """A volume in shared memory, as the window puts it there, and the request for it."""
    memory = SharedMemory(create=True, size=volume.voxels.nbytes)
    try:
        np.ndarray(volume.voxels.shape, volume.voxels.dtype, buffer=memory.buf)[...] = volume.voxels
        series = SharedSeries(
            shared_memory_name=memory.name,
            shape=volume.voxels.shape,
            dtype=volume.voxels.dtype.name,
            geometry=volume.require_geometry(),
            padding_value=volume.padding_value,
            sop_instance_uids=volume.sop_instance_uids,
            study_instance_uid="2.25.100",
            series_instance_uid="2.25.200",
            read_s=0.25,
            warnings=("from reading",),
        )
        yield Analyse(request_id, replace(series, **changes))
    finally:
        memory.close()
        memory.unlink()


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> WorkerSettings:
    resources: Path = request.getfixturevalue("resources")
    return WorkerSettings(catalogue_file=str(resources / "findings" / "catalogue.csv"), device="cpu", threads=1)


@pytest.fixture(scope="module")
def keys(settings: WorkerSettings) -> tuple[str, ...]:
    return tuple(load_catalogue(Path(settings.catalogue_file)))[5:8]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, keys: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("worker") / "package"
    write_random_package(folder, keys)
    return folder


@pytest.fixture(scope="module")
def window(settings: WorkerSettings) -> Iterator[Window]:
    """One worker for all the tests that a worker must survive."""
    window = Window(settings)
    started = window.receive()
    assert isinstance(started, Started)
    assert (started.device, started.threads, started.devices[-1]) == ("cpu", 1, "cpu")
    yield window
    assert window.process.is_alive()
    window.connection.send(Shutdown())
    window.process.join(PATIENCE_S)
    exitcode = window.process.exitcode
    window.close()
    assert exitcode == 0


@pytest.fixture(scope="module")
def loaded(window: Window, package: Path, keys: tuple[str, ...]) -> Window:
    reply, _ = window.final(LoadModel(1, str(package)))
    assert isinstance(reply, ModelLoaded)
    assert (reply.request_id, reply.keys) == (1, keys)
    assert reply.identity.notice == "Random weights, for tests only."
    return window


def test_analysing_before_loading_fails_and_no_more(window: Window) -> None:
    with shared(small_head(), 5) as request:
        reply, _ = window.final(request)
    assert isinstance(reply, Failed)
    assert (reply.request_id, reply.error.code, reply.report) == (5, "inference.request", "")


def test_an_analysis_equals_one_in_this_process(loaded: Window, package: Path, catalogue: Catalogue) -> None:
    volume = small_head()
    with shared(volume, 10) as request:
        reply, steps = loaded.final(request)
        # The worker has let go of the block and has not removed it: the window still can.
        again, _ = loaded.final(replace(request, request_id=11))
    assert isinstance(reply, Succeeded)
    assert isinstance(again, Succeeded)
    analysis = reply.analysis
    assert np.array_equal(analysis.ledger.values, again.analysis.ledger.values)
    here = Predictor.open(package, catalogue, "cpu").analyse(
        volume, study_instance_uid="2.25.100", series_instance_uid="2.25.200", read_s=0.25, warnings=("from reading",)
    )
    assert np.allclose(analysis.ledger.logits, here.ledger.logits, atol=1e-4)
    assert [item.sop_instance_uids for item in analysis.slices] == [item.sop_instance_uids for item in here.slices]
    assert analysis.warnings == here.warnings
    assert analysis.timings_s.read == 0.25
    last = steps[-1]
    assert (last.request_id, last.done, last.total) == (10, len(analysis.slices), len(analysis.slices))


def test_cancel_ends_the_running_request_only(loaded: Window) -> None:
    """A tall volume of many batches, cancelled at its first progress; the next request is answered as ever."""
    with shared(small_head(n_slices=40), 20) as request:
        loaded.connection.send(request)
        assert isinstance(loaded.receive(), Progressed)
        loaded.connection.send(Cancel(20))
        reply, steps = loaded.rest()
        assert reply == WasCancelled(20)
        assert len(steps) < 10
    with shared(small_head(), 21) as request:
        reply, _ = loaded.final(request)
    assert isinstance(reply, Succeeded)


def test_cancel_reaches_a_request_that_waits(loaded: Window) -> None:
    with shared(small_head(), 30) as first, shared(small_head(), 31) as second:
        for message in (first, second, Cancel(31), Cancel(999)):
            loaded.connection.send(message)
        assert isinstance(loaded.rest()[0], Succeeded)
        reply, steps = loaded.rest()
        assert (reply, steps) == (WasCancelled(31), [])


def raise_on_load() -> None:
    raise ValueError


class Unloadable:
    """Pickles, and fails to unpickle."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return raise_on_load, ()


@pytest.mark.parametrize("message", ["hello", None, Unloadable()], ids=["text", "none", "unloadable"])
def test_nonsense_is_answered_and_survived(loaded: Window, message: object) -> None:
    loaded.connection.send(message)
    reply = loaded.receive()
    assert isinstance(reply, Failed)
    assert (reply.request_id, reply.error.code) == (UNKNOWN_REQUEST, "inference.request")


@pytest.mark.parametrize(
    "changes",
    [{"shared_memory_name": "no_such_block"}, {"shape": (600, 512, 512)}, {"shape": (0, 64, 64)}, {"dtype": "object"}],
    ids=["no block", "too large", "empty", "objects"],
)
def test_a_bad_block_is_refused(loaded: Window, changes: dict[str, object]) -> None:
    with shared(small_head(), 40, **changes) as request:
        reply, _ = loaded.final(request)
    assert isinstance(reply, Failed)
    assert (reply.request_id, reply.error.code) == (40, "inference.request")


def test_a_bug_is_reported_without_values(loaded: Window) -> None:
    """The name of the patient in the wrong place: it must not come back in the report."""
    with shared(small_head(), 50, warnings="DOE^JANE", geometry="DOE^JANE") as request:
        reply, _ = loaded.final(request)
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, InferenceError)
    assert reply.error.code == "inference.bug"
    assert "AttributeError" in reply.report
    assert "in _read_volume" in reply.report
    assert "DOE" not in reply.report + reply.error.message + reply.error.hint


def test_a_bad_package_is_refused_and_a_good_one_loads_after_it(loaded: Window, package: Path, tmp_path: Path) -> None:
    reply, _ = loaded.final(LoadModel(60, str(tmp_path / "nowhere")))
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, PackageError)
    assert (reply.request_id, reply.error.code) == (60, "package.unreadable")
    assert str(tmp_path / "nowhere") in reply.error.message
    with shared(small_head(), 61) as request:
        without, _ = loaded.final(request)
    assert isinstance(without, Failed)
    reply, _ = loaded.final(LoadModel(62, str(package)))
    assert isinstance(reply, ModelLoaded)


def test_a_worker_that_cannot_start_says_why(settings: WorkerSettings, tmp_path: Path) -> None:
    window = Window(replace(settings, catalogue_file=str(tmp_path / "none.csv")))
    try:
        reply = window.receive()
        assert isinstance(reply, Failed)
        assert (reply.request_id, reply.error.code) == (UNKNOWN_REQUEST, "findings.catalogue")
        window.process.join(PATIENCE_S)
        assert window.process.exitcode == 0
    finally:
        window.close()


@pytest.mark.parametrize("moment", ["starting", "started"])
def test_the_worker_ends_with_its_parent(settings: WorkerSettings, moment: str) -> None:
    """The parent is killed, and cannot tell anybody."""
    script = Path(__file__).resolve().parents[1] / "support" / "parent_of_worker.py"
    parent = subprocess.Popen(
        [sys.executable, str(script), settings.catalogue_file, moment], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    worker.wait(PATIENCE_S)
    assert not worker.is_running()


def test_a_closed_pipe_ends_the_worker_in_the_middle_of_a_study(settings: WorkerSettings, package: Path) -> None:
    window = Window(settings)
    try:
        assert window.receive().device == "cpu"
        window.final(LoadModel(1, str(package)))
        with shared(small_head(n_slices=40), 2) as request:
            window.connection.send(request)
            assert isinstance(window.receive(), Progressed)
            window.connection.close()
            window.process.join(PATIENCE_S)
            assert window.process.exitcode == 0
    finally:
        window.close()


def test_idle_threads_sleep_unless_the_user_says_otherwise() -> None:
    code = "import os; from engine.inference.threads import wait_passively; wait_passively(); {}"
    checks = {None: "PASSIVE", "ACTIVE": "ACTIVE"}
    for setting, expected in checks.items():
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": setting} if setting else {}
        command = [sys.executable, "-c", code.format("print(os.environ['OMP_WAIT_POLICY'])")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_errors_cross_the_process_boundary_whole() -> None:
    error = PackageError("message", hint="hint", code="package.changed", kind="environment")
    failed: Failed = pickle.loads(pickle.dumps(Failed(1, error, "report")))
    assert isinstance(failed.error, PackageError)
    assert (failed.error.message, failed.error.hint, failed.error.kind) == ("message", "hint", "environment")


def test_a_second_worker_takes_a_study_from_the_cache(settings: WorkerSettings, package: Path, tmp_path: Path) -> None:
    kept = replace(settings, cache_folder=str(tmp_path / "cache"), cache_limit_bytes=1 << 30)
    findings, texts = [], []
    for request_id in (1, 2):
        worker = Window(kept)
        assert worker.receive().device == "cpu"
        worker.final(LoadModel(0, str(package)))
        with shared(small_head(), request_id) as request:
            reply, steps = worker.final(request)
        worker.connection.send(Shutdown())
        worker.process.join(PATIENCE_S)
        worker.close()
        assert isinstance(reply, Succeeded)
        findings.append(reply.analysis.findings)
        texts.append({step.text for step in steps})
    assert findings[0] == findings[1]
    assert "Reading slices with the backbone" in texts[0]
    assert texts[1] == set()
