"""The worklist's lines: each derived from a study's series, analyses, statements and sessions when these change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from engine.store.feedback import standing
from engine.store.mapping import feedback_rows, series_query, series_row
from engine.store.records import SeriesRow
from engine.store.tables import (
    FeedbackTable,
    FindingRankTable,
    ReadEventTable,
    ReadSessionTable,
    SeriesTable,
    StudyTable,
    WorklistTable,
)
from engine.store.text import search_form
from engine.store.workflow import STUDY_STATES, StudyState

LEAST_URGENT = 2
_PER_RANK = 1000


def refresh(session: Session, study_uid: str) -> None:
    """Bring a study's line up to date; a study without a listed series has none."""
    session.flush()
    study = session.scalar(select(StudyTable).where(StudyTable.study_uid == study_uid))
    if study is None:
        return
    listed = SeriesTable.removed_utc.is_(None)
    query = series_query([SeriesTable.study_uid == study_uid, listed])
    series = [series_row(row) for row in session.execute(query)]
    if not series:
        forget(session, study.id)
        return
    row = session.get(WorklistTable, study.id) or WorklistTable(id=study.id)
    _fill_order(row, study, series)
    _fill_findings(row, series, _ranks(session))
    _fill_state(row, series, *_review(session, [item.series_uid for item in series]))
    session.add(row)
    session.flush()


def forget(session: Session, study_id: int) -> None:
    """Take a study's line away."""
    session.execute(delete(WorklistTable).where(WorklistTable.id == study_id))


def fill_missing(session: Session) -> None:
    """Make the lines of studies that have none: those of a store that was just migrated."""
    listed = exists().where(SeriesTable.study_uid == StudyTable.study_uid, SeriesTable.removed_utc.is_(None))
    there = exists().where(WorklistTable.id == StudyTable.id)
    for study_uid in session.scalars(select(StudyTable.study_uid).where(listed, ~there)).all():
        refresh(session, study_uid)


def set_ranks(session: Session, ranks: Mapping[str, int]) -> None:
    """Take over how urgent findings are, and reorder the worklist if that is news."""
    if _ranks(session) == dict(ranks):
        return
    session.execute(delete(FindingRankTable))
    session.add_all(FindingRankTable(finding_key=key, rank=rank) for key, rank in ranks.items())
    lines = session.execute(select(WorklistTable.id, WorklistTable.positive_keys).where(WorklistTable.n_positive > 0))
    changes = []
    for line in lines:
        priority, urgency = priority_of(line.positive_keys, ranks)
        changes.append({"id": line.id, "priority": priority, "urgency": urgency})
    if changes:
        session.execute(update(WorklistTable), changes)


def priority_of(positive_keys: Iterable[str], ranks: Mapping[str, int]) -> tuple[int, int | None]:
    """Return a number that grows with urgency, and the rank of the most urgent finding (0 is critical).

    A finding of another catalogue counts as least urgent.
    """
    found = [ranks.get(key, LEAST_URGENT) for key in positive_keys]
    if not found:
        return 0, None
    best = min(found)
    return (1 + LEAST_URGENT - best) * _PER_RANK + min(found.count(best), _PER_RANK - 1), best


def state_of(states: Sequence[str], *, begun: bool, finished: bool) -> StudyState:
    """Return a study's state from those of its series and from what readers did."""
    if "analysing" in states:
        return "analysing"
    if finished:
        return "reviewed"
    if begun:
        return "in_review"
    if "analysed" in states:
        return "analysed"
    return "failed" if "failed" in states else "new"


def _fill_order(row: WorklistTable, study: StudyTable, series: Sequence[SeriesRow]) -> None:
    row.study_date = study.study_date
    row.patient_order = search_form(study.patient_name, study.patient_id)
    row.description_order = search_form(study.study_description)
    words = (word for item in series for word in (item.description, item.modality, item.manufacturer))
    row.search_text = f"{study.search_text} {search_form(*dict.fromkeys(words))}"
    row.n_series = len(series)
    row.series_uid = max(series, key=_worth_opening).series_uid


def _worth_opening(item: SeriesRow) -> tuple[bool, bool, int]:
    return item.model_digest is not None, item.kind == "volume", item.n_slices


def _fill_findings(row: WorklistTable, series: Sequence[SeriesRow], ranks: Mapping[str, int]) -> None:
    analysed = [item for item in series if item.model_digest is not None]
    row.positive_keys = list(dict.fromkeys(key for item in analysed for key in item.positive_keys))
    row.n_positive = len(row.positive_keys) if analysed else None
    row.priority, row.urgency = priority_of(row.positive_keys, ranks)


def _fill_state(row: WorklistTable, series: Sequence[SeriesRow], begun: bool, finished: bool) -> None:
    row.state = state_of([item.state for item in series], begun=begun, finished=finished)
    row.state_rank = STUDY_STATES.index(row.state)
    messages = (item.state_message for item in series if item.state == row.state or row.state == "new")
    row.state_message = next((message for message in messages if message), "")


def _ranks(session: Session) -> dict[str, int]:
    return {row.finding_key: row.rank for row in session.scalars(select(FindingRankTable))}


def _review(session: Session, series_uids: Sequence[str]) -> tuple[bool, bool]:
    """Whether a reader has begun on the series, and whether the last one who said so had finished."""
    sessions = select(ReadSessionTable.id).where(ReadSessionTable.series_uid.in_(series_uids))
    ended = session.scalar(
        select(ReadEventTable.event)
        .where(ReadEventTable.session_id.in_(sessions), ReadEventTable.event.in_(("finished", "reopened")))
        .order_by(ReadEventTable.id.desc())
        .limit(1)
    )
    begun = session.scalar(sessions.limit(1)) is not None
    if not begun:
        begun = bool(standing(feedback_rows(session, FeedbackTable.series_uid.in_(series_uids))))
    return begun, ended == "finished"
