"""The window's side of the compute worker: a process of our own in which torch lives.

Every method here may wait, and runs on the one thread of the ``compute`` lane, never on the GUI thread. The worker is
started when the program starts, so that torch loads while the user looks for a study. Whatever becomes of it, killed,
crashed or stuck, costs the request that it was working on and nothing else: the next request finds a new worker.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from app.errors import ReportedElsewhere
from app.jobs.shared_volume import SharedVolume
from engine.analysis import Analysis
from engine.errors import HeadCTError, InferenceError
from engine.explain.maps import SliceMap, SliceMapRequest
from engine.geometry import Volume
from engine.inference.messages import (
    Analyse,
    BackboneStored,
    Cancel,
    ConvertBackbone,
    Explain,
    Explained,
    Failed,
    LoadModel,
    ModelLoaded,
    Progressed,
    Question,
    Reply,
    SharedSeries,
    Shutdown,
    Started,
    Succeeded,
    WasCancelled,
    WorkerSettings,
)
from engine.progress import NULL_CONTEXT, Cancelled, Context

POLL_S = 0.05
NICENESS = 5
CANCEL_PATIENCE_S = 5.0
SHUTDOWN_PATIENCE_S = 3.0

Target = Callable[[Connection, WorkerSettings], None]


@dataclass(frozen=True, eq=False)
class AnalysisInput:
    """A volume and what the result must name."""

    volume: Volume
    study_instance_uid: str
    series_instance_uid: str
    read_s: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class BackboneFile:
    """A published checkpoint, the backbone that it is for, and the terms that the user confirmed."""

    file: Path
    name: str
    config_file: Path | None
    licence: str
    origin: str
    pooled: str | None = None


class ComputeProcess:
    """Starts, feeds, stops and replaces the worker.

    Parameters
    ----------
    settings
        Handed to the worker.
    target
        The worker's main function, importable by name (`engine.inference.worker.serve`).
    on_died
        Called on a thread of its own when a worker ends that nobody asked to end.
    cancel_patience_s
        How long a cancelled request may go on before the worker is replaced.
    on_started
        Called on the lane's thread with what a new worker says it computes on.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        target: Target,
        on_died: Callable[[], None] | None = None,
        cancel_patience_s: float = CANCEL_PATIENCE_S,
        on_started: Callable[[Started], None] = lambda started: None,
    ) -> None:
        self._settings = self._wanted = settings
        self._on_started = on_started
        self._target = target
        self._on_died = on_died
        self._cancel_patience_s = cancel_patience_s
        self._requests = itertools.count(1)
        self._package_path: str | None = None
        self._model: ModelLoaded | None = None
        self._started: Started | None = None
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def device(self) -> str | None:
        """The device that the worker said it uses."""
        return self._started.device if self._started is not None else None

    def configure(self, settings: WorkerSettings) -> None:
        """Have the next request served by a worker with these settings; from any thread. What runs ends as it began."""
        self._wanted = settings

    def start(self, context: Context = NULL_CONTEXT) -> Started:
        """Start the worker if there is none with the wanted settings, and wait until torch is loaded.

        Raises
        ------
        InferenceError
            If the worker ends before it is ready.
        Cancelled
            If the context is cancelled; the worker keeps loading.
        """
        if self._settings != self._wanted:
            self.stop()
            self._settings = self._wanted
        if self._process is None or _has_ended(self._process):
            self._discard()
            self._spawn()
        while self._started is None:
            reply = self._next_reply(context)
            if isinstance(reply, Started):
                self._started = reply
                self._on_started(reply)
            elif isinstance(reply, Failed):
                self._discard()
                raise _failure(reply)
        return self._started

    def load_model(self, package_path: str, context: Context = NULL_CONTEXT) -> ModelLoaded:
        """Make the worker keep this package warm; at once if it already does.

        Raises
        ------
        PackageError
            If the package is refused.
        InferenceError
            If the worker crashes or cannot take it.
        """
        self.start(context)
        if self._model is None or self._package_path != package_path:
            self._model, self._package_path = None, None
            request = LoadModel(next(self._requests), package_path)
            self._model = self._ask(request, context)
            self._package_path = package_path
        return self._model

    def analyse(self, item: AnalysisInput, package_path: str, context: Context = NULL_CONTEXT) -> Analysis:
        """Prepare and classify a volume.

        Raises
        ------
        InferenceError
            If the worker crashed (``compute.crashed``), or went on for 5 s after a cancel (``compute.stuck``).
        HeadCTError
            Whatever the engine refuses.
        Cancelled
            If the context was cancelled and the worker stopped.
        """
        self.load_model(package_path, context)
        context.raise_if_cancelled()
        with SharedVolume(item.volume) as shared:
            request = Analyse(next(self._requests), _shared_series(item, shared.name))
            answer: Analysis = self._ask(request, context)
        return answer

    def explain(
        self,
        item: AnalysisInput,
        package_path: str,
        finding_key: str,
        slice_index: int,
        wanted: SliceMapRequest | None,
        context: Context = NULL_CONTEXT,
    ) -> tuple[SliceMap, ...]:
        """Compute one map of a finding on a prepared slice, or (`wanted` None) those of the frozen path and experts.

        Raises as `analyse` does.
        """
        self.load_model(package_path, context)
        context.raise_if_cancelled()
        with SharedVolume(item.volume) as shared:
            series = _shared_series(item, shared.name)
            answer: Explained = self._ask(
                Explain(next(self._requests), series, finding_key, slice_index, wanted), context
            )
        return answer.maps

    def convert_backbone(self, conversion: BackboneFile, context: Context = NULL_CONTEXT) -> BackboneStored:
        """Convert a published checkpoint into the user's folder of backbones.

        Raises
        ------
        PackageError
            If the file is refused, or the folder cannot be written.
        InferenceError
            If the worker crashed.
        Cancelled
            If the context was cancelled; nothing is left behind.
        """
        self.start(context)
        request = ConvertBackbone(
            next(self._requests),
            str(conversion.file),
            conversion.name,
            None if conversion.config_file is None else str(conversion.config_file),
            conversion.licence,
            conversion.origin,
            conversion.pooled,
        )
        answer: BackboneStored = self._ask(request, context)
        return answer

    def abort(self) -> None:
        """Kill the worker, from any thread: the request that runs, if one does, ends with ``compute.crashed``."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the worker and wait for it; killed if it does not end by itself."""
        process, connection = self._process, self._connection
        if process is None or connection is None:
            return
        self._process = None
        try:
            connection.send(Shutdown())
        except OSError:
            process.kill()
        process.join(SHUTDOWN_PATIENCE_S)
        _end(process)
        self._discard()

    def _spawn(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process: SpawnProcess = context.Process(
            target=_run_politely, args=(self._target, theirs, self._settings), name="head-ct-compute", daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        threading.Thread(target=self._watch, args=(process,), name="compute-watch", daemon=True).start()

    def _watch(self, process: BaseProcess) -> None:
        wait([process.sentinel])
        # One that never came up is not started over and over: the job that started it reports why.
        if self._process is process and self._started is not None and self._on_died is not None:
            self._on_died()

    def _discard(self) -> None:
        """Forget the worker, and make sure that it is gone."""
        process, connection = self._process, self._connection
        self._process = self._connection = self._started = self._model = self._package_path = None
        if connection is not None:
            connection.close()
        if process is not None:
            _end(process)

    def _ask(self, request: Question, context: Context) -> Any:
        """Send a request and wait for its answer; the model's or the analysis' own error is raised."""
        try:
            self._send(request)
            return self._answer(request.request_id, context)
        except _Gone as error:
            raise self._crashed() from error

    def _send(self, message: Question | Cancel) -> None:
        if self._connection is None:
            raise _Gone
        try:
            self._connection.send(message)
        except OSError as error:
            raise _Gone from error

    def _answer(self, request_id: int, context: Context) -> Any:
        deadline: float | None = None
        while True:
            if deadline is None and _is_cancelled(context):
                self._send(Cancel(request_id))
                deadline = time.monotonic() + self._cancel_patience_s
            if deadline is not None and time.monotonic() > deadline:
                raise self._stuck()
            reply = self._receive(POLL_S)
            if reply is None or getattr(reply, "request_id", request_id) != request_id:
                continue
            if isinstance(reply, Progressed):
                context.progress(reply.done, reply.total, reply.text)
            elif not isinstance(reply, Started):
                return _settle(reply)

    def _next_reply(self, context: Context) -> Reply | None:
        context.raise_if_cancelled()
        try:
            return self._receive(POLL_S)
        except _Gone as error:
            raise self._crashed() from error

    def _receive(self, timeout_s: float) -> Reply | None:
        connection, process = self._connection, self._process
        if connection is None or process is None:
            raise _Gone
        try:
            if connection in wait([connection, process.sentinel], timeout_s):
                reply: Reply = connection.recv()
                return reply
        except (EOFError, OSError) as error:
            raise _Gone from error
        if _has_ended(process) and not connection.poll():
            raise _Gone
        return None

    def _crashed(self) -> InferenceError:
        process = self._process
        if process is not None:
            process.join(SHUTDOWN_PATIENCE_S)
        ending = f"exit code {process.exitcode}" if process is not None else "it is gone"
        self._discard()
        return InferenceError(
            f"The compute worker ended unexpectedly ({ending}); the running analysis is lost, all else is kept.",
            hint="A new worker is started. Analyse again; if it happens again, set the device to cpu.",
            code="compute.crashed",
            kind="environment",
        )

    def _stuck(self) -> InferenceError:
        self._discard()
        return InferenceError(
            f"The compute worker did not stop within {self._cancel_patience_s:g} s and was replaced; "
            "the running analysis is lost, all else is kept.",
            hint="Analyse again.",
            code="compute.stuck",
            kind="environment",
        )


def _run_politely(target: Target, connection: Connection, settings: WorkerSettings) -> None:
    """In the worker: leave the processor to the window first, then do the work."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    target(connection, settings)


class _Gone(Exception):
    """The worker is not there any more."""


def _settle(reply: Reply) -> Any:
    if isinstance(reply, Succeeded):
        return reply.analysis
    if isinstance(reply, Failed):
        raise _failure(reply)
    if isinstance(reply, WasCancelled):
        raise Cancelled
    return reply


def _failure(reply: Failed) -> HeadCTError:
    error = reply.error
    if reply.report:
        error.__cause__ = ReportedElsewhere(reply.report)
    return error


def _is_cancelled(context: Context) -> bool:
    try:
        context.raise_if_cancelled()
    except Cancelled:
        return True
    return False


def _has_ended(process: BaseProcess) -> bool:
    """Ask the sentinel, which knows at once; `is_alive` may still say yes shortly after a kill."""
    return bool(wait([process.sentinel], 0))


def _end(process: BaseProcess) -> None:
    """Leave no process and no zombie."""
    if process.is_alive():
        process.kill()
    process.join()


def _shared_series(item: AnalysisInput, shared_memory_name: str) -> SharedSeries:
    volume = item.volume
    return SharedSeries(
        shared_memory_name=shared_memory_name,
        shape=volume.voxels.shape,
        dtype=volume.voxels.dtype.name,
        geometry=volume.require_geometry(),
        padding_value=volume.padding_value,
        sop_instance_uids=volume.sop_instance_uids,
        study_instance_uid=item.study_instance_uid,
        series_instance_uid=item.series_instance_uid,
        read_s=item.read_s,
        warnings=item.warnings,
    )
