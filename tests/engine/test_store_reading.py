"""Opening a store only to read it: nothing of it changes, and what the application has just written counts."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.store.reading import open_reader
from engine.store.repository import Store
from engine.store.session import parse_url
from tests.conftest import PROJECT_ROOT
from tests.support.store_migrations import scripts_with
from tests.support.store_values import SERIES, STATEMENT, filled, make_analysis

FIXTURE = Path(__file__).parent / "data" / "store_0001.sqlite"
NEWEST = Path(__file__).parent / "data" / "store_0002.sqlite"

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX folders")
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="gives up the superuser's rights as Linux has it"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "store.sqlite"


@pytest.fixture
def closed(path: Path) -> Path:
    """A store with one statement that nobody has open; its only other file is the lock."""
    with Store.open(path) as store:
        filled(store).add_feedback(STATEMENT)
    return path


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def refused(path: Path | str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Store.open(path, read_only=True)
    return caught.value


# The application in a process of its own: locks of one process would not keep a second opener in it honest.
APPLICATION = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from engine.store.repository import Store
from tests.support.store_values import SERIES, STATEMENT, filled

store = Store.open(Path(sys.argv[1]))
filled(store).add_feedback(STATEMENT)
store.set_series_state(SERIES.series_uid, "analysing")
for order in iter(sys.stdin.readline, ""):
    if order == "kill\\n":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "more\\n":
        store.add_feedback(replace(STATEMENT, finding_key="lipoma"))
    print("done", flush=True)
store.close()
"""


class Application:
    """A live writer."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, str(path)],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, order: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def application(path: Path) -> Iterator[Application]:
    writer = Application(path)
    try:
        assert writer.do("nothing") == "done\n"
        assert path.with_name("store.sqlite-wal").stat().st_size > 0, "its rows are still in the log"
        yield writer
    finally:
        writer.process.communicate(timeout=60)


def test_a_closed_store_is_read_and_its_file_stays(closed: Path) -> None:
    before, modified = sha256(closed), closed.stat().st_mtime_ns
    with Store.open(closed, read_only=True) as store:
        (row,) = store.corrections()
        assert row.finding_key == STATEMENT.finding_key
        assert store.list_series()[0].series_uid == SERIES.series_uid
    assert (sha256(closed), closed.stat().st_mtime_ns) == (before, modified)


def test_no_lock_no_backup_no_switch_of_the_journal(path: Path) -> None:
    shutil.copy(NEWEST, path)
    before = sha256(path)
    with Store.open(path, read_only=True) as store:
        assert len(store.list_series()) == 2
        assert names(path.parent) == {"store.sqlite"}
    assert names(path.parent) == {"store.sqlite"}
    assert sha256(path) == before
    assert path.read_bytes()[18:20] == b"\x01\x01", "still the rollback journal that it came with"


def test_an_unfinished_analysis_is_left_unfinished(closed: Path) -> None:
    with Store.open(closed) as store:
        store.set_series_state(SERIES.series_uid, "analysing")
    before = sha256(closed)
    with Store.open(closed, read_only=True) as store:
        assert store.list_series()[0].state == "analysing"
    assert sha256(closed) == before


def test_what_the_running_application_has_just_written_counts(path: Path) -> None:
    with application(path) as writer:
        before = sha256(path)
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as raw:
            assert raw.execute("SELECT count(*) FROM feedback").fetchone() == (0,), "not in the file itself yet"
        with Store.open(path, read_only=True) as store:
            assert [row.finding_key for row in store.corrections()] == [STATEMENT.finding_key]
            assert writer.do("more") == "done\n"
            assert [row.finding_key for row in store.corrections()] == [STATEMENT.finding_key, "lipoma"]
            assert store.list_series()[0].state == "analysing"
        assert sha256(path) == before, "nor did the reader merge the log"
        assert writer.do("more") == "done\n", "the writer goes on"
    with Store.open(path, read_only=True) as store:
        assert len(store.corrections(include_superseded=True)) == 3


@posix
def test_what_a_killed_application_has_written_counts(path: Path) -> None:
    with application(path) as writer:
        assert writer.do("kill") == ""
    before, log = sha256(path), sha256(path.with_name("store.sqlite-wal"))
    with Store.open(path, read_only=True) as store:
        assert len(store.corrections()) == 1
    assert (sha256(path), sha256(path.with_name("store.sqlite-wal"))) == (before, log)
    with Store.open(path) as store:
        assert len(store.corrections()) == 1
        assert store.list_series()[0].state == "new", "the application itself still clears up"


def test_nothing_can_be_written_through_it(closed: Path, catalogue: Catalogue) -> None:
    with Store.open(closed, read_only=True) as store:
        for write in (
            lambda: store.add_feedback(STATEMENT),
            lambda: store.save_analysis(make_analysis(catalogue)),
            lambda: store.undo_last_feedback(SERIES.series_uid, STATEMENT.reader),
        ):
            with pytest.raises(StoreError) as caught:
                write()
            assert caught.value.code == "store.opened_to_read"
        with store._reader.connect() as connection, pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("DELETE FROM analyses")
        assert len(store.feedback_history(SERIES.series_uid)) == 1


def test_an_older_store_is_named_with_what_to_do_and_left_alone(path: Path, tmp_path: Path) -> None:
    shutil.copy(FIXTURE, path)
    before = sha256(path)
    with pytest.raises(StoreError, match=r"store\.sqlite has revision 0001.*reads revision 0003") as caught:
        open_reader(parse_url(path), str(path), path, busy_timeout_s=5, scripts=scripts_with(tmp_path))
    assert (caught.value.code, caught.value.kind) == ("store.older", "input")
    assert "Open it once with the application" in caught.value.hint
    assert sha256(path) == before
    assert names(path.parent) == {"store.sqlite"}


def test_a_newer_store_is_refused(path: Path) -> None:
    shutil.copy(FIXTURE, path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '0099'")
    assert refused(path).code == "store.newer"


def test_no_store_is_made_where_none_is(path: Path) -> None:
    error = refused(path)
    assert (error.code, error.kind) == ("store.missing", "input")
    error = refused(path.parent / "deeper" / "store.sqlite")
    assert (error.code, error.kind) == ("store.missing", "input")
    assert refused(path.parent).code == "store.missing", "a folder is none either"
    assert names(path.parent) == set()


def test_an_empty_file_stays_empty(path: Path) -> None:
    path.touch()
    error = refused(path)
    assert (error.code, error.kind) == ("store.empty", "input")
    assert names(path.parent) == {"store.sqlite"}
    assert path.stat().st_size == 0


def test_an_empty_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 1")
    before = sha256(path)
    error = refused(path)
    assert (error.code, error.kind) == ("store.empty", "input")
    assert sha256(path) == before


def test_other_files_are_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"finding,label\n" * 1000)
    error = refused(path)
    assert (error.code, error.kind) == ("store.not_a_database", "input")
    path.unlink()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE bookmarks (id INTEGER)")
    before = sha256(path)
    error = refused(path)
    assert (error.code, error.kind) == ("store.foreign", "input")
    assert sha256(path) == before
    assert names(path.parent) == {"store.sqlite"}


@pytest.mark.parametrize("name", ["a?mode=rwc", "50%20off", "ä #1 & co"])
def test_names_that_mean_something_in_a_url_are_only_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "store.sqlite"
    with Store.open(path) as store:
        filled(store).add_feedback(STATEMENT)
    with Store.open(path, read_only=True) as store:
        assert len(store.corrections()) == 1


@posix
def test_through_a_link_the_log_beside_the_file_counts(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    with application(path), Store.open(link, read_only=True) as store:
        assert len(store.corrections()) == 1


# Without capabilities even the superuser meets a folder's permissions. For other users it changes nothing.
POWERLESS_READER = """
import ctypes, os, sys
from pathlib import Path
from engine.errors import StoreError
from engine.store.repository import Store

