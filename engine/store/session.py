"""Connections, transactions, and the one place where a database error becomes a StoreError."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, Pool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from engine.errors import ErrorKind, StoreError

# SQLite's primary result codes, https://www.sqlite.org/rescode.html; the extended codes keep them in the low byte.
_SQLITE_FAILURES: dict[int, tuple[str, ErrorKind, str, str]] = {
    sqlite3.SQLITE_BUSY: (
        "store.locked",
        "environment",
        "another program holds its lock",
        "Close the other program that uses this store and try again.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "store.locked",
        "environment",
        "another connection holds its lock",
        "Close the other program that uses this store and try again.",
    ),
    sqlite3.SQLITE_READONLY: (
        "store.read_only",
        "environment",
        "it cannot be written",
        "Give write permission on the file and its folder, or choose another place with --home.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "store.cannot_open",
        "environment",
        "the file cannot be opened or created",
        "Check that the folder exists and can be written, or choose another place with --home.",
    ),
    sqlite3.SQLITE_IOERR: (
        "store.io",
        "environment",
        "the disk reports an error",
        "Check the disk, and that the store does not lie on a network share that has gone.",
    ),
    sqlite3.SQLITE_FULL: (
        "store.disk_full",
        "environment",
        "the disk is full; nothing of this change was written",
        "Free some space and try again.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "store.not_a_database",
        "input",
        "the file is not an SQLite database",
        "Choose the right file, or restore a backup that lies beside it.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "store.corrupt",
        "input",
        "the file is damaged",
        "Keep the file, and restore the newest backup that lies beside it.",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "store.constraint",
        "input",
        "the change breaks a rule of the store and was not made",
        "Reopen the study and try again.",
    ),
}


def parse_url(url_or_path: str | Path) -> URL:
    """Take an SQLAlchemy URL, or a path as an SQLite file.

    Raises
    ------
    StoreError
        If the URL cannot be used: unknown form, an SQLite URL without a plain file.
    """
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return URL.create("sqlite", database=str(Path(url_or_path).absolute()))
    try:
        url = make_url(url_or_path)
    except (ArgumentError, ValueError) as error:
        raise _unusable("The store's URL cannot be read") from error
    if url.get_backend_name() == "sqlite" and (url.database or ":memory:").startswith((":memory:", "file:")):
        raise _unusable("The store needs a plain file, which this SQLite URL does not name")
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise _unusable(f"The store speaks SQLite and PostgreSQL, not {url.get_backend_name()}")
    return url


def _unusable(reason: str) -> StoreError:
    return StoreError(
        f"{reason}.",
        hint="Give a file path, sqlite:////folder/store.sqlite or postgresql+driver://host/name.",
        code="store.url",
    )


def sqlite_path(url: URL) -> Path | None:
    """Return the file of an SQLite URL, None for a server."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def make_engine(
    url: URL,
    *,
    busy_timeout_s: float,
    foreign_keys: bool = True,
    poolclass: type[Pool] | None = None,
    connect: Callable[[], sqlite3.Connection] | None = None,
) -> Engine:
    """Build an engine whose SQLite transactions begin and end where we say.

    Parameters
    ----------
    url
        From `parse_url`.
    busy_timeout_s
        How long a statement waits for another program's lock.
    foreign_keys
        Off only for migrations: rebuilding a parent table would take its children along.
    poolclass
        NullPool for an engine that is used once.
    connect
        Opens SQLite connections in the engine's place, where the URL cannot say how.

    Raises
    ------
    StoreError
        If the dialect or its driver is not installed.
    """
    sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = create_engine(
            url,
            connect_args={"timeout": busy_timeout_s} if sqlite else {},
            hide_parameters=True,  # they hold patient data, and an error's text ends up in reports
            poolclass=poolclass,
            **({"creator": connect} if connect is not None else {}),
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StoreError(
            f"No driver for {url.drivername} is installed, so the store cannot be opened.",
            hint="Install the driver into the application's environment, or use an SQLite file.",
            code="store.driver",
            kind="environment",
        ) from error
    if sqlite:
        _govern_sqlite(engine, foreign_keys=foreign_keys)
    return engine


def single_use_engine(url: URL, *, busy_timeout_s: float) -> Engine:
    """Build an engine for a migration: no pool, foreign keys not enforced (they are checked before the commit)."""
    return make_engine(url, busy_timeout_s=busy_timeout_s, foreign_keys=False, poolclass=NullPool)


def _govern_sqlite(engine: Engine, *, foreign_keys: bool) -> None:
    """Set the pragmas, and emit BEGIN ourselves: sqlite3 would leave schema changes outside the transaction."""

    @event.listens_for(engine, "connect")
    def _on_connect(dbapi_connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        cursor.execute("PRAGMA recursive_triggers=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        mode = "BEGIN IMMEDIATE" if connection.get_execution_options().get("store_writes") else "BEGIN"
        connection.exec_driver_sql(mode)


def switch_to_wal(engine: Engine, name: str, *, busy_timeout_s: float) -> None:
    """Turn on write-ahead logging, which stays with the file: readers never wait for the writer.

    SQLite does not wait for other openers that switch in the same moment, so this does.

    Raises
    ------
    StoreError
        If the file system cannot do it, or another program holds the store for too long.
    """
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            mode = _ask_for_wal(engine, name)
        except StoreError as error:
            if error.code != "store.locked" or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            break
    if mode != "wal":
        raise StoreError(
            f"The store {name} cannot be used: its file system does not allow write-ahead logging.",
            hint="Keep the store on a local disk; choose the place with --home.",
            code="store.no_wal",
            kind="environment",
        )


def _ask_for_wal(engine: Engine, name: str) -> str | None:
    with translated(name):
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            row = cursor.fetchone()
            cursor.close()
        finally:
            connection.close()
    return None if row is None else str(row[0])


def writing(engine: Engine) -> Engine:
    """Return the engine's twin (same pool) whose transactions take the write lock at once."""
    return engine.execution_options(store_writes=True)


@contextmanager
def transaction(engine: Engine, name: str) -> Iterator[Session]:
    """Open a session for one operation: committed at the end, rolled back if anything is raised.

    Raises
    ------
    StoreError
        If the database refuses or cannot be reached.
    """
    with translated(name), Session(engine) as session, session.begin():
        yield session


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Translate the errors of the database called `name`.

    Raises
    ------
    StoreError
        For what the environment or the file is to blame; an error of our own SQL passes as the bug that it is.
    """
    try:
        yield
    except DBAPIError as error:
        raise_as_store_error(error.orig, name, connection_lost=isinstance(error, OperationalError))
        raise
    except sqlite3.Error as error:
        raise_as_store_error(error, name)
        raise


def raise_as_store_error(error: BaseException | None, name: str, *, connection_lost: bool = False) -> None:
    """Raise the StoreError for a driver's error, or return if it has none."""
    if isinstance(error, sqlite3.Error):
        known = _SQLITE_FAILURES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if known is not None:
            code, kind, reason, hint = known
            raise StoreError(f"The store {name} cannot be used: {reason}.", hint=hint, code=code, kind=kind) from error
    elif connection_lost:
        raise StoreError(
            f"The database {name} did not answer or refused; this change was not made.",
            hint="Check that the server runs and that the URL, user and rights are right.",
            code="store.server",
            kind="environment",
        ) from error
