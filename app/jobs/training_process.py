"""The window's side of the trainer: a process of its own that reads a request file and writes typed events.

`run_trainer` waits, so it runs on the ``training`` lane. Stopping is asked for on the trainer's stdin, which also
closes when the window goes, however it goes; a trainer that has not ended 30 s later is killed.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from app.errors import ReportedElsewhere
from engine.errors import TrainingError, report_lines_of
from engine.progress import NULL_CONTEXT, Context
from engine.progress import Cancelled as JobCancelled
from trainer.protocol import STOP_LINE, Cancelled, Event, Failed, Finished, Progressed, read_event

STOP_PATIENCE_S = 30.0
END_PATIENCE_S = 5.0
POLL_S = 0.1
REPORT_LINES = 40
INTERNAL = "internal"


def trainer_command(request_file: Path) -> list[str]:
    """Return the command line of the trainer; the request itself stays in its file."""
    main = Path(__file__).resolve().parents[2] / "main.py"
    return [sys.executable, str(main), "--worker", "trainer", str(request_file)]


def run_trainer(
    command: Sequence[str],
    on_event: Callable[[Event], None],
    context: Context = NULL_CONTEXT,
    stop_patience_s: float = STOP_PATIENCE_S,
) -> Finished:
    """Run the trainer to its end.

    Parameters
    ----------
    command
        See `trainer_command`.
    on_event
        Called with each event on the calling thread.
    stop_patience_s
        How long a cancelled run may take to write its checkpoint.

    Raises
    ------
    TrainingError
        If the run failed, ended without a result, or spoke another protocol.
    Cancelled
        If the context was cancelled; the run has stopped.
    """
    with tempfile.TemporaryFile() as stderr:
        process = _start(command, stderr)
        try:
            last = _follow(process, on_event, context, stop_patience_s)
        except BaseException:
            process.kill()  # Nobody listens to it any more.
            raise
        finally:
            _end(process)
        if isinstance(last, Finished):
            return last
        if isinstance(last, Failed):
            raise _failure(last, stderr)
        context.raise_if_cancelled()
        if isinstance(last, Cancelled):
            raise JobCancelled
        raise _ended_without_result(process.returncode, stderr)


def _start(command: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, encoding="utf-8"
        )
    except OSError as error:
        raise TrainingError(
            f"The trainer's process cannot be started: {error.strerror}.",
            hint="Free some memory and start the training again.",
            code="training.start",
            kind="environment",
        ) from error


def _follow(
    process: subprocess.Popen[str], on_event: Callable[[Event], None], context: Context, stop_patience_s: float
) -> Event | None:
    """Hand on events until the trainer's stdout ends; the last event."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(process, lines), name="trainer-reader", daemon=True).start()
    deadline: float | None = None
    last: Event | None = None
    while True:
        if deadline is None and _is_cancelled(context):
            _ask_to_stop(process)
            deadline = time.monotonic() + stop_patience_s
        if deadline is not None and time.monotonic() > deadline:
            process.kill()
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return last
        last = read_event(line)
        if isinstance(last, Progressed):
            context.progress(last.done, last.total, last.text)
        on_event(last)


def _read_lines(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    if process.stdout is not None:
        for line in process.stdout:
            if line.strip():
                lines.put(line)
    lines.put(None)


def _ask_to_stop(process: subprocess.Popen[str]) -> None:
    try:
        if process.stdin is not None:
            process.stdin.write(f"{STOP_LINE}\n")
            process.stdin.flush()
    except BrokenPipeError:
        return  # It has ended by itself in this moment; its last event tells how.


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no process, no zombie and no open pipe. The end of its stdin asks a trainer that still runs to stop."""
    if process.stdin is not None:
        # A stop may be unflushed for a process that is gone: the pipe is closed all the same.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(timeout=END_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _is_cancelled(context: Context) -> bool:
    try:
        context.raise_if_cancelled()
    except JobCancelled:
        return True
    return False


def _failure(last: Failed, stderr: IO[bytes]) -> TrainingError:
    error = TrainingError(last.message, hint=last.hint, code=last.code, kind=last.kind)
    if last.code == INTERNAL:
        error.__cause__ = ReportedElsewhere(_report(stderr))
    return error


def _report(stderr: IO[bytes]) -> str:
    """Return the trainer's own report; whatever else it or a library printed may quote a value."""
    stderr.seek(0)
    lines = report_lines_of(stderr.read().decode("utf-8", errors="replace")).splitlines()
    return "\n".join(lines[-REPORT_LINES:])


def _ended_without_result(returncode: int, stderr: IO[bytes]) -> TrainingError:
    error = TrainingError(
        f"The trainer ended without a result (exit code {returncode}); the active model is unchanged.",
        hint="Start the training again; the features computed so far are reused.",
        code="training.ended",
        kind="environment",
    )
    error.__cause__ = ReportedElsewhere(f"Exit code: {returncode}\n{_report(stderr)}".rstrip())
    return error
