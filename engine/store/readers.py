"""Readers, and their sessions with a series: when it was read blind, and since when the model's output was in view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine.errors import StoreError
from engine.store.base import StoreBase
from engine.store.records import ReadingMode
from engine.store.tables import ReaderTable, ReadEventTable, ReadSessionTable
from engine.store.text import search_form, storable
from engine.store.workflow import READER_ROLES, Reader, ReaderRole, ReadEvent, ReadEventKind, ReadSession
from engine.store.worklist_rows import refresh


class Readers(StoreBase):
    """Who reads, and what they had seen when they judged."""

    def readers(self, *, include_inactive: bool = False) -> tuple[Reader, ...]:
        """Return the readers in the order of their names; those who were deactivated only if asked for."""
        with self._reading() as session:
            rows = [reader_of(row) for row in session.scalars(select(ReaderTable))]
        shown = [row for row in rows if include_inactive or row.deactivated_utc is None]
        return tuple(sorted(shown, key=lambda row: search_form(row.name)))

    def add_reader(self, name: str, role: ReaderRole = "radiologist", initials: str = "") -> Reader:
        """Add a reader; without initials they are made from the name.

        Raises
        ------
        StoreError
            If the name is empty, or a reader has it already, whatever the case.
        """
        name = storable(name).strip()
        _check_reader(name, role)
        with self._writing() as session:
            taken = [row for row in session.scalars(select(ReaderTable)) if search_form(row.name) == search_form(name)]
            if taken:
                raise StoreError(
                    f"There is already a reader called {taken[0].name}; nothing was written.",
                    hint="Choose that reader, or a name that differs; a reader who was deactivated can come back.",
                    code="store.reader.exists",
                )
            return reader_of(add_reader_row(session, name, role, initials, self._clock()))

    def update_reader(self, name: str, *, role: ReaderRole | None = None, initials: str | None = None) -> Reader:
        """Change a reader's role or initials; the name stands in statements and stays.

        Raises
        ------
        StoreError
            If there is no such reader or no such role.
        """
        with self._writing() as session:
            row = self._reader_row(session, name)
            _check_reader(row.name, role or row.role)
            row.role = role or row.role
            row.initials = row.initials if initials is None else storable(initials)[:16]
            return reader_of(row)

    def deactivate_reader(self, name: str) -> Reader:
        """Let a reader state nothing any more; what was stated stays.

        Raises
        ------
        StoreError
            If there is no such reader.
        """
        with self._writing() as session:
            row = self._reader_row(session, name)
            row.deactivated_utc = row.deactivated_utc or self._clock()
            return reader_of(row)

    def reactivate_reader(self, name: str) -> Reader:
        """Let a deactivated reader work again.

        Raises
        ------
        StoreError
            If there is no such reader.
        """
        with self._writing() as session:
            row = self._reader_row(session, name)
            row.deactivated_utc = None
            return reader_of(row)

    def start_reading(self, series_uid: str, reader: str, mode: ReadingMode) -> ReadSession:
        """Begin a reader's session on a series, or return the one that there is, as it is.

        A series can be read blind only once, so `mode` counts only the first time. In ``ai_seen`` the model's output
        counts as revealed from the start.

        Raises
        ------
        StoreError
            If there is no such series, or the reader is deactivated.
        """
        with self._writing() as session:
            series = self._series(session, series_uid)
            name = active_reader(session, reader, self._clock())
            there = session_of(session, series_uid, name)
            if there is not None:
                return there
            row = ReadSessionTable(series_uid=series_uid, reader=name, mode=mode, created_utc=self._clock())
            session.add(row)
            session.flush()
            self._log(session, row.id, "started", *(("revealed",) if mode == "ai_seen" else ()))
            refresh(session, series.study_uid)
            return _session(session, row)

    def commit_reading(self, session_id: int) -> ReadSession:
        """Commit a blind reading, which reveals the model's output; a second time changes nothing.

        Raises
        ------
        StoreError
            If there is no such session.
        """
        return self._reveal(session_id, "committed")

    def reveal_reading(self, session_id: int) -> ReadSession:
        """Switch blind reading off without a commit: logged as that, and not to be taken back.

        Raises
        ------
        StoreError
            If there is no such session.
        """
        return self._reveal(session_id, "blind_off")

    def finish_reading(self, session_id: int) -> ReadSession:
        """Say that the series is read: its study becomes ``reviewed``.

        Raises
        ------
        StoreError
            If there is no such session.
        """
        return self._end(session_id, "finished")

    def reopen_reading(self, session_id: int) -> ReadSession:
        """Say that it is not read after all: its study becomes ``in_review`` again.

        Raises
        ------
        StoreError
            If there is no such session.
        """
        return self._end(session_id, "reopened")

    def reading_session(self, series_uid: str, reader: str) -> ReadSession | None:
        """Return a reader's session on a series, None if there is none."""
        with self._reading() as session:
            return session_of(session, series_uid, storable(reader))

    def reading_events(self, session_id: int) -> tuple[ReadEvent, ...]:
        """Return a session's log, oldest first."""
        with self._reading() as session:
            return _events(session, session_id)

    def _reveal(self, session_id: int, why: ReadEventKind) -> ReadSession:
        """Log why the model's output shows from now on, and that it does; nothing where it showed already."""
        with self._writing() as session:
            row = self._session_row(session, session_id)
            if _session(session, row).hidden:
                self._log(session, session_id, why, "revealed")
            return _session(session, row)

    def _end(self, session_id: int, event: ReadEventKind) -> ReadSession:
        with self._writing() as session:
            row = self._session_row(session, session_id)
            if (_session(session, row).finished_utc is None) == (event == "finished"):
                self._log(session, session_id, event)
                refresh(session, self._series(session, row.series_uid).study_uid)
            return _session(session, row)

    def _log(self, session: Session, session_id: int, *events: ReadEventKind) -> None:
        now = self._clock()
        session.add_all(ReadEventTable(session_id=session_id, event=event, created_utc=now) for event in events)
        session.flush()

    def _session_row(self, session: Session, session_id: int) -> ReadSessionTable:
        row = session.get(ReadSessionTable, session_id)
        if row is None:
            raise self._unknown("read_session", str(session_id))
        return row

    def _reader_row(self, session: Session, name: str) -> ReaderTable:
        row = session.scalar(select(ReaderTable).where(ReaderTable.name == storable(name)))
        if row is None:
            raise self._unknown("reader", name)
        return row


