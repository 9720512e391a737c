"""Studies and series: put in by a scan, listed, taken off the list."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from engine.errors import StoreError
from engine.store.base import StoreBase
from engine.store.mapping import fill_series, fill_study, series_query, series_row, study_record
from engine.store.records import SeriesRecord, SeriesRow, SeriesState, StudyRecord
from engine.store.tables import (
    AnalysisTable,
    FeatureTable,
    FeedbackTable,
    QueueTable,
    ReadSessionTable,
    SeriesTable,
    StudyTable,
)
from engine.store.text import search_form, storable
from engine.store.worklist_rows import refresh


class Studies(StoreBase):
    """What was scanned."""

    def upsert_study(self, study: StudyRecord) -> None:
        """Add a study, or bring its details up to date.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        with self._writing() as session:
            self._put_study(session, study)
            refresh(session, study.study_uid)

    def upsert_series(self, series: SeriesRecord) -> None:
        """Add a series to its study, or bring its details up to date; its state and analyses stay.

        Raises
        ------
        StoreError
            If its study is not in the store, or the series is already there under another study.
        """
        with self._writing() as session:
            self._put_series(session, series)
            refresh(session, series.study_uid)

    def register(self, items: Iterable[tuple[StudyRecord, SeriesRecord]]) -> None:
        """Do `upsert_study` and `upsert_series` for all of a scan in one transaction: all are listed, or none.

        Raises
        ------
        StoreError
            If a series is already there under another study, or the store cannot be written.
        """
        studies: dict[str, None] = {}
        with self._writing() as session:
            for study, series in items:
                self._put_study(session, study)
                self._put_series(session, series)
                studies[study.study_uid] = None
            for study_uid in studies:
                refresh(session, study_uid)

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

        Feedback and read sessions are never deleted: a series that has some stays in the store unseen, so that its
        corrections can still be exported, and comes back if it is opened again. Without them nothing of it stays.

        Raises
        ------
        StoreError
            If there is no such series.
        """
        with self._writing() as session:
            row = self._series(session, series_uid)
            for table in (FeatureTable, AnalysisTable, QueueTable):
                session.execute(delete(table).where(table.series_uid == series_uid))
            if _was_read(session, series_uid):
                row.removed_utc, row.state, row.state_message = self._clock(), "new", ""
                refresh(session, row.study_uid)
                return
            session.delete(row)
            session.flush()
            refresh(session, row.study_uid)
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
            refresh(session, row.study_uid)

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


def _was_read(session: Session, series_uid: str) -> bool:
    return any(
        session.scalar(select(func.count()).where(table.series_uid == series_uid))
        for table in (FeedbackTable, ReadSessionTable)
    )
