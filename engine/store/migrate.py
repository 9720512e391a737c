"""Bring a store's schema to the revision that this version knows, with a backup first, or refuse."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, inspect

from engine.errors import StoreError
from engine.store.session import single_use_engine, translated, writing

SCRIPTS = Path(__file__).parent / "migrations"

# Alembic keeps the running environment in module globals.
_ALEMBIC = threading.Lock()


def head_revision(scripts: Path = SCRIPTS) -> str:
    """Return the revision that this version of the application writes."""
    head = ScriptDirectory.from_config(_config(scripts)).get_current_head()
    assert head is not None, "the migrations folder holds at least the first revision"
    return head


def upgrade(url: URL, name: str, path: Path | None, *, busy_timeout_s: float, scripts: Path = SCRIPTS) -> Path | None:
    """Migrate the store to the newest revision in one transaction.

    Parameters
    ----------
    url, name, path
        The database, how messages call it, and its file (None for a server, which its own people back up).
    busy_timeout_s
        How long to wait for another program's lock.
    scripts
        The folder of migrations; another one in tests only.

    Returns
    -------
    Path or None
        The backup, where an older store was migrated.

    Raises
    ------
    StoreError
        If the store is newer, foreign, damaged, locked or cannot be written. The old store is then as it was.
    """
    head = head_revision(scripts)
    engine = single_use_engine(url, busy_timeout_s=busy_timeout_s)
    with translated(name):
        with engine.connect() as connection:
            current = _known_revision(connection, name, scripts, head)
        if current == head:
            return None
        backup = back_up(path, current, name) if path is not None and current is not None else None
        with writing(engine).begin() as connection, _ALEMBIC:
            config = _config(scripts)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            _check_references(connection, name)
    return backup


def require_current(engine: Engine, name: str, scripts: Path = SCRIPTS) -> None:
    """Check, without changing anything, that a store has the revision that this version reads.

    Raises
    ------
    StoreError
        If it is older, newer, foreign, empty or damaged, or cannot be read.
    """
    head = head_revision(scripts)
    with translated(name), engine.connect() as connection:
        current = _known_revision(connection, name, scripts, head)
    if current is None:
        raise StoreError(
            f"The database {name} is empty: it holds no store. It was left as it is.",
            hint="Choose the right store.",
            code="store.empty",
        )
    if current != head:
        raise StoreError(
            f"The store {name} has revision {current}; this version of the application reads revision {head}. "
            "It was only to be read, so it was not migrated.",
            hint="Open it once with the application, which backs it up and migrates it; then try again.",
            code="store.older",
        )


def offline_sql(dialect_name: str, scripts: Path = SCRIPTS) -> str:
    """Return the statements of all migrations for a dialect, for review by whoever runs the server."""
    config = _config(scripts)
    config.attributes["dialect_name"] = dialect_name
    text = StringIO()
    config.output_buffer = text
    with _ALEMBIC:
        command.upgrade(config, "head", sql=True)
    return text.getvalue()


def _config(scripts: Path) -> Config:
    config = Config()
    # ConfigParser reads % as the start of an interpolation.
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _known_revision(connection: Connection, name: str, scripts: Path, head: str) -> str | None:
    """Return the store's revision, None for an empty database; refuse what is not ours or newer."""
    heads = MigrationContext.configure(connection).get_current_heads()
    if not heads:
        if inspect(connection).get_table_names():
            raise StoreError(
                f"The store {name} cannot be used: it is a database of another program.",
                hint="Choose the right file; this one was not changed.",
                code="store.foreign",
            )
        return None
    known = {script.revision for script in ScriptDirectory.from_config(_config(scripts)).walk_revisions()}
    unknown = sorted(set(heads) - known)
    if unknown:
        raise StoreError(
            f"The store {name} has revision {', '.join(unknown)}; this version of the application knows revisions "
            f"up to {head}. It was not changed.",
            hint="Update the application, or open the backup that was made before the store was migrated.",
            code="store.newer",
        )
    return str(heads[0])


def _check_references(connection: Connection, name: str) -> None:
    """Stop the commit if the migration orphaned rows: foreign keys were not enforced while it ran."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise StoreError(
            f"The store {name} cannot be migrated: {len(broken)} rows of {tables} would lose what they refer to. "
            "It was not changed.",
            hint="Keep the file and its backup, and report this.",
            code="store.migration",
        )


def back_up(path: Path, revision: str, name: str) -> Path:
    """Copy the store to ``<name>.backup-<revision>-<UTC>`` beside it, readers and writers or not.

    Raises
    ------
    StoreError
        If the copy cannot be written whole; nothing is left of it then.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = path.with_name(f"{path.name}.backup-{revision}-{stamp}")
    partial = target.with_name(f"{target.name}.partial")
    try:
        with (
            translated(name),
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(target)
    except OSError as error:
        raise StoreError(
            f"The store {name} was not migrated: its backup {target.name} cannot be written ({error.strerror}).",
            hint="Free space or give write permission in its folder.",
            code="store.backup",
            kind="environment",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target
