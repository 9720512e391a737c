"""The folder of a batch: results and failures as JSON Lines that survive a kill, and what they say has been done.

``results.jsonl`` has one line a series: what ``infer --out`` writes, and ``source``. ``failures.jsonl`` has one line a
study, series or file without a result. ``portions.jsonl`` lists what of the tree is through, so that another run need
not open it. Each line is one write, synced; half a line, left by a kill, is cut off when the folder is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.analysis import RESEARCH_NOTICE, ModelIdentity
from engine.errors import ExportError
from engine.export.atomic import replacing, write_json_atomic
from engine.inference.batch_plan import Analysed, Failure, Finished, PortionDone
from engine.store.presence import Presence

RESULTS_FILE = "results.jsonl"
FAILURES_FILE = "failures.jsonl"
PORTIONS_FILE = "portions.jsonl"
RUN_FILE = "run.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunIdentity:
    """What must be the same whenever a folder is written to: the model, and whether all series are taken."""

    model: ModelIdentity
    all_series: bool

    def document(self) -> dict[str, Any]:
        """Return what ``run.json`` says."""
        return {
            "schema_version": SCHEMA_VERSION,
            "notice": RESEARCH_NOTICE,
            "model": asdict(self.model),
            "all_series": self.all_series,
        }


class BatchResults:
    """An open folder of results; one process at a time.

    Parameters
    ----------
    folder
        Exists and can be written.
    run
        What the results are of.

    Attributes
    ----------
    finished
        What is done, as the files say.
    n_results, n_failures
        Lines that stand.
    n_defects
        Failures that stand for another reason than the classifier's scope.

    Raises
    ------
    ExportError
        If another process writes here, the folder belongs to another model or choice of series, or a file is damaged.
    """

    def __init__(self, folder: Path, run: RunIdentity) -> None:
        self.folder = folder
        self.finished = Finished()
        self.n_results = 0
        self.n_failures = 0
        self.n_defects = 0
        self._failures: set[tuple[str, str, str]] = set()
        self._presence = Presence(folder / RESULTS_FILE)
        if not self._presence.alone:
            self._presence.release()
            raise _busy(folder)
        try:
            _require_same_run(folder / RUN_FILE, run)
            self._read()
        except BaseException:
            self._presence.release()
            raise

    def close(self) -> None:
        """Let other processes in."""
        self._presence.release()

    def add_result(self, outcome: Analysed) -> None:
        """Append a result; it is on the disk when this returns. ExportError if it cannot be written."""
        analysis = outcome.analysis
        _append(self.folder / RESULTS_FILE, {"source": str(outcome.source), **analysis.to_json()})
        self.n_results += 1
        self._mark(analysis.study_instance_uid, analysis.series_instance_uid)

    def add_failure(self, failure: Failure) -> bool:
        """Append a failure, unless it is there already: then False. ExportError if it cannot be written."""
        if failure.identity in self._failures:
            return False
        _append(self.folder / FAILURES_FILE, asdict(failure))
        self._count_failure(failure)
        return True

    def add_portion(self, done: PortionDone) -> None:
        """Note that a portion is through, if nothing in it is to be tried again. ExportError if that fails."""
        if done.lasting and not done.known:
            line = {"place": str(done.portion.place), "signature": done.portion.signature}
            _append(self.folder / PORTIONS_FILE, line)

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield every result, in the order in which they came."""
        return _lines(self.folder / RESULTS_FILE)

    def _read(self) -> None:
        for name in (RESULTS_FILE, FAILURES_FILE, PORTIONS_FILE):
            _cut_half_line(self.folder / name)
        for line in self.results():
            self.n_results += 1
            self._mark(line["study_instance_uid"], line["series_instance_uid"])
        for line in self._standing_failures():
            self._count_failure(Failure(**line))
        self.finished.portions = {line["place"]: line["signature"] for line in _lines(self.folder / PORTIONS_FILE)}

    def _standing_failures(self) -> list[dict[str, Any]]:
        """Return failures that another run would meet again; those that it may not are taken out of the file."""
        path = self.folder / FAILURES_FILE
        lines = list(_lines(path))
        standing = [line for line in lines if not Failure(**line).passing]
        if len(standing) < len(lines):
            with replacing(path) as stream:
                stream.writelines(_bytes(line) for line in standing)
        return standing

    def _count_failure(self, failure: Failure) -> None:
        self.n_failures += 1
        self.n_defects += failure.kind != "scope"
        self._failures.add(failure.identity)
        if not failure.passing:
            self._mark(failure.study_instance_uid, failure.series_instance_uid)

    def _mark(self, study_uid: str, series_uid: str) -> None:
        self.finished.studies.update({study_uid} - {""})
        self.finished.series.update({series_uid} - {""})


def _bytes(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    # A path may hold bytes that are no UTF-8; a line must be.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode("utf-8") + b"\n"


def _append(path: Path, document: dict[str, Any]) -> None:
    """Append one line in one write, and wait until the disk has it."""
    try:
        content = _bytes(document)
        with path.open("ab", buffering=0) as stream:
            _write_whole(stream, content)
            os.fsync(stream.fileno())
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{path} cannot be written ({getattr(error, 'strerror', None) or type(error).__name__}); what was written "
            "before it stays.",
            hint="Free some space or correct the permissions, and run the same command again: it goes on from here.",
            code="batch.cannot_write",
            kind="environment",
        ) from error


def _write_whole(stream: Any, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += stream.write(content[written:])


def _cut_half_line(path: Path) -> None:
    """Remove what follows the last line's end."""
    if not path.exists():
        return

    def cut(stream: BinaryIO) -> None:
        end = stream.seek(0, os.SEEK_END)
        kept = _end_of_last_line(stream, end)
        if kept < end:
            stream.truncate(kept)
            os.fsync(stream.fileno())

    _with_file(path, cut)


def _end_of_last_line(stream: BinaryIO, end: int) -> int:
    block = 1 << 16
    while end > 0:
        start = max(0, end - block)
        stream.seek(start)
        found = stream.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _with_file(path: Path, work: Callable[[BinaryIO], None]) -> None:
    try:
        with path.open("r+b") as stream:
            work(stream)
    except OSError as error:
        raise _damaged(path, error.strerror or type(error).__name__) from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                document = json.loads(line)
            except ValueError as error:
                raise _damaged(path, f"line {number} is no JSON") from error
            if not isinstance(document, dict):
                raise _damaged(path, f"line {number} is no object")
            yield document


def _require_same_run(path: Path, run: RunIdentity) -> None:
    if not path.exists():
        write_json_atomic(path, run.document())
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        same = (before["model"]["digest"], before["all_series"]) == (run.model.digest, run.all_series)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "it is no description of a run") from error
    if not same:
        raise ExportError(
            f"{path.parent} holds results of another run: model {before['model'].get('name', '')} "
            f"({str(before['model']['digest'])[:12]}…), all series: {before['all_series']}. Nothing was written.",
            hint="Choose another folder for the results, or the same model and choice of series as before.",
            code="batch.other_run",
        )


def _busy(folder: Path) -> ExportError:
    return ExportError(
        f"Another process writes results to {folder}, or its file system has no locks. Nothing was written.",
        hint="Wait for the other one, or choose another folder on a local disk.",
        code="batch.busy",
        kind="environment",
    )


def _damaged(path: Path, reason: str) -> ExportError:
    return ExportError(
        f"{path} cannot be used to go on from: {reason}. Nothing was changed.",
        hint="Choose another folder for the results, or correct the file.",
        code="batch.damaged",
    )
