"""Readers' statements: appended, superseded, withdrawn, adjudicated, exported; never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from engine.analysis import ModelIdentity
from engine.errors import StoreError
from engine.store.arrays import stored_model
from engine.store.base import StoreBase
from engine.store.checks import check_feedback
from engine.store.feedback import adjudicated, matrix, standing
from engine.store.mapping import correction, feedback_record, feedback_rows
from engine.store.readers import active_reader, session_of
from engine.store.records import (
    CorrectionRow,
    FeedbackRecord,
    NewFeedback,
    ReadingMode,
    StatementMatrix,
    StatementRole,
)
from engine.store.tables import AnalysisTable, FeedbackTable, StudyTable, WorklistTable
from engine.store.text import storable
from engine.store.workflow import ReadSession
from engine.store.worklist_rows import refresh


class Statements(StoreBase):
    """What readers said, and what stands of it."""

    def add_feedback(self, feedback: NewFeedback) -> FeedbackRecord:
        """Append a reader's statement; it supersedes the same reader's standing one on that finding.

        An adjudication supersedes only the same person's earlier adjudication. What the model's notice was is kept
        with the statement. Who states something for the first time becomes a reader.

        Raises
        ------
        StoreError
            If the series is not in the store, the statement contradicts itself, its reader is deactivated, or it
            claims to be blind after the model's output was revealed to its reader.
        """
        return self.add_statements((feedback,))[0]

    def add_statements(self, statements: Sequence[NewFeedback]) -> tuple[FeedbackRecord, ...]:
        """Append several statements in one transaction and with one time, each a row of its own: all of them or none.

        `undo_last_statements` takes them back together.

        Raises
        ------
        StoreError
            As in `add_feedback`, for the first one that is refused; then none is stored.
        """
        for feedback in statements:
            check_feedback(feedback)
        with self._writing() as session:
            now = self._clock()
            return tuple(self._append(session, feedback, now) for feedback in statements)

    def _append(self, session: Session, feedback: NewFeedback, now: datetime) -> FeedbackRecord:
        study_uid = self._series(session, feedback.series_uid).study_uid
        reader = active_reader(session, feedback.reader, now)
        reading = session_of(session, feedback.series_uid, reader)
        if reading is not None and feedback.mode == "blind" and not reading.hidden:
            raise _not_blind(feedback, reading)
        row = self._row(session, feedback, study_uid, reader, now)
        row.session_id, row.after_reveal = _seen(reading)
        session.add(row)
        session.flush()
        _refresh_if_news(session, study_uid)
        return feedback_record(row)

    def current_feedback(self, series_uid: str, reader: str | None = None) -> dict[str, FeedbackRecord]:
        """Return by finding key what stands.

        Parameters
        ----------
        reader
            Of this reader's own reading; None for the adjudication where there is one, or else the newest statement
            of any reader.
        """
        stands = standing(self.feedback_history(series_uid))
        if reader is not None:
            return {row.finding_key: row for row in stands if row.reader == reader and row.role == "reading"}
        newest = {row.finding_key: row for row in stands}
        return {**newest, **{key: row for (_, key), row in adjudicated(stands).items()}}

    def consensus(self, series_uid: str) -> dict[str, FeedbackRecord]:
        """Return by finding key what was adjudicated: the newest adjudication that stands."""
        stands = standing(self.feedback_history(series_uid))
        return {key: row for (_, key), row in adjudicated(stands).items()}

    def feedback_history(self, series_uid: str) -> tuple[FeedbackRecord, ...]:
        """Return everything ever said on a series, withdrawals included, oldest first."""
        with self._reading() as session:
            return feedback_rows(session, FeedbackTable.series_uid == series_uid)

    def undo_last_feedback(
        self, series_uid: str, reader: str, role: StatementRole = "reading"
    ) -> FeedbackRecord | None:
        """Withdraw the reader's newest standing statement on a series, which brings back what it had superseded.

        Only statements of one role are looked at: undoing a reading never takes back a decision of an adjudicator.

        Returns
        -------
        FeedbackRecord or None
            The appended withdrawal, whose `finding_key` says what was undone; None if nothing stands.

        Raises
        ------
        StoreError
            If the store cannot be written, or the reader is deactivated.
        """
        return next(iter(self._withdraw(series_uid, reader, role, together=False)), None)

    def undo_last_statements(
        self, series_uid: str, reader: str, role: StatementRole = "reading"
    ) -> tuple[FeedbackRecord, ...]:
        """Withdraw the reader's newest standing statement with all that still stand of those appended together with it.

        Only statements of one role are looked at.

        Returns
        -------
        tuple of FeedbackRecord
            The appended withdrawals, oldest statement first; empty if nothing stands.

        Raises
        ------
        StoreError
            If the store cannot be written, or the reader is deactivated; then nothing is withdrawn.
        """
        return self._withdraw(series_uid, reader, role, together=True)

    def _withdraw(
        self, series_uid: str, reader: str, role: StatementRole, *, together: bool
    ) -> tuple[FeedbackRecord, ...]:
        with self._writing() as session:
            name, now = storable(reader), self._clock()
            rows = feedback_rows(session, FeedbackTable.series_uid == series_uid, FeedbackTable.reader == name)
            stands = [row for row in standing(rows) if row.role == role]
            if not stands:
                return ()
            active_reader(session, name, now)
            # Statements that were appended together have the same time to the microsecond, and no others have.
            newest = stands[-1]
            undone = [row for row in stands if row.created_utc == newest.created_utc] if together else [newest]
            seen = _seen(session_of(session, series_uid, name))
            withdrawals = [_withdrawal(row) for row in undone]
            for row in withdrawals:
                row.created_utc, (row.session_id, row.after_reveal) = now, seen
            session.add_all(withdrawals)
            session.flush()
            refresh(session, newest.study_uid)
            return tuple(feedback_record(row) for row in withdrawals)

    def corrections(
        self, *, series_uid: str | None = None, include_superseded: bool = False
    ) -> tuple[CorrectionRow, ...]:
        """Return the readers' statements for export and retraining, oldest first, without patient identity.

        Parameters
        ----------
        series_uid
            Of one series only.
        include_superseded
            Also what no longer stands: replaced, undone, and the withdrawals.
        """
        conditions = [] if series_uid is None else [FeedbackTable.series_uid == series_uid]
        with self._reading() as session:
            rows = feedback_rows(session, *conditions)
            models = _models(session)
        stands = {row.id for row in standing(rows)}
        return tuple(
            correction(row, models.get(row.model_digest or ""), superseded=row.id not in stands)
            for row in rows
            if include_superseded or row.id in stands
        )

    def statement_matrix(
        self,
        *,
        readers: Sequence[str] | None = None,
        series_uids: Sequence[str] | None = None,
        finding_keys: Sequence[str] | None = None,
        mode: ReadingMode | None = None,
    ) -> StatementMatrix:
        """Return readers × (series, finding), adjudications aside, for agreement statistics.

        Parameters
        ----------
        readers, series_uids, finding_keys
            Only these; None for all.
        mode
            ``blind`` for what each reader had said before the model's output was revealed, ``ai_seen`` for what was
            said with it in view, None for what stands.
        """
        conditions: list[ColumnElement[bool]] = []
        if series_uids is not None:
            conditions.append(FeedbackTable.series_uid.in_(series_uids))
        if finding_keys is not None:
            conditions.append(FeedbackTable.finding_key.in_(finding_keys))
        with self._reading() as session:
            rows = feedback_rows(session, *conditions)
        return matrix(rows, mode, readers)

    def _row(
        self, session: Session, feedback: NewFeedback, study_uid: str, reader: str, now: datetime
    ) -> FeedbackTable:
        before = standing(
            feedback_rows(
                session,
                FeedbackTable.series_uid == feedback.series_uid,
                FeedbackTable.finding_key == feedback.finding_key,
                FeedbackTable.reader == reader,
                FeedbackTable.role == feedback.role,
            )
        )
        name, notice = _model_shown(session, feedback)
        return FeedbackTable(
            study_uid=study_uid,
            series_uid=feedback.series_uid,
            finding_key=feedback.finding_key,
            verdict=feedback.verdict,
            present=feedback.present,
            reader=reader,
            mode=feedback.mode,
            model_digest=feedback.model_digest,
            probability=feedback.probability,
            sop_instance_uids=list(feedback.sop_instance_uids),
            reason=storable(feedback.reason),
            comment=storable(feedback.comment),
            reason_code=feedback.reason_code,
            locations=[location.to_json() for location in feedback.locations],
            laterality=feedback.laterality,
            certainty=feedback.certainty,
            key_images=list(feedback.key_images),
            model_name=name,
            model_notice=notice,
            role=feedback.role,
            created_utc=now,
            supersedes_id=before[-1].id if before else None,
        )


def _withdrawal(undone: FeedbackRecord) -> FeedbackTable:
    return FeedbackTable(
        study_uid=undone.study_uid,
        series_uid=undone.series_uid,
        finding_key=undone.finding_key,
        verdict="withdrawn",
        present=None,
        reader=undone.reader,
        mode=undone.mode,
        model_digest=undone.model_digest,
        probability=undone.probability,
        sop_instance_uids=list(undone.sop_instance_uids),
        reason="",
        comment="",
        reason_code="",
        locations=[],
        laterality=None,
        certainty=None,
        key_images=[],
        model_name=undone.model_name,
        model_notice=undone.model_notice,
        role=undone.role,
        supersedes_id=undone.id,
    )


def _seen(reading: ReadSession | None) -> tuple[int | None, bool | None]:
    return (None, None) if reading is None else (reading.id, not reading.hidden)


def _not_blind(feedback: NewFeedback, reading: ReadSession) -> StoreError:
    return StoreError(
        f"The statement on {feedback.finding_key} was not stored: it claims to be blind, but the model's output of "
        f"series {feedback.series_uid} was revealed to {reading.reader} at {reading.revealed_utc:%Y-%m-%d %H:%M} UTC.",
        hint="Give the verdict again; it will be marked as given with the model's output in view.",
        code="store.feedback.not_blind",
    )


def _refresh_if_news(session: Session, study_uid: str) -> None:
    """Spare a click the worklist's work: only a study's first statement changes its line."""
    lines = select(WorklistTable.state).join(StudyTable, StudyTable.id == WorklistTable.id)
    state = session.scalar(lines.where(StudyTable.study_uid == study_uid))
    if state not in ("in_review", "reviewed"):
        refresh(session, study_uid)


def _model_shown(session: Session, feedback: NewFeedback) -> tuple[str | None, str | None]:
    """Return name and notice of the model that the statement answers to, as the reader sees them now."""
    if feedback.model_digest is None or (feedback.model_name is not None and feedback.model_notice is not None):
        return feedback.model_name, feedback.model_notice
    newest = (
        select(AnalysisTable.model_name, AnalysisTable.document)
        .where(AnalysisTable.series_uid == feedback.series_uid, AnalysisTable.model_digest == feedback.model_digest)
        .order_by(AnalysisTable.id.desc())
        .limit(1)
    )
    row = session.execute(newest).first()
    if row is None:
        return feedback.model_name, feedback.model_notice
    model = stored_model(row.document, row.model_name, feedback.model_digest)
    name, notice = feedback.model_name, feedback.model_notice
    # A damaged analysis has no notice; another one of that model may tell it later.
    return (model.name if name is None else name), (model.notice or None if notice is None else notice)


def _models(session: Session) -> dict[str, ModelIdentity]:
    """Return every model of which an analysis is stored, by digest.

    A digest covers the model's notice too, so one analysis a model tells it, whichever series that was of.
    """
    newest = select(func.max(AnalysisTable.id)).group_by(AnalysisTable.model_digest)
    query = select(AnalysisTable.model_digest, AnalysisTable.model_name, AnalysisTable.document)
    return {
        row.model_digest: stored_model(row.document, row.model_name, row.model_digest)
        for row in session.execute(query.where(AnalysisTable.id.in_(newest)))
    }
