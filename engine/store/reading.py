"""Open a store only to read it: nothing is migrated, switched, locked out or reset, and its file stays as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, event

from engine.errors import StoreError
from engine.store import migrate
from engine.store.session import make_engine

# What SQLite says where it may neither make nor share the log's two side files.
_NO_SIDE_FILES = frozenset({"store.cannot_open", "store.read_only"})


def open_reader(
    url: URL, name: str, path: Path | None, *, busy_timeout_s: float, scripts: Path = migrate.SCRIPTS
) -> Engine:
    """Return an engine that can only read a store of this version's revision.

    A store in use is read whole: SQLite's own locks hold, and what is still in the write-ahead log counts. For them
    SQLite may leave its ``-wal`` and ``-shm`` beside the store. Where the folder does not allow these two and no log
    is there, the file is read as one that does not change, and a transaction during which it did fails.

    Parameters
    ----------
    url, name, path
        The database, how messages call it, and its file (None for a server).
    busy_timeout_s
        How long to wait for another program's lock.
    scripts
        The folder of migrations; another one in tests only.

    Raises
    ------
    StoreError
        If there is no store, it is empty, older, newer, foreign or damaged, or it cannot be read.
    """
    if path is None:
        server = make_engine(url, busy_timeout_s=busy_timeout_s).execution_options(postgresql_readonly=True)
        return _checked(server, name, scripts)
    file = _existing(path, name)
    try:
        return _checked(_sqlite_reader(url, file, "mode=ro", busy_timeout_s), name, scripts)
    except StoreError as error:
        if error.code not in _NO_SIDE_FILES:
            raise
        if _unfinished(file):
            raise _needs_side_files(name) from error
    return _checked(_reader_of_unchanging(url, file, name, busy_timeout_s), name, scripts)


def _checked(engine: Engine, name: str, scripts: Path) -> Engine:
    try:
        migrate.require_current(engine, name, scripts)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite_reader(url: URL, file: Path, options: str, busy_timeout_s: float) -> Engine:
    address = f"{file.as_uri()}?{options}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, timeout=busy_timeout_s, check_same_thread=False)

    return make_engine(url, busy_timeout_s=busy_timeout_s, connect=connect)


def _reader_of_unchanging(url: URL, file: Path, name: str, busy_timeout_s: float) -> Engine:
    """Read without locks, and refuse what was read if another user's program changed the file meanwhile."""
    before = _state(file)
    engine = _sqlite_reader(url, file, "mode=ro&immutable=1", busy_timeout_s)

    @event.listens_for(engine, "commit")
    def _unchanged(_connection: Connection) -> None:
        if _state(file) != before or _unfinished(file):
            raise _changed(name)

    return engine


def _existing(path: Path, name: str) -> Path:
    """Return the store's file with links followed, since its log lies beside the file and not beside the link."""
    if not path.is_file():
        raise StoreError(f"There is no store at {name}.", hint="Check the path.", code="store.missing")
    if not path.stat().st_size:
        raise StoreError(
            f"The file {name} is empty: it holds no store. It was left as it is.",
            hint="Choose the right file; the application keeps its store as store.sqlite in its home folder.",
            code="store.empty",
        )
    return path.resolve()


def _unfinished(file: Path) -> bool:
    """Whether a log or journal lies beside the file, so that the file alone may not be the truth."""
    return any(file.with_name(file.name + ending).exists() for ending in ("-wal", "-journal"))


def _state(file: Path) -> tuple[int, int, int]:
    now = file.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns


def _needs_side_files(name: str) -> StoreError:
    return StoreError(
        f"The store {name} cannot be read: a log with its last changes lies beside it, and this folder does not allow "
        "the files that reading it needs.",
        hint="Open the store once with the application where its folder can be written, or copy it with all files that "
        "begin with its name to such a folder.",
        code="store.log_unreadable",
        kind="environment",
    )


def _changed(name: str) -> StoreError:
    return StoreError(
        f"The store {name} was changed by another program while it was read; what was read was not used.",
        hint="Try again.",
        code="store.changed",
        kind="environment",
    )
