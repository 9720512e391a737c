"""Save and withdraw a reader's verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.analysis import Analysis
from engine.store.records import FeedbackRecord, GivenVerdict, NewFeedback, ReadingMode, stated_presence

if TYPE_CHECKING:
    from engine.store.repository import Store


@dataclass(frozen=True, eq=False)
class VerdictRequest:
    """What the reader said, and what was on the screen in that moment.

    Attributes
    ----------
    analysis
        The analysis shown; None where there was none.
    sop_instance_uids
        The acquired slice in view.
    """

    series_uid: str
    finding_key: str
    verdict: GivenVerdict
    reason: str
    comment: str
    reader: str
    mode: ReadingMode
    analysis: Analysis | None
    sop_instance_uids: tuple[str, ...]


def save_feedback(store: Store, request: VerdictRequest) -> dict[str, FeedbackRecord]:
    """Append the verdict; what now stands on the series, by finding key.

    Raises
    ------
    StoreError
        If it cannot be written; nothing of it then is.
    """
    store.add_feedback(new_feedback(request))
    return store.current_feedback(request.series_uid)


def undo_feedback(
    store: Store, series_uid: str, reader: str
) -> tuple[FeedbackRecord | None, dict[str, FeedbackRecord]]:
    """Withdraw the reader's newest verdict; the withdrawal, None if nothing stood, and what stands now.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    return store.undo_last_feedback(series_uid, reader), store.current_feedback(series_uid)


def new_feedback(request: VerdictRequest) -> NewFeedback:
    """Put a verdict into the store's form, with the probability that was shown and the presence that it states."""
    result = None if request.analysis is None else request.analysis.finding(request.finding_key)
    shown = None
    if result is not None and result.covered:
        shown = result.probability if result.calibrated_probability is None else result.calibrated_probability
    return NewFeedback(
        series_uid=request.series_uid,
        finding_key=request.finding_key,
        verdict=request.verdict,
        present=stated_presence(request.verdict, None if result is None else result.positive),
        reader=request.reader,
        mode=request.mode,
        model_digest=None if request.analysis is None else request.analysis.model.digest,
        probability=shown,
        sop_instance_uids=tuple(uid for uid in request.sop_instance_uids if uid),
        reason=request.reason,
        comment=request.comment,
    )