def reader_of(row: ReaderTable) -> Reader:
    """Turn a row into a reader."""
    return Reader(row.name, cast(ReaderRole, row.role), row.initials, row.created_utc, row.deactivated_utc)


def add_reader_row(session: Session, name: str, role: ReaderRole, initials: str, now: datetime) -> ReaderTable:
    """Put a reader in."""
    made = "".join(word[0] for word in name.replace(".", " ").split())[:4].upper()
    row = ReaderTable(
        name=name, role=role, initials=storable(initials)[:16] or made, created_utc=now, deactivated_utc=None
    )
    session.add(row)
    session.flush()
    return row


def active_reader(session: Session, name: str, now: datetime) -> str:
    """Return a reader's stored name; who states something for the first time becomes a reader.

    Raises
    ------
    StoreError
        If the reader is deactivated.
    """
    name = storable(name)
    row = session.scalar(select(ReaderTable).where(ReaderTable.name == name))
    if row is None:
        row = add_reader_row(session, name, "other", "", now)
    if row.deactivated_utc is not None:
        raise StoreError(
            f"The reader {name} was deactivated on {row.deactivated_utc:%Y-%m-%d}; nothing was written.",
            hint="Choose another reader, or reactivate this one.",
            code="store.reader.deactivated",
        )
    return row.name


def session_of(session: Session, series_uid: str, reader: str) -> ReadSession | None:
    """Return a reader's session on a series."""
    row = session.scalar(
        select(ReadSessionTable).where(ReadSessionTable.series_uid == series_uid, ReadSessionTable.reader == reader)
    )
    return None if row is None else _session(session, row)


def _session(session: Session, row: ReadSessionTable) -> ReadSession:
    begun = ReadSession(
        row.id, row.series_uid, row.reader, cast(ReadingMode, row.mode), row.created_utc, None, None, None
    )
    return _replayed(begun, _events(session, row.id))


def _replayed(state: ReadSession, events: Sequence[ReadEvent]) -> ReadSession:
    for event in events:
        if event.event == "committed":
            state = replace(state, committed_utc=event.created_utc)
        elif event.event == "revealed":
            state = replace(state, revealed_utc=state.revealed_utc or event.created_utc)
        elif event.event in ("finished", "reopened"):
            state = replace(state, finished_utc=event.created_utc if event.event == "finished" else None)
    return state


def _events(session: Session, session_id: int) -> tuple[ReadEvent, ...]:
    rows = session.scalars(
        select(ReadEventTable).where(ReadEventTable.session_id == session_id).order_by(ReadEventTable.id)
    )
    return tuple(ReadEvent(row.id, row.session_id, cast(ReadEventKind, row.event), row.created_utc) for row in rows)


def _check_reader(name: str, role: str) -> None:
    if not name or role not in READER_ROLES:
        raise StoreError(
            f"The reader was not stored: {'the name is empty' if not name else f'{role} is no role'}.",
            hint=f"Give a name, and one of these roles: {', '.join(READER_ROLES)}.",
            code="store.reader.inconsistent",
        )
