"""The first half of a batch: walks the tree on a thread of its own and has the next studies read and prepared."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.dicom.scan import ScanReport, SkippedFile
from engine.dicom.series import NO_IMAGE_CODES, Series, preference, require_analysable
from engine.dicom.walk import FoundStudy, Portion, StudyGatherer, walk
from engine.errors import DicomError
from engine.inference.batch_plan import (
    BatchPlan,
    Failure,
    Finished,
    PreparedSeries,
    failure_of,
    prepare_series,
    scan_portion,
)
from engine.inference.helpers import Helpers, Job
from engine.progress import Cancelled, CancelOnly, CancelToken

_NOT_PICTURES = NO_IMAGE_CODES | {"dicom.dicomdir"}
_PASSING_CODES = frozenset({"dicom.unreadable"})
_POLL_S = 0.2
_QUEUE_LENGTH = 64


@dataclass(frozen=True, eq=False)
class Ready:
    """A series that is being prepared; its slot is to be released when it is taken."""

    series: Series
    job: Job[PreparedSeries]


@dataclass(frozen=True)
class Scanned:
    """A portion was looked through: what of it is still to come, and what was not worth a failure."""

    portion: Portion
    studies: frozenset[str]
    n_ignored: int = 0
    lasting: bool = True
    known: bool = False


@dataclass(frozen=True)
class StudyEnd:
    """Everything of a study has been put into the queue."""

    instance_uid: str


@dataclass(frozen=True, eq=False)
class Stopped:
    """There is no more to come: the tree has ended, or an error that is not a study's."""

    error: Exception | None = None


Item = Ready | Scanned | StudyEnd | Failure | Stopped


class Feeder:
    """Puts the items of a batch, in the order of the walk, into `items`.

    Attributes
    ----------
    slots
        One is taken by every `Ready` and given back by who takes it from the queue.
    """

    def __init__(self, plan: BatchPlan, helpers: Helpers, finished: Finished) -> None:
        self.items: queue.Queue[Item] = queue.Queue(_QUEUE_LENGTH)
        self.slots = threading.Semaphore(plan.look_ahead)
        self._plan = plan
        self._helpers = helpers
        self._finished = finished
        self._token = CancelToken()
        self._context = CancelOnly(self._token)
        self._gatherer = StudyGatherer()
        self._studies_met: dict[str, frozenset[str]] = {}
        self._series_met: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="batch-feeder", daemon=True)

    def start(self) -> None:
        """Begin to walk."""
        self._thread.start()

    def stop(self) -> None:
        """End, wherever it is, and wait for that."""
        self._token.cancel()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._feed()
            self._put(Stopped())
        except Cancelled:
            return
        except Exception as error:  # noqa: BLE001 - raised again on the thread that reads the queue
            self._put_last(Stopped(error))

    def _feed(self) -> None:
        scans: deque[tuple[Portion, Job[ScanReport] | None]] = deque()
        for portion in walk(self._plan.tree, self._context):
            known = self._finished.knows(portion)
            scans.append((portion, None if known else self._helpers.submit(scan_portion, portion.files)))
            if len(scans) > self._helpers.n_processes:
                self._take(*scans.popleft())
        while scans:
            self._take(*scans.popleft())
        self._emit(self._gatherer.rest())

    def _take(self, portion: Portion, job: Job[ScanReport] | None) -> None:
        """Put what a scan found in its place: files that failed, studies that are whole now."""
        if job is None:
            self._put(Scanned(portion, frozenset(), known=True))
            self._emit(self._gatherer.add(portion, ()))
            return
        report = self._scanned(portion.place, job)
        if isinstance(report, Failure):
            self._put(report)
            self._put(Scanned(portion, frozenset(), lasting=not report.passing))
            return
        failures = [_file_failure(item) for item in report.skipped if item.code not in _NOT_PICTURES]
        for failure in failures:
            self._put(failure)
        studies = frozenset(series.study.instance_uid for series in report.series)
        n_ignored = len(report.skipped) - len(failures)
        self._put(Scanned(portion, studies, n_ignored, lasting=not any(failure.passing for failure in failures)))
        self._emit(self._gatherer.add(portion, report.series))

    def _scanned(self, place: Path, job: Job[ScanReport], study_uid: str = "") -> ScanReport | Failure:
        """Return what a scan found, or why it did not come through."""
        try:
            return self._helpers.result(job, self._context)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - one bad folder must not end a batch; it becomes a failure
            return failure_of(error, place, study_uid)

    def _emit(self, studies: Sequence[FoundStudy]) -> None:
        for study in studies:
            self._emit_study(study)
            self._put(StudyEnd(study.instance_uid))

    def _emit_study(self, study: FoundStudy) -> None:
        if not self._plan.all_series and study.instance_uid in self._finished.studies:
            return
        series = self._rescanned(study) if study.torn else study.series
        if isinstance(series, Failure):
            self._put(series)
            return
        analysable = sorted((one for one in series if one.analysable), key=preference, reverse=True)
        earlier = self._studies_met.get(study.instance_uid)
        uids = frozenset(one.instance_uid for one in series)
        self._studies_met[study.instance_uid] = uids | (earlier or frozenset())
        if earlier is None and not analysable:
            self._refuse(max(series, key=preference))
        elif earlier is None or self._plan.all_series:
            for one in analysable if self._plan.all_series else analysable[:1]:
                self._prepare(one)
        elif any(one.instance_uid not in earlier for one in analysable):
            self._put(_apart(analysable[0]))

    def _rescanned(self, study: FoundStudy) -> Sequence[Series] | Failure:
        """Scan the portions of a study as one, because files of one series lie in several of them."""
        files = tuple(path for portion in study.portions for path in portion.files)
        job = self._helpers.submit(scan_portion, files)
        report = self._scanned(study.portions[0].place, job, study.instance_uid)
        if isinstance(report, Failure):
            return report
        return [one for one in report.series if one.study.instance_uid == study.instance_uid] or study.series

    def _prepare(self, series: Series) -> None:
        if series.instance_uid in self._finished.series or series.instance_uid in self._series_met:
            return
        self._series_met.add(series.instance_uid)
        while not self.slots.acquire(timeout=_POLL_S):
            self._token.raise_if_cancelled()
        self._put(Ready(series, self._helpers.submit(prepare_series, series, self._plan)))

    def _refuse(self, series: Series) -> None:
        if series.instance_uid in self._finished.series:
            return
        try:
            require_analysable(series)
        except DicomError as error:
            self._put(failure_of(error, series.source, series.study.instance_uid, series.instance_uid))

    def _put(self, item: Item) -> None:
        while True:
            self._token.raise_if_cancelled()
            try:
                self.items.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue

    def _put_last(self, item: Stopped) -> None:
        try:
            self._put(item)
        except Cancelled:
            return


def _file_failure(skipped: SkippedFile) -> Failure:
    kind = "environment" if skipped.code in _PASSING_CODES else "input"
    hint = "The file was left out; get it again from its source, or remove it."
    return Failure(skipped.path, "", "", skipped.code, kind, skipped.reason, hint)


def _apart(series: Series) -> Failure:
    return Failure(
        str(series.source),
        series.study.instance_uid,
        series.instance_uid,
        code="batch.study_apart",
        kind="input",
        reason="More series of a study that was classified already, in another part of the tree; they were left out.",
        hint="Put the series of a study beside each other, or run with --all-series.",
    )
