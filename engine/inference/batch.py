"""Classifies a tree of studies: helper processes scan, read and prepare the next ones while this one is computed.

A portion of the tree counts as through once every study in it has a result or a failure, so that a run that was stopped
need not open its files again. No torch here: the predictor is handed in.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.dicom.walk import Portion
from engine.inference.batch_feeder import Feeder, Item, Ready, Scanned, Stopped, StudyEnd
from engine.inference.batch_plan import Analysed, BatchPlan, Failure, Finished, Outcome, PortionDone, failure_of
from engine.inference.helpers import Helpers
from engine.progress import NULL_CONTEXT, Cancelled, CancelOnly, Context

if TYPE_CHECKING:
    from engine.analysis import Analysis
    from engine.inference.predictor import Predictor

_POLL_S = 0.2


def run_batch(
    plan: BatchPlan, predictor: Predictor, helpers: Helpers, finished: Finished, context: Context = NULL_CONTEXT
) -> Iterator[Outcome]:
    """Yield what becomes of every study of a tree, as it comes; one bad study never ends it.

    What is yielded counts as dealt with when the next outcome is asked for: `PortionDone` comes after everything of
    its portion.

    Parameters
    ----------
    plan
        What to do.
    predictor
        Computes, on this thread.
    helpers
        Scan, read and prepare.
    finished
        What is left out; not changed.
    context
        Asked whether to stop, also within a study.

    Raises
    ------
    Cancelled
        If the context says so.
    """
    feeder = Feeder(plan, helpers, finished)
    feeder.start()
    try:
        yield from _Consumer(feeder, predictor, helpers, context).outcomes()
    finally:
        feeder.stop()


class _Consumer:
    """The second half: computes what is ready, and knows when a portion is through."""

    def __init__(self, feeder: Feeder, predictor: Predictor, helpers: Helpers, context: Context) -> None:
        self._feeder = feeder
        self._predictor = predictor
        self._helpers = helpers
        self._context = CancelOnly(context)
        self._waiting: dict[Portion, set[str]] = {}
        self._scanned: dict[Portion, Scanned] = {}
        self._passing: set[str] = set()
        self._again: set[Portion] = set()

    def outcomes(self) -> Iterator[Outcome]:
        """Deal with one item after the other."""
        while not isinstance(item := self._next(), Stopped):
            if isinstance(item, Scanned):
                self._waiting[item.portion], self._scanned[item.portion] = set(item.studies), item
                yield from self._through("")
            elif isinstance(item, StudyEnd):
                yield from self._through(item.instance_uid)
            else:
                outcome = self._analyse(item) if isinstance(item, Ready) else item
                if isinstance(outcome, Failure) and outcome.passing:
                    self._passing.add(outcome.study_instance_uid)
                yield outcome
        if item.error is not None:
            raise item.error

    def _next(self) -> Item:
        while True:
            self._context.raise_if_cancelled()
            try:
                return self._feeder.items.get(timeout=_POLL_S)
            except queue.Empty:
                continue

    def _analyse(self, ready: Ready) -> Outcome:
        series = ready.series
        try:
            return Analysed(self._predict(ready), series.source)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - one bad study must not end a batch; it becomes a failure
            return failure_of(error, series.source, series.study.instance_uid, series.instance_uid)

    def _predict(self, ready: Ready) -> Analysis:
        # Imported here, where the predictor has brought torch along: this module is free of it.
        from engine.inference.predictor import Acquisition

        try:
            done = self._helpers.result(ready.job, self._context)
        finally:
            # From here on the next study may be read, while this one is computed.
            self._feeder.slots.release()
        series = ready.series
        acquisition = Acquisition(
            geometry=done.geometry,
            sop_instance_uids=done.sop_instance_uids,
            study_instance_uid=series.study.instance_uid,
            series_instance_uid=series.instance_uid,
            read_s=done.read_s,
            prepare_s=done.prepare_s,
            warnings=(*(reason.message for reason in series.warnings), *done.prepared.warnings),
        )
        return self._predictor.predict(done.prepared, acquisition, self._context)

    def _through(self, study_uid: str) -> Iterator[PortionDone]:
        """Take a study off what portions wait for; yield the portions that wait for nothing more."""
        for portion, studies in list(self._waiting.items()):
            if study_uid in studies and study_uid in self._passing:
                self._again.add(portion)
            studies.discard(study_uid)
            if not studies:
                del self._waiting[portion]
                scanned = self._scanned.pop(portion)
                lasting = scanned.lasting and portion not in self._again
                yield PortionDone(portion, lasting, scanned.known, scanned.n_ignored)
        self._passing.discard(study_uid)
