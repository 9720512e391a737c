"""Save, withdraw and read a reader's statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from app.viewmodels.statements import Answer, Statement, answer_of, presence, verdict_of
from engine.store.records import FeedbackRecord, NewFeedback

if TYPE_CHECKING:
    from engine.store.repository import Store


@dataclass(frozen=True)
class Sheet:
    """What one reader's sheet of a series says.

    Attributes
    ----------
    standing
        What stands, by finding.
    before
        What the reader had stated when the model's output was revealed, by finding; empty without a blind first read.
    """

    standing: dict[str, FeedbackRecord] = field(default_factory=dict)
    before: dict[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class SheetOf:
    """Whose sheet is read; with `others`, the consensus or the newest statement of anybody stands where it is empty."""

    reader: str
    others: bool


def read_sheet(store: Store, series_uid: str, whose: SheetOf) -> Sheet:
    """Read a sheet of a series.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    from engine.store.feedback import standing

    stands = store.current_feedback(series_uid) if whose.others else {}
    if not whose.reader:
        return Sheet(stands)
    stands |= store.current_feedback(series_uid, whose.reader)
    history = [
        row for row in store.feedback_history(series_uid) if row.reader == whose.reader and row.role == "reading"
    ]
    blind = standing(row for row in history if row.after_reveal is False)
    return Sheet(stands, {row.finding_key: answer_of(row.present) for row in blind})


def save_statements(store: Store, statements: Sequence[Statement], reader: str) -> None:
    """Append a reader's statements, in order: all at once, each a row of its own.

    One that was given blind while a commit was on its way is kept as given with the model's output in view: by the
    time it is stored that has been revealed, and the store takes no blind statement after it.

    Raises
    ------
    StoreError
        If one cannot be written; then none is.
    """
    store.add_statements([new_feedback(_as_seen(store, statement, reader), reader) for statement in statements])


def _as_seen(store: Store, statement: Statement, reader: str) -> Statement:
    if statement.mode != "blind":
        return statement
    session = store.reading_session(statement.series_uid, reader)
    return statement if session is None or session.hidden else replace(statement, mode="ai_seen")


def new_feedback(statement: Statement, reader: str) -> NewFeedback:
    """Put a statement into the store's form.

    Raises
    ------
    ValueError
        If it has no answer.
    """
    content = statement.content
    if content.answer is None:
        raise ValueError(f"the statement on {statement.finding_key} has no answer")
    model = statement.model
    return NewFeedback(
        series_uid=statement.series_uid,
        finding_key=statement.finding_key,
        verdict=verdict_of(content.answer, statement.positive),
        present=presence(content.answer),
        reader=reader,
        mode=statement.mode,
        model_digest=None if model is None else model.digest,
        probability=statement.probability,
        sop_instance_uids=statement.sop_instance_uids,
        comment=content.comment,
        reason_code=content.reason_code,
        locations=content.locations,
        laterality=content.laterality,
        certainty=content.certainty,
        key_images=content.key_images,
        model_name=None if model is None else model.name,
        model_notice=None if model is None else model.notice,
    )


def undo_feedback(store: Store, series_uid: str, reader: str) -> tuple[FeedbackRecord, ...]:
    """Withdraw the reader's newest statement, with those saved at once with it; the withdrawals, empty if none stood.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    return store.undo_last_statements(series_uid, reader)
