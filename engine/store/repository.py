"""The store: everything that the application keeps, taken and given as frozen values.

One operation is one session and one transaction. Writing operations take SQLite's write lock at once (BEGIN
IMMEDIATE), so they wait for each other instead of failing half-way. A method returns after the commit has reached the
disk (``synchronous=FULL``): what it wrote survives a killed process and a power cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from engine.analysis import Analysis, ModelIdentity
from engine.errors import StoreError
from engine.store import migrate
from engine.store.arrays import pack, stored_model, unpack
from engine.store.feedback import standing
from engine.store.mapping import (
    correction,
    feedback_record,
    feedback_rows,
    fill_series,
    fill_study,
    series_query,
    series_row,
    study_record,
)
from engine.store.presence import Presence
from engine.store.reading import open_reader
from engine.store.records import (
    CorrectionRow,
    FeedbackRecord,
    NewFeedback,
    SeriesRecord,
    SeriesRow,
    SeriesState,
    StudyRecord,
)
from engine.store.session import make_engine, parse_url, sqlite_path, switch_to_wal, transaction, writing
from engine.store.tables import AnalysisTable, FeedbackTable, SeriesTable, StudyTable
from engine.store.text import search_form, storable

INTERRUPTED = "The analysis was interrupted when the application ended; run it again."


class Store:
    """An open store. Made by `Store.open`; safe to use from several threads."""

    def __init__(
        self,
        url_or_path: str | Path,
        *,
        read_only: bool = False,
        busy_timeout_s: float = 10.0,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        url = parse_url(url_or_path)
        self.path = sqlite_path(url)
        self.name = str(self.path) if self.path else url.render_as_string(hide_password=True)
        self._clock = clock or _utc_now
        self.migration_backup: Path | None = None
        self._writer: Engine | None = None
        self._presence: Presence | None = None
        if read_only:
            self._reader = open_reader(url, self.name, self.path, busy_timeout_s=busy_timeout_s)
            return
        if self.path is not None:
            _make_folder(self.path, self.name)
        self.migration_backup = migrate.upgrade(url, self.name, self.path, busy_timeout_s=busy_timeout_s)
        self._reader = make_engine(url, busy_timeout_s=busy_timeout_s)
        self._writer = writing(self._reader)
        try:
            self._settle_in()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        url_or_path: str | Path,
        *,
        read_only: bool = False,
        busy_timeout_s: float = 10.0,
        clock: Callable[[], datetime] | None = None,
    ) -> Self:
        """Open a store, or make it.

        An older store is backed up (`migration_backup` names the copy) and migrated. If nobody else has the store
        open, series that a dead process left as ``analysing`` become ``new`` with a note; on a server, where that
        cannot be known, they stay.

        Parameters
        ----------
        url_or_path
            A file path for SQLite, or an SQLAlchemy URL.
        read_only
            Open only what is there, and change nothing of it: no new store, no migration, no reset, no hold on it.
            What writes is refused. See `engine.store.reading`.
        busy_timeout_s
            How long to wait for another program's lock before giving up.
        clock
            Gives the current aware time; for tests.

        Raises
        ------
        StoreError
            If the store is newer than this version, not one of ours, damaged, locked or cannot be written; with
            `read_only` also if it is not there, empty or older.
        """
        return cls(url_or_path, read_only=read_only, busy_timeout_s=busy_timeout_s, clock=clock)

    def close(self) -> None:
        """Close all connections. The last one of all programs merges the write-ahead log into the file."""
        self._reader.dispose()
        if self._presence is not None:
            self._presence.release()
            self._presence = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Studies and series

    def upsert_study(self, study: StudyRecord) -> None:
        """Add a study, or bring its details up to date.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        with self._writing() as session:
            self._put_study(session, study)

    def upsert_series(self, series: SeriesRecord) -> None:
        """Add a series to its study, or bring its details up to date; its state and analyses stay.

        Raises
        ------
        StoreError
            If its study is not in the store, or the series is already there under another study.
        """
        with self._writing() as session:
            self._put_series(session, series)

    def register(self, items: Iterable[tuple[StudyRecord, SeriesRecord]]) -> None:
        """Do `upsert_study` and `upsert_series` for all of a scan in one transaction: all are listed, or none.

        Raises
        ------
        StoreError
            If a series is already there under another study, or the store cannot be written.
        """
        with self._writing() as session:
            for study, series in items:
                self._put_study(session, study)
                self._put_series(session, series)

    def list_series(self, search: str = "") -> tuple[SeriesRow, ...]:
        """Return the study list: newest study first, then series number.

        Parameters
        ----------
        search
            Words that must all occur in patient, study or series, whatever their case and accents.
        """
        listed = SeriesTable.removed_utc.is_(None)
        words = [
            (StudyTable.search_text + " " + SeriesTable.search_text).contains(word, autoescape=True)
            for word in search_form(search).split()
        ]
        with self._reading() as session:
            return tuple(series_row(row) for row in session.execute(series_query([listed, *words])))

    def get_series(self, series_uid: str, *, include_removed: bool = False) -> SeriesRow | None:
        """Return one line of the list, None if it is not there; retraining also asks for what was taken off it."""
        conditions = [SeriesTable.series_uid == series_uid]
        if not include_removed:
            conditions.append(SeriesTable.removed_utc.is_(None))
        with self._reading() as session:
            row = session.execute(series_query(conditions)).one_or_none()
            return None if row is None else series_row(row)

    def get_study(self, study_uid: str) -> StudyRecord | None:
        """Return a study's details, None if it is not there."""
        with self._reading() as session:
            row = session.scalar(select(StudyTable).where(StudyTable.study_uid == study_uid))
            return None if row is None else study_record(row)

    def delete_series(self, series_uid: str) -> None:
        """Take a series off the list and delete its analyses.

        Feedback is never deleted: a series that has some stays in the store unseen, so that its corrections can
        still be exported, and comes back if it is opened again. Without feedback nothing of it stays.

        Raises
        ------
        StoreError
            If there is no such series.
        """
        with self._writing() as session:
            row = self._series(session, series_uid)
            session.execute(delete(AnalysisTable).where(AnalysisTable.series_uid == series_uid))
            if session.scalar(select(func.count()).where(FeedbackTable.series_uid == series_uid)):
                row.removed_utc, row.state, row.state_message = self._clock(), "new", ""
                return
            session.delete(row)
            session.flush()
            if not session.scalar(select(func.count()).where(SeriesTable.study_uid == row.study_uid)):
                session.execute(delete(StudyTable).where(StudyTable.study_uid == row.study_uid))

    def set_series_state(self, series_uid: str, state: SeriesState, message: str = "") -> None:
        """Say how far the analysis of a series is, and why if it failed.

        Raises
        ------
        StoreError
            If there is no such series.
        """
        with self._writing() as session:
            row = self._series(session, series_uid)
            row.state, row.state_message, row.state_utc = state, storable(message), self._clock()

    # Analyses

    def save_analysis(self, analysis: Analysis) -> int:
        """Keep an analysis, and mark its series as analysed in the same transaction.

        Earlier runs stay as history; the newest of a series and model counts.

        Returns
        -------
        int
            Its number in the store.

        Raises
        ------
        StoreError
            If its series is not in the store, or a number in it is not finite.
        """
        document, arrays = pack(analysis)
        with self._writing() as session:
            series = self._series(session, analysis.series_instance_uid)
            row = AnalysisTable(
                series_uid=analysis.series_instance_uid,
                model_name=analysis.model.name,
                model_digest=analysis.model.digest,
                document=document,
                arrays=arrays,
                positive_keys=[finding.key for finding in analysis.findings if finding.positive],
                created_utc=self._clock(),
            )
            session.add(row)
            series.state, series.state_message, series.state_utc = "analysed", "", row.created_utc
            session.flush()
            return row.id

    def latest_analysis(self, series_uid: str, package_digest: str | None = None) -> Analysis | None:
        """Return the newest analysis of a series, by the model of that digest or by any.

        Raises
        ------
        StoreError
            If what is stored is damaged.
        """
        query = select(AnalysisTable).where(AnalysisTable.series_uid == series_uid)
        if package_digest is not None:
            query = query.where(AnalysisTable.model_digest == package_digest)
        with self._reading() as session:
            row = session.scalar(query.order_by(AnalysisTable.id.desc()).limit(1))
            return None if row is None else unpack(row.document, row.arrays, self.name)

    # Feedback

    def add_feedback(self, feedback: NewFeedback) -> FeedbackRecord:
        """Append a reader's statement; it supersedes the same reader's standing one on that finding.

        Raises
        ------
        StoreError
            If the series is not in the store, or the statement contradicts itself.
        """
        _check_feedback(feedback)
        with self._writing() as session:
            series = self._series(session, feedback.series_uid)
            rows = feedback_rows(
                session,
                FeedbackTable.series_uid == feedback.series_uid,
                FeedbackTable.finding_key == feedback.finding_key,
                FeedbackTable.reader == storable(feedback.reader),
            )
            before = standing(rows)
            row = FeedbackTable(
                study_uid=series.study_uid,
                series_uid=feedback.series_uid,
                finding_key=feedback.finding_key,
                verdict=feedback.verdict,
                present=feedback.present,
                reader=storable(feedback.reader),
                mode=feedback.mode,
                model_digest=feedback.model_digest,
                probability=feedback.probability,
                sop_instance_uids=list(feedback.sop_instance_uids),
                reason=storable(feedback.reason),
                comment=storable(feedback.comment),
                created_utc=self._clock(),
                supersedes_id=before[-1].id if before else None,
            )
            session.add(row)
            session.flush()
            return feedback_record(row)

    def current_feedback(self, series_uid: str, reader: str | None = None) -> dict[str, FeedbackRecord]:
        """Return by finding key what stands: of one reader, or else the newest of any reader."""
        rows = self.feedback_history(series_uid)
        return {row.finding_key: row for row in standing(rows) if reader is None or row.reader == reader}

    def feedback_history(self, series_uid: str) -> tuple[FeedbackRecord, ...]:
        """Return everything ever said on a series, withdrawals included, oldest first."""
        with self._reading() as session:
            return feedback_rows(session, FeedbackTable.series_uid == series_uid)

    def undo_last_feedback(self, series_uid: str, reader: str) -> FeedbackRecord | None:
        """Withdraw the reader's newest standing statement on a series, which brings back what it had superseded.

        Returns
        -------
        FeedbackRecord or None
            The appended withdrawal, whose `finding_key` says what was undone; None if nothing stands.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        with self._writing() as session:
            rows = feedback_rows(
                session, FeedbackTable.series_uid == series_uid, FeedbackTable.reader == storable(reader)
            )
            stands = standing(rows)
            if not stands:
                return None
            undone = stands[-1]
            row = FeedbackTable(
                study_uid=undone.study_uid,
                series_uid=series_uid,
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
                created_utc=self._clock(),
                supersedes_id=undone.id,
            )
            session.add(row)
            session.flush()
            return feedback_record(row)

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

    # Inside

    def _settle_in(self) -> None:
        if self.path is None:
            return
        switch_to_wal(self._reader, self.name)
        try:
            self._presence = Presence(self.path)
        except OSError as error:
            raise _folder_error(self.name, error) from error
        if self._presence.alone:
            with self._writing() as session:
                session.execute(
                    update(SeriesTable)
                    .where(SeriesTable.state == "analysing")
                    .values(state="new", state_message=INTERRUPTED, state_utc=self._clock())
                )

    def _reading(self) -> AbstractContextManager[Session]:
        return transaction(self._reader, self.name)

    def _writing(self) -> AbstractContextManager[Session]:
        if self._writer is None:
            raise StoreError(
                f"The store {self.name} was opened only to be read; nothing was written.",
                hint="Make this change in the application.",
                code="store.opened_to_read",
            )
        return transaction(self._writer, self.name)

    def _put_study(self, session: Session, study: StudyRecord) -> None:
        row = session.scalar(select(StudyTable).where(StudyTable.study_uid == study.study_uid))
        if row is None:
            row = StudyTable(study_uid=study.study_uid, added_utc=self._clock())
        fill_study(row, study)
        session.add(row)

    def _put_series(self, session: Session, series: SeriesRecord) -> None:
        if session.scalar(select(StudyTable.id).where(StudyTable.study_uid == series.study_uid)) is None:
            raise self._unknown("study", series.study_uid)
        row = session.scalar(select(SeriesTable).where(SeriesTable.series_uid == series.series_uid))
        if row is None:
            now = self._clock()
            row = SeriesTable(series_uid=series.series_uid, study_uid=series.study_uid, added_utc=now, state_utc=now)
            row.state, row.state_message = "new", ""
        elif row.study_uid != series.study_uid:
            raise StoreError(
                f"Series {series.series_uid} of {series.source_path} is already in the store {self.name} under "
                f"study {row.study_uid}, not {series.study_uid}; it was left as it is.",
                hint="Remove the earlier copy from the list first, if it is the same series under a new study.",
                code="store.series.other_study",
            )
        fill_series(row, series)
        session.add(row)

    def _series(self, session: Session, series_uid: str) -> SeriesTable:
        row = session.scalar(select(SeriesTable).where(SeriesTable.series_uid == series_uid))
        if row is None:
            raise self._unknown("series", series_uid)
        return row

    def _unknown(self, kind: str, uid: str) -> StoreError:
        return StoreError(
            f"The store {self.name} holds no {kind} {uid}; nothing was written.",
            hint="Open the study again.",
            code=f"store.unknown_{kind}",
        )


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _make_folder(path: Path, name: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _folder_error(name, error) from error


def _folder_error(name: str, error: OSError) -> StoreError:
    return StoreError(
        f"The store {name} cannot be opened: {error.strerror} ({error.filename}).",
        hint="Give write permission on its folder, or choose another place with --home.",
        code="store.folder",
        kind="environment",
    )


def _check_feedback(feedback: NewFeedback) -> None:
    """Say in words what the table's constraints would refuse."""
    decided = feedback.verdict in ("agree", "disagree")
    problem = None
    if feedback.verdict not in ("agree", "disagree", "unsure"):
        problem = f"{feedback.verdict} is no verdict"
    elif decided != (feedback.present is not None):
        problem = "agree and disagree need present or absent, unsure has neither"
    elif feedback.probability is not None and not 0 <= feedback.probability <= 1:
        problem = f"a probability of {feedback.probability} is impossible"
    elif not feedback.finding_key or not feedback.reader.strip():
        problem = "it names no finding or no reader"
    if problem is not None:
        raise StoreError(
            f"The statement on {feedback.finding_key or 'no finding'} was not stored: {problem}.",
            hint="Give the verdict again.",
            code="store.feedback.inconsistent",
        )


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
