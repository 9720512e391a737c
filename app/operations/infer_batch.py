"""Classify a tree of studies into a folder of results; goes on where an earlier run was stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.operations.run_inference import Device
from engine.dicom.walk import count_files
from engine.errors import InferenceError
from engine.export.batch_results import BatchResults, RunIdentity
from engine.findings.catalogue import Catalogue
from engine.inference.array_cache import ArrayCache
from engine.inference.batch import run_batch
from engine.inference.batch_plan import Analysed, BatchPlan, Failure, Outcome
from engine.inference.compute import AUTOMATIC, Computing
from engine.inference.helpers import Helpers
from engine.progress import NULL_CONTEXT, Cancelled, CancelOnly, CancelToken, Context

if TYPE_CHECKING:
    from engine.analysis import Analysis
    from engine.inference.predictor import Predictor
    from engine.models.backbones.registry import BackboneRegistry

MOST_HELPERS = 8
MOST_PASSING_IN_A_ROW = 20
ESTIMATE_FROM = 3


@dataclass(frozen=True)
class BatchRequest:
    """What to classify, with what, and where the results go.

    Attributes
    ----------
    tree
        A folder of studies, at any depth.
    out_dir
        Exists; see `engine.export.batch_results`.
    package_path, registry
        The model, and where its backbone is found; None means the bundled ones.
    all_series
        Every analysable series rather than the best of each study.
    parquet
        Whether to write the table as well.
    n_helpers
        Processes that read and prepare; None decides by device and cores.
    cache_folder, cache_limit_bytes
        Where prepared volumes and features are kept, up to how much; None keeps none.
    how
        Precision of the backbone, and its runtime on a CPU.
    """

    tree: Path
    out_dir: Path
    package_path: Path
    device: Device
    registry: BackboneRegistry | None = None
    all_series: bool = False
    parquet: bool = True
    n_helpers: int | None = None
    cache_folder: Path | None = None
    cache_limit_bytes: int = 0
    how: Computing = AUTOMATIC


@dataclass(frozen=True)
class BatchSummary:
    """How a run ended.

    Attributes
    ----------
    n_new, n_slices
        Series classified by this run, and their prepared slices.
    n_results, n_defects
        All series in the folder, with those of earlier runs, and all that have no result for another reason than their
        scope.
    n_failed, n_out_of_scope, n_passing
        What this run met without a result: damaged or defective; valid but not the classifier's; and those of the
        failed ones that another run tries again, because the machine or the program was at fault.
    n_standing_failures
        Failures of earlier runs that this one did not try again.
    n_ignored
        Files that are no pictures.
    seconds
        Of this run, loading the model apart.
    stopped
        Whether it was asked to stop before the end.
    notice
        What must be said with the model's numbers.
    """

    n_new: int = 0
    n_slices: int = 0
    n_results: int = 0
    n_defects: int = 0
    n_failed: int = 0
    n_out_of_scope: int = 0
    n_passing: int = 0
    n_standing_failures: int = 0
    n_ignored: int = 0
    seconds: float = 0.0
    stopped: bool = False
    notice: str = ""


def infer_batch(request: BatchRequest, catalogue: Catalogue, context: Context = NULL_CONTEXT) -> BatchSummary:
    """Classify every study of a tree that has no result yet.

    A study that fails is written to ``failures.jsonl`` and the run goes on. Asked to stop, it ends orderly: the summary
    says so, every result is on the disk, and the table is written.

    Raises
    ------
    PackageError, InferenceError
        If the model or the device cannot be used, or one study after the other fails because of the machine.
    ExportError
        If results cannot be written, or the folder holds those of another run.
    """
    from engine.inference.predictor import Predictor

    folder = request.cache_folder
    cache = None if folder is None else ArrayCache(folder, request.cache_limit_bytes)
    predictor = Predictor.open(request.package_path, catalogue, request.device, request.registry, cache, request.how)
    results = BatchResults(request.out_dir, RunIdentity(predictor.identity, request.all_series))
    try:
        tally = _Tally(results.n_failures, predictor.identity.notice)
        try:
            _run(request, predictor, results, tally, context)
        except Cancelled:
            tally.stopped = True
        if request.parquet:
            _write_table(results, predictor)
        return tally.summary(results)
    finally:
        results.close()


def helpers_for(device: str, n_cores: int) -> int:
    """Return how many helpers to start: on a CPU the backbone needs the cores itself.

    Two where there are two cores: preparing is nearly all on one thread, and with a fast backbone one helper would
    leave a core idle while the forward waits for it.
    """
    wanted = n_cores - 1 if device != "cpu" else max(min(2, n_cores), n_cores // 4)
    return max(1, min(MOST_HELPERS, wanted))


def _run(request: BatchRequest, predictor: Predictor, results: BatchResults, tally: _Tally, context: Context) -> None:
    n_helpers = request.n_helpers or helpers_for(predictor.device.type, _cores())
    plan = BatchPlan(
        tree=request.tree,
        spec=predictor.package.manifest.preprocessing,
        all_series=request.all_series,
        look_ahead=n_helpers + 1,
        cache_folder=request.cache_folder,
        cache_limit_bytes=request.cache_limit_bytes,
    )
    helpers = Helpers(n_helpers)
    try:
        with _counting(request.tree) as total:
            for outcome in run_batch(plan, predictor, helpers, results.finished, context):
                _keep(outcome, results, tally)
                context.progress(tally.n_done, 0, tally.text(total.n_files))
    finally:
        helpers.close()


def _keep(outcome: Outcome, results: BatchResults, tally: _Tally) -> None:
    if isinstance(outcome, Analysed):
        results.add_result(outcome)
    elif isinstance(outcome, Failure):
        if not results.add_failure(outcome):
            return
    else:
        results.add_portion(outcome)
    tally.count(outcome)


def _write_table(results: BatchResults, predictor: Predictor) -> None:
    from engine.export.batch_parquet import PARQUET_FILE, write_parquet

    keys = predictor.package.manifest.finding_keys
    write_parquet(results.folder / PARQUET_FILE, results.results(), keys, predictor.identity)


class _Tally:
    """Counts what happens, and says how far the run is."""

    def __init__(self, n_standing_failures: int, notice: str) -> None:
        self.stopped = False
        self._counts = BatchSummary(n_standing_failures=n_standing_failures, notice=notice)
        self._began = time.monotonic()
        self._files_new = 0
        self._files_known = 0
        self._passing_in_a_row = 0

    @property
    def n_done(self) -> int:
        """Steps so far, from one."""
        return 1 + self._counts.n_new + self._counts.n_failed + self._counts.n_out_of_scope

    def count(self, outcome: Outcome) -> None:
        """Add an outcome.

        Raises
        ------
        InferenceError
            If so many studies in a row failed through no fault of theirs that the rest would fare no better.
        """
        counts = self._counts
        if isinstance(outcome, Analysed):
            n_slices = counts.n_slices + _prepared_slices(outcome.analysis)
            self._counts = replace(counts, n_new=counts.n_new + 1, n_slices=n_slices)
            self._passing_in_a_row = 0
        elif isinstance(outcome, Failure):
            self._count_failure(outcome)
        elif outcome.known:
            self._files_known += len(outcome.portion.files)
        else:
            self._files_new += len(outcome.portion.files)
            self._counts = replace(counts, n_ignored=counts.n_ignored + outcome.n_ignored)

    def summary(self, results: BatchResults) -> BatchSummary:
        """Return the counts."""
        seconds = time.monotonic() - self._began
        return replace(
            self._counts,
            n_results=results.n_results,
            n_defects=results.n_defects,
            seconds=seconds,
            stopped=self.stopped,
        )

    def text(self, n_files: int | None) -> str:
        """Return a line: what is done, how fast, and how long the rest takes if it is like what was seen so far."""
        counts = self._counts
        seconds = max(1e-3, time.monotonic() - self._began)
        failed = counts.n_failed + counts.n_out_of_scope
        rate = f"{60 * counts.n_new / seconds:.1f} studies/min, {counts.n_slices / seconds:.1f} slices/s"
        return f"{counts.n_new} classified, {failed} without a result, {rate}, {self._left(n_files, seconds)}"

    def _left(self, n_files: int | None, seconds: float) -> str:
        if n_files is None:
            return "time left: counting the files"
        if not self._files_new or self._counts.n_new < ESTIMATE_FROM:
            return "time left: not known yet"
        rest = max(0, n_files - self._files_known - self._files_new)
        return f"time left: {_duration(rest * seconds / self._files_new)}"

    def _count_failure(self, failure: Failure) -> None:
        counts = self._counts
        if failure.kind == "scope":
            self._counts = replace(counts, n_out_of_scope=counts.n_out_of_scope + 1)
            return
        n_passing = counts.n_passing + failure.passing
        self._counts = replace(counts, n_failed=counts.n_failed + 1, n_passing=n_passing)
        self._passing_in_a_row = self._passing_in_a_row + 1 if failure.passing else 0
        if self._passing_in_a_row >= MOST_PASSING_IN_A_ROW:
            raise InferenceError(
                f"{self._passing_in_a_row} times in a row there was no result through no fault of the study; the last "
                f"reason: {failure.reason}",
                hint=f"{failure.hint} Then run the same command again: it goes on from here.",
                code="batch.machine",
                kind="environment",
            )


@dataclass
class _Total:
    """How many files the tree has; None until they are counted."""

    n_files: int | None = None


@contextmanager
def _counting(tree: Path) -> Iterator[_Total]:
    """Count the files of a tree on a thread, by listing folders only, while the block runs."""
    total, token = _Total(), CancelToken()

    def count() -> None:
        try:
            total.n_files = count_files(tree, CancelOnly(token))
        except Cancelled:
            return

    thread = threading.Thread(target=count, name="file-count", daemon=True)
    thread.start()
    try:
        yield total
    finally:
        token.cancel()
        thread.join()


def _prepared_slices(analysis: Analysis) -> int:
    """Return how many slices were prepared: a network of volumes has one result for all of them."""
    grid = analysis.prepared_grid
    return len(analysis.slices) if grid is None else grid.shape[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
