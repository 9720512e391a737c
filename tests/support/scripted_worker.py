"""A compute worker that does what the test's package path says: a real process with the real protocol, without torch.

`serve` is started exactly as `engine.inference.worker.serve` is. A package called ``crash`` makes it die in the middle
of an analysis, ``deaf`` makes it ignore a cancel, ``slow`` makes it work until it is cancelled, ``refuse`` and ``bug``
make it answer with an error.
"""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from engine.analysis import Analysis, GeometrySummary, Ledger, ModelIdentity, SliceResult, Timings
from engine.errors import InferenceError
from engine.inference.messages import (
    Analyse,
    Cancel,
    Failed,
    LoadModel,
    ModelLoaded,
    Progressed,
    Shutdown,
    Started,
    Succeeded,
    WasCancelled,
    WorkerSettings,
)


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Answer until told to stop or until the parent is gone."""
    if settings.device == "dies at once":
        os._exit(3)
    connection.send(Started("cpu"))
    manner = ""
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if isinstance(message, Shutdown):
            return
        if isinstance(message, LoadModel):
            manner = message.package_path
            identity = ModelIdentity(manner, "0" * 64, "scripted")
            connection.send(ModelLoaded(message.request_id, identity, ("key",)))
        elif isinstance(message, Analyse):
            _analyse(connection, message, manner)


def _analyse(connection: Connection, message: Analyse, manner: str) -> None:
    connection.send(Progressed(message.request_id, 1, 3, "scripted"))
    if manner == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif manner == "deaf":
        time.sleep(60)
    elif manner == "slow":
        cancel = connection.recv()
        assert isinstance(cancel, Cancel)
        connection.send(WasCancelled(message.request_id))
    elif manner in ("refuse", "bug"):
        error = InferenceError("scripted refusal", hint="none", code="test.refused", kind="scope")
        connection.send(Failed(message.request_id, error, "a report" if manner == "bug" else ""))
    else:
        connection.send(Succeeded(message.request_id, _result(message)))


def _result(message: Analyse) -> Analysis:
    """Return an analysis whose only true number is the sum of the voxels that arrived, as its first logit."""
    series = message.series
    memory = SharedMemory(name=series.shared_memory_name)
    voxels = np.ndarray(series.shape, dtype=series.dtype, buffer=memory.buf)
    total = float(voxels.astype(np.float64).sum())
    del voxels
    memory.close()
    return Analysis(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        geometry=GeometrySummary(series.shape[0], 0.0, (), series.shape[1], series.shape[2]),
        model=ModelIdentity("scripted", "0" * 64, "scripted"),
        device="cpu",
        findings=(),
        slices=(SliceResult(0, 0.0, series.sop_instance_uids, 1.0, (1.0,)),),
        ledger=Ledger(
            ("key",), np.zeros((1, 1, 2), np.float32), np.zeros(1, np.float32), np.array([total], np.float32)
        ),
        acquired_weights=np.ones((1, series.shape[0]), np.float32),
        warnings=series.warnings,
        timings_s=Timings(series.read_s, 0.0, 0.0, 0.0, 0.0),
    )
