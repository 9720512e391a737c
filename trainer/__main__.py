"""The trainer as a program: a request file for the window, two functions for the command line.

``python -m trainer REQUEST.json`` speaks `trainer.protocol` on stdout and hears ``stop`` on stdin. Exit codes:
0 finished or cancelled, 1 a bug, 2 usage, 3 bad input, 4 out of scope, 5 environment.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from engine.errors import ErrorKind, HeadCTError, traceback_without_values
from engine.inference.threads import wait_passively
from engine.progress import NULL_CONTEXT, CancelToken, Context
from engine.progress import Cancelled as RunCancelled
from trainer.config import RetrainConfig, TrainConfig
from trainer.protocol import (
    STOP_LINE,
    Cancelled,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Progressed,
    Request,
    RetrainRequest,
    Started,
    read_request,
    write_event,
)

EXIT_CODES: Mapping[ErrorKind, int] = {"input": 3, "scope": 4, "environment": 5}
PROGRESS_INTERVAL_S = 0.1
CHECKPOINT_NAME = "checkpoint.safetensors"
NICENESS = 10


class EventStream:
    """Writes events; the one place that writes to the real stdout. Once nobody reads, it asks the run to stop."""

    def __init__(self, stream: TextIO, token: CancelToken) -> None:
        self._stream = stream
        self._token = token
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one event as one line."""
        with self._lock:
            try:
                self._stream.write(write_event(event) + "\n")
                self._stream.flush()
            except BrokenPipeError:
                self._token.cancel()


class WorkerContext:
    """Turns progress into events, at most ten a second, and the stop line into cancellation."""

    def __init__(self, emit: EventStream, token: CancelToken) -> None:
        self._emit = emit
        self._token = token
        self._last_s = -PROGRESS_INTERVAL_S

    def progress(self, done: int, total: int, text: str) -> None:
        """Emit `Progressed`, unless the last one is too fresh; the last step is always told."""
        now_s = time.monotonic()
        if done == total or now_s - self._last_s >= PROGRESS_INTERVAL_S:
            self._last_s = now_s
            self._emit(Progressed(done=done, total=total, text=text))

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` after the stop line, or once the parent has gone."""
        self._token.raise_if_cancelled()


def worker_main(request_file: str | Path) -> int:
    """Do what a request file asks; return the exit code. Takes stdout for events and stdin for the stop line."""
    wait_passively()
    token = CancelToken()
    emit = EventStream(_claim_stdout(), token)
    threading.Thread(target=_watch_stdin, args=(token,), daemon=True, name="stop-watch").start()
    out: Path | None = None
    try:
        request = read_request(Path(request_file))
        out = Path(request.out)
        emit(Started(kind=request.kind, pid=os.getpid(), device="cpu"))
        _make_way()
        emit(_run(request, emit, WorkerContext(emit, token)))
    except RunCancelled:
        checkpoint = out / CHECKPOINT_NAME if out else None
        emit(Cancelled(checkpoint_path=str(checkpoint) if checkpoint and checkpoint.exists() else None))
    except HeadCTError as error:
        emit(Failed(code=error.code, message=error.message, hint=error.hint, kind=error.kind))
        return EXIT_CODES[error.kind]
    except Exception as error:  # noqa: BLE001 - the last resort: a bug must still end as `Failed`
        emit(_report_bug(error))
        return 1
    return 0


def _run(request: Request, emit: EventStream, context: Context) -> Finished:
    if isinstance(request, RetrainRequest):
        from trainer.retrain import run_retraining

        return run_retraining(request, emit, context)
    config = TrainConfig.from_toml(Path(request.config_path))
    from trainer.training import run_training

    backbones = None if request.backbones is None else Path(request.backbones)
    return run_training(config, Path(request.out), emit, context, backbones)


def train_command(
    config_path: Path,
    out: Path,
    context: Context = NULL_CONTEXT,
    backbones: Path | None = None,
    resume: bool = False,
) -> Finished:
    """Train in this process as a TOML file says; with `resume` only from a checkpoint of the same run in `out`.

    Raises
    ------
    HeadCTError
        If the configuration is invalid or the run cannot go on.
    Cancelled
        If the context was cancelled; a second call with the same arguments goes on from there.
    """
    wait_passively()
    config = TrainConfig.from_toml(config_path)
    from trainer.training import run_training

    return run_training(config, out, _epochs_as_progress(context), context, backbones, resume)


def retrain_command(
    store: str,
    base: Path,
    out: Path,
    reference_cohort: Path,
    context: Context = NULL_CONTEXT,
    *,
    config: RetrainConfig = RetrainConfig(),
    seed: int = 1,
    backbones: Path | None = None,
    cohorts: Sequence[Path] = (),
) -> Finished:
    """Retrain in this process from the feedback of a store, but for the test parts of `cohorts`.

    Raises
    ------
    HeadCTError
        If there is no feedback, a part is missing or damaged, or the run cannot go on.
    Cancelled
        If the context was cancelled.
    """
    wait_passively()
    from trainer.retrain import run_retraining

    request = RetrainRequest(
        store=store,
        base_package=str(base),
        reference_cohort=str(reference_cohort),
        out=str(out),
        config=config,
        seed=seed,
        backbones=None if backbones is None else str(backbones),
        cohorts=tuple(map(str, cohorts)),
    )
    return run_retraining(request, _epochs_as_progress(context), context)


def _epochs_as_progress(context: Context) -> Callable[[Event], None]:
    """Tell a context of epochs as progress."""

    def tell(event: Event) -> None:
        if isinstance(event, EpochEnded):
            auc = "" if event.validation_auc is None else f", validation mean AUC {event.validation_auc:.3f}"
            text = f"Epoch {event.epoch}: loss {event.train_loss:.4f} / {event.validation_loss:.4f}{auc}"
            context.progress(event.epoch, event.max_epochs, text)

    return tell


def _claim_stdout() -> TextIO:
    """Keep the real stdout for events; whatever else prints, libraries included, goes to stderr from now on."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return events


def _watch_stdin(token: CancelToken) -> None:
    """Cancel on the stop line and on the end of stdin: the parent has gone, or wants nothing more."""
    for line in sys.stdin:
        if line.strip() == STOP_LINE:
            break
    token.cancel()


def _make_way() -> None:
    """Leave the processor to the window first."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)


def _report_bug(error: Exception) -> Failed:
    """Report where it happened; not the error's text, which may quote a value."""
    print(traceback_without_values(error), file=sys.stderr, flush=True)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Failed(
        code="internal",
        message=f"The trainer met a bug: {type(error).__name__} in {Path(last.filename).name}, line {last.lineno}.",
        hint="The active model is unchanged. Report this with the trainer's log.",
        kind="environment",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the request file that is named; the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m trainer REQUEST.json", file=sys.stderr)
        return 2
    return worker_main(arguments[0])


if __name__ == "__main__":
    sys.exit(main())
