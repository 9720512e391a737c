"""The job runner: long work off the GUI thread, results back on it.

Every job ends in exactly one of succeeded, failed and cancelled, whatever its operation raises. A job may carry a key;
a newer job of the same key cancels the older one, whose result is then never applied.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from PySide6.QtCore import QElapsedTimer, QObject, Signal

from app.jobs.gui_thread import GuiThread
from app.jobs.lanes import Lane
from app.logs import log_error
from engine.errors import HeadCTError
from engine.progress import Cancelled, CancelToken, Context

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Operation = Callable[[Context], Any]

SHOW_AFTER_MS = 600
PROGRESS_INTERVAL_MS = 100
SHUTDOWN_WAIT_S = 10.0


@dataclass(frozen=True)
class JobStatus:
    """How a job stands; `total` 0 means that the end is not known."""

    id: int
    title: str
    text: str = ""
    done: int = 0
    total: int = 0
    state: JobState = "queued"
    cancellable: bool = True

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass
class Job:
    """One run of an operation. All but `token`, `error` and the pending progress belongs to the GUI thread."""

    status: JobStatus
    lane: str
    key: str | None
    generation: int
    operation: Operation
    on_succeeded: Callable[[Any], None] | None
    on_failed: Callable[[BaseException], None] | None
    on_cancelled: Callable[[], None] | None
    token: CancelToken = field(default_factory=CancelToken)
    error: BaseException | None = None
    shown: bool = False
    flush_posted: bool = False
    pending: tuple[int, int, str] | None = None
    flushed_at_ms: int = -PROGRESS_INTERVAL_MS

    @property
    def id(self) -> int:
        """The number by which a view cancels the job."""
        return self.status.id


class JobContext:
    """What an operation sees of its job."""

    def __init__(self, runner: JobRunner, job: Job) -> None:
        self._runner = runner
        self._job = job

    def progress(self, done: int, total: int, text: str) -> None:
        """Report; many reports between two looks of the window become one, the latest."""
        # Written before the flag is asked, and asked after it is cleared: the latest report is never left behind.
        self._job.pending = (done, total, text)
        if not self._job.flush_posted:
            self._job.flush_posted = True
            self._runner.gui.post(lambda: self._runner.take_progress(self._job))

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` once the job was cancelled or replaced."""
        self._job.token.raise_if_cancelled()


