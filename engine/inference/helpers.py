"""Helper processes: gone with their parent, deaf to Ctrl+C, and replaced when one of them dies. No torch here.

A damaged file can bring down the native code that decodes it. In a process of its own it takes nothing else along: the
job is tried once more alone, and if that process dies too, the job has failed and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from engine.errors import InferenceError
from engine.progress import NULL_CONTEXT, Context

T = TypeVar("T")
_POLL_S = 0.2

_NICENESS = 10
"""How far helpers stand back. The threads of a forward wait for one another, so that a helper beside them on one core
holds up all; standing back, helpers take the cores that are free, and all of them while the forward waits for them."""


def end_with_parent() -> None:
    """Watch the parent process from a thread, and end this process when it is gone, however that ended."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _start() -> None:
    # Ctrl+C reaches every process of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    end_with_parent()


class Job(Generic[T]):
    """Something that a helper was asked to do; ask its `Helpers` for the result."""

    def __init__(self, work: Callable[..., T], arguments: tuple[Any, ...]) -> None:
        self.work = work
        self.arguments = arguments
        self.future: Future[T] | None = None


class Helpers:
    """A few processes that work ahead; safe to use from several threads.

    Parameters
    ----------
    n_processes
        How many work at once.
    """

    def __init__(self, n_processes: int) -> None:
        self.n_processes = n_processes
        self._lock = threading.Lock()
        self._pool = _pool(n_processes)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Job[T]:
        """Begin a job; `work` is a function of a module, and everything is pickled."""
        job = Job(work, arguments)
        with self._lock:
            try:
                job.future = self._pool.submit(work, *arguments)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = _pool(self.n_processes)
                job.future = self._pool.submit(work, *arguments)
        return job

    def result(self, job: Job[T], context: Context = NULL_CONTEXT) -> T:
        """Wait for a job and return what it returned, or raise what it raised.

        Raises
        ------
        InferenceError
            Of kind ``environment``, if the process died of this job.
        Cancelled
            If the context says so; the job goes on in vain.
        """
        assert job.future is not None
        try:
            return _await(job.future, context)
        except BrokenProcessPool:
            return self._alone(job, context)

    def close(self) -> None:
        """End the processes; jobs that have not begun never will."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _alone(self, job: Job[T], context: Context) -> T:
        """Do again what was under way when a process died; only the job that killed it dies a second time."""
        with _pool(1) as pool:
            try:
                return _await(pool.submit(job.work, *job.arguments), context)
            except BrokenProcessPool as error:
                raise InferenceError(
                    "The process that read and prepared it ended unexpectedly, twice: a damaged file, or too little "
                    "memory.",
                    hint="Run it again alone; if it ends the same way, leave the study out.",
                    code="inference.helper_lost",
                    kind="environment",
                ) from error


def _pool(n_processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start)


def _await(future: Future[T], context: Context) -> T:
    while not wait([future], timeout=_POLL_S).done:
        context.raise_if_cancelled()
    return future.result()