header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0
path = Path(sys.argv[1])
assert not os.access(path.parent, os.W_OK)
try:
    with Store.open(path, read_only=True) as store:
        print(len(store.corrections()))
        if sys.argv[2:] == ["touch"]:
            os.utime(path, ns=(1, 1))
            print(len(store.corrections()))
except StoreError as error:
    print(error.code, error.kind)
"""


def read_powerless(path: Path, *words: str) -> list[str]:
    path.parent.chmod(0o555)
    try:
        reader = subprocess.run(
            [sys.executable, "-c", POWERLESS_READER, str(path), *words],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        path.parent.chmod(0o755)
    return reader.stdout.splitlines()


@linux
def test_in_a_folder_that_cannot_be_written_a_closed_store_is_read(closed: Path) -> None:
    files = names(closed.parent)
    assert "store.sqlite-wal" not in files
    assert read_powerless(closed) == ["1"]
    assert names(closed.parent) == files


@linux
def test_there_a_change_during_the_reading_is_noticed(closed: Path) -> None:
    assert read_powerless(closed, "touch") == ["1", "store.changed environment"]


@linux
def test_there_the_running_applications_log_counts(path: Path) -> None:
    with application(path):
        for item in path.parent.iterdir():
            item.chmod(0o444)
        assert read_powerless(path) == ["1"]


@linux
def test_there_a_log_that_cannot_be_read_is_an_error_and_not_an_older_truth(path: Path) -> None:
    with application(path) as writer:
        assert writer.do("kill") == ""
    os.remove(path.with_name("store.sqlite-shm"))
    assert read_powerless(path) == ["store.log_unreadable environment"]