class JobRunner(QObject):
    """Runs operations on lanes.

    Signals
    -------
    job_changed
        A `JobStatus`, on the GUI thread: first when a job has run for 600 ms, then at most ten times a second, and once
        at its end. Jobs that end sooner never show.
    idle
        The last job has ended.
    """

    job_changed = Signal(object)
    idle = Signal()

    def __init__(self, lanes: dict[str, int], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.gui = GuiThread(self)
        self._lanes = {name: Lane(name, workers) for name, workers in lanes.items()}
        self._ids = itertools.count(1)
        self._generations: dict[str, int] = {}
        self._jobs: dict[int, Job] = {}
        self._clock = QElapsedTimer()
        self._clock.start()

    def submit(
        self,
        operation: Operation,
        *,
        lane: str,
        title: str,
        key: str | None = None,
        cancellable: bool = True,
        on_succeeded: Callable[[Any], None] | None = None,
        on_failed: Callable[[BaseException], None] | None = None,
        on_cancelled: Callable[[], None] | None = None,
    ) -> Job:
        """Queue an operation; call on the GUI thread, where exactly one of the three callbacks comes back.

        Parameters
        ----------
        operation
            Called with the job's context on a thread of the lane.
        key
            Cancels and replaces the earlier job of this key.
        """
        generation = self._next_generation(key)
        status = JobStatus(next(self._ids), title, cancellable=cancellable)
        job = Job(status, lane, key, generation, operation, on_succeeded, on_failed, on_cancelled)
        self._jobs[job.id] = job
        if not self._lanes[lane].submit(lambda: self._run(job)):
            self.gui.post(lambda: self._end(job, "cancelled", None))
        return job

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop; one that has ended or cannot stop goes on as it is."""
        job = self._jobs.get(job_id)
        if job is not None and job.status.cancellable:
            job.token.cancel()

    @property
    def running(self) -> tuple[JobStatus, ...]:
        """The jobs that have not ended."""
        return tuple(job.status for job in self._jobs.values())

    def shutdown(self, timeout_s: float = SHUTDOWN_WAIT_S) -> bool:
        """Cancel what can be cancelled, let the rest finish, end the threads; whether all ended in time.

        No callback comes after this. What failed without anybody having been told is noted in the log and on stderr.

        Parameters
        ----------
        timeout_s
            For all lanes together.
        """
        for job in self._jobs.values():
            if job.status.cancellable:
                job.token.cancel()
        self.gui.close()
        for lane in self._lanes.values():
            lane.close()
        deadline_s = time.monotonic() + timeout_s
        ended = [lane.join(deadline_s) for lane in self._lanes.values()]
        for job in self._jobs.values():
            # A job that was told to stop may fail on the way: its worker is killed under it.
            if job.error is not None and not (job.status.cancellable and job.token.cancelled):
                _report_unseen(job.error)
        self._jobs.clear()
        return all(ended)

    def take_progress(self, job: Job) -> None:
        """Show a job's latest report now, or as soon as 100 ms have passed since the one before."""
        wait_ms = job.flushed_at_ms + PROGRESS_INTERVAL_MS - self._clock.elapsed()
        if wait_ms > 0:
            self.gui.later(wait_ms, lambda: self._flush(job))
        else:
            self._flush(job)

    def _next_generation(self, key: str | None) -> int:
        if key is None:
            return 0
        generation = self._generations.get(key, 0) + 1
        self._generations[key] = generation
        for older in self._jobs.values():
            if older.key == key:
                older.token.cancel()
        return generation

    def _run(self, job: Job) -> None:
        """On the lane's thread: run the operation and post its one end."""
        result: Any = None
        error: BaseException | None = None
        try:
            job.token.raise_if_cancelled()
            self.gui.post(lambda: self._began(job))
            result = job.operation(JobContext(self, job))
            outcome: JobState = "succeeded"
        except Cancelled:
            outcome = "cancelled"
        except BaseException as caught:  # noqa: BLE001 - the lane must live on and the job must end, whatever is raised
            outcome, error = "failed", caught
            job.error = caught
        payload = error if outcome == "failed" else result
        self.gui.post(lambda: self._end(job, outcome, payload))

    def _began(self, job: Job) -> None:
        job.status = replace(job.status, state="running")
        self.gui.later(SHOW_AFTER_MS, lambda: self._show(job))

    def _show(self, job: Job) -> None:
        if not job.status.ended:
            job.shown = True
            self.job_changed.emit(job.status)

    def _flush(self, job: Job) -> None:
        job.flush_posted = False
        if job.pending is None or job.status.ended:
            return
        done, total, text = job.pending
        job.pending = None
        job.flushed_at_ms = self._clock.elapsed()
        job.status = replace(job.status, done=done, total=total, text=text)
        if job.shown:
            self.job_changed.emit(job.status)

    def _end(self, job: Job, outcome: JobState, payload: Any) -> None:
        stale = outcome == "succeeded" and self._is_stale(job)
        job.status = replace(job.status, state="cancelled" if stale else outcome)
        self._jobs.pop(job.id, None)
        if job.shown:
            self.job_changed.emit(job.status)
        try:
            _deliver(job, payload)
        finally:
            if not self._jobs:
                self.idle.emit()

    def _is_stale(self, job: Job) -> bool:
        return job.key is not None and job.generation != self._generations[job.key]


def _report_unseen(error: BaseException) -> None:
    """Note the failure of a job whose end the window no longer takes; by code or type only, without patient data."""
    log_error(error)
    if sys.stderr is not None:
        name = error.code if isinstance(error, HeadCTError) else type(error).__name__
        sys.stderr.write(f"closing: a step failed and may not have been saved [{name}]\n")


def _deliver(job: Job, payload: Any) -> None:
    if job.status.state == "succeeded" and job.on_succeeded is not None:
        job.on_succeeded(payload)
    elif job.status.state == "failed" and job.on_failed is not None:
        job.on_failed(payload)
    elif job.status.state == "cancelled" and job.on_cancelled is not None:
        job.on_cancelled()
