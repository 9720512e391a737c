"""An open store: its connections, its transactions, and what every part of it needs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from engine.errors import StoreError
from engine.store import migrate
from engine.store.presence import Presence
from engine.store.reading import open_reader
from engine.store.session import make_engine, parse_url, sqlite_path, switch_to_wal, transaction, writing
from engine.store.tables import QueueTable, SeriesTable
from engine.store.worklist_rows import fill_missing, refresh

INTERRUPTED = "The analysis was interrupted when the application ended; run it again."


class StoreBase:
    """An open store without its operations. Safe to use from several threads."""

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
        self._busy_timeout_s = busy_timeout_s
        self._owner = uuid.uuid4().hex
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

    # Inside

    def _settle_in(self) -> None:
        if self.path is not None:
            switch_to_wal(self._reader, self.name, busy_timeout_s=self._busy_timeout_s)
            try:
                self._presence = Presence(self.path)
            except OSError as error:
                raise _folder_error(self.name, error) from error
        with self._writing() as session:
            fill_missing(session)
            if self._presence is not None and self._presence.alone:
                self._take_back_orphans(session)

    def _take_back_orphans(self, session: Session) -> None:
        """Nobody else is here: what is marked as running belongs to a process that died."""
        orphans = SeriesTable.state == "analysing"
        studies = session.scalars(select(SeriesTable.study_uid).where(orphans).distinct()).all()
        session.execute(
            update(SeriesTable).where(orphans).values(state="new", state_message=INTERRUPTED, state_utc=self._clock())
        )
        session.execute(update(QueueTable).where(QueueTable.state == "running").values(state="waiting", owner=None))
        for study_uid in studies:
            refresh(session, study_uid)

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
