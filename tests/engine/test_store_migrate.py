"""Opening: fresh, old, newer, foreign, damaged, locked and unwritable stores."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.store import migrate
from engine.store.repository import Store
from engine.store.session import parse_url
from engine.store.tables import Base
from engine.store.workflow import WorklistQuery
from tests.conftest import PROJECT_ROOT
from tests.support.store_migrations import scripts_with
from tests.support.store_values import MARKED, SERIES, STATEMENT, assert_same_analysis, filled, make_analysis

DATA = Path(__file__).parent / "data"
FIXTURE = DATA / "store_0001.sqlite"
NEWEST = DATA / "store_0002.sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def old(path: Path) -> Path:
    """A store of revision 0001 in the place where one is expected."""
    shutil.copy(FIXTURE, path)
    return path


def upgrade(path: Path, scripts: Path) -> Path | None:
    return migrate.upgrade(parse_url(path), str(path), path, busy_timeout_s=5, scripts=scripts)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as raw:
        return list(raw.iterdump())


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as raw:
        return str(raw.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_migrations_make_the_tables_that_the_code_maps(path: Path) -> None:
    with Store.open(path) as store, store._reader.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert revision(path) == migrate.head_revision() == "0002"


def test_a_fresh_store_makes_no_backup_and_its_folder(tmp_path: Path) -> None:
    with Store.open(tmp_path / "new" / "home" / "store.sqlite") as store:
        assert store.migration_backup is None
        assert store.list_series() == ()
    assert sorted(item.name for item in (tmp_path / "new" / "home").iterdir()) == ["store.sqlite", "store.sqlite.lock"]


def test_a_fresh_store_has_the_schema_of_the_released_fixture(path: Path) -> None:
    Store.open(path).close()

    def schema(file: Path) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(file)) as raw:
            return sorted(raw.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))

    assert schema(path) == schema(NEWEST)
    shutil.copy(FIXTURE, path)
    Store.open(path).close()
    assert schema(path) == schema(NEWEST), "a migrated store is no different from a fresh one"


def test_the_released_fixture_opens_with_everything_in_it(old: Path, catalogue: Catalogue) -> None:
    with Store.open(old) as store:
        first, second = store.list_series()
        assert (first.series_uid, first.state, first.reasons) == ("1.2.840.1.6", "failed", ("not HU",))
        assert (second.series_uid, second.state, second.patient_name) == (SERIES.series_uid, "analysed", "Müller^Åsa")
        analysis = store.latest_analysis(SERIES.series_uid)
        assert analysis is not None
        assert_same_analysis(analysis, make_analysis(catalogue, seed=2))
        assert {key: row.verdict for key, row in store.current_feedback(SERIES.series_uid).items()} == {
            STATEMENT.finding_key: "disagree",
            "lipoma": "unsure",
        }
        assert len(store.feedback_history(SERIES.series_uid)) == 4


def test_a_store_of_revision_0001_gains_readers_and_a_worklist_and_loses_no_row(old: Path) -> None:
    tables = ("studies", "series", "analyses", "feedback")

    def rows(file: Path) -> dict[str, list[tuple[object, ...]]]:
        with closing(sqlite3.connect(file)) as raw:
            with closing(sqlite3.connect(FIXTURE)) as first:
                columns = {name: [c[1] for c in first.execute(f"PRAGMA table_info({name})")] for name in tables}
            return {name: raw.execute(f"SELECT {', '.join(columns[name])} FROM {name}").fetchall() for name in tables}

    before = rows(old)
    with Store.open(old) as store:
        assert store.migration_backup is not None
        assert rows(store.migration_backup) == before
        assert [(row.name, row.role) for row in store.readers()] == [(STATEMENT.reader, "other")]
        lines = store.worklist(WorklistQuery(search="muller")).rows
        assert [(item.study_uid, item.state, item.n_series) for item in lines] == [("1.2.840.1", "in_review", 2)]
        for row in store.feedback_history(SERIES.series_uid):
            assert (row.role, row.reason_code, row.locations, row.key_images) == ("reading", "", (), ())
            assert (row.laterality, row.certainty, row.after_reveal, row.model_notice) == (None, None, None, None)
        standing = store.corrections()
        assert {row.model_notice for row in standing} == {"trained on synthetic phantoms"}, "from the analysis there is"
        analysis = store.latest_analysis(SERIES.series_uid)
        assert analysis is not None
        assert (analysis.unit, analysis.counterfactual, analysis.pooled_feature) == ("slice", None, None)
        assert store.add_feedback(STATEMENT).supersedes_id is not None
    assert rows(old)["feedback"][:4] == before["feedback"]
    assert {name: found for name, found in rows(old).items() if name != "feedback"} == {
        name: found for name, found in before.items() if name != "feedback"
    }


def test_the_fixture_of_revision_0002_opens_with_everything_in_it(path: Path, catalogue: Catalogue) -> None:
    shutil.copy(NEWEST, path)
    with Store.open(path) as store:
        assert store.migration_backup is None
        history = store.feedback_history(SERIES.series_uid)
        (marked,) = [row for row in history if row.finding_key == MARKED.finding_key]
        assert (marked.locations, marked.laterality, marked.certainty) == (MARKED.locations, "left", 80)
        assert (marked.mode, marked.after_reveal) == ("blind", False)
        reading = store.reading_session(SERIES.series_uid, "second")
        assert reading is not None
        assert reading.committed_utc is not None
        assert store.consensus(SERIES.series_uid)[STATEMENT.finding_key].reader == "Dr. Berg"
        assert [item.series_uid for item in store.queue()] == ["1.2.840.1.6"]
        assert [item.name for item in store.saved_filters()] == ["urgent"]
        analysis = store.latest_analysis(SERIES.series_uid)
        assert analysis is not None
        assert_same_analysis(analysis, make_analysis(catalogue, seed=2, extras=True))
        assert store.similar_studies(SERIES.series_uid, analysis.model.digest).n_excluded == 1


def test_an_old_store_is_backed_up_whole_and_then_migrated(old: Path, tmp_path: Path) -> None:
    before = dump(old)
    backup = upgrade(old, scripts_with(tmp_path))
    assert backup is not None
    assert backup.parent == old.parent
    assert backup.name.startswith("store.sqlite.backup-0001-")
    assert dump(backup) == before
    assert revision(old) == "0003"
    with closing(sqlite3.connect(old)) as raw:
        assert raw.execute("SELECT count(*) FROM series WHERE note = description").fetchone() == (2,)
        assert raw.execute("SELECT count(*) FROM feedback").fetchone() == (4,)
    assert upgrade(old, tmp_path / "migrations") is None, "migrated once, not again"


def test_the_backup_has_what_is_still_in_the_write_ahead_log(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        filled(store).add_feedback(STATEMENT)
        assert path.with_name("store.sqlite-wal").stat().st_size > 0
        backup = upgrade(path, scripts_with(tmp_path))
    assert backup is not None
    with closing(sqlite3.connect(backup)) as raw:
        assert raw.execute("SELECT finding_key FROM feedback").fetchall() == [(STATEMENT.finding_key,)]


@pytest.mark.parametrize(
    ("then", "error"),
    [
        ('raise RuntimeError("half-way")', RuntimeError),
        ('op.drop_table("analyses"); op.execute("INSERT INTO studies (id) VALUES (1)")', StoreError),
        ('op.execute("DELETE FROM studies")', StoreError),
    ],
)
def test_a_migration_that_fails_half_way_leaves_the_old_store(
    old: Path, tmp_path: Path, then: str, error: type[Exception]
) -> None:
    before = dump(old)
    with pytest.raises(error):
        upgrade(old, scripts_with(tmp_path, then))
    assert dump(old) == before
    assert revision(old) == "0001"
    with Store.open(old) as store:
        assert len(store.list_series()) == 2


def test_a_migration_may_rebuild_a_parent_table_without_losing_the_children(old: Path, tmp_path: Path) -> None:
    scripts = scripts_with(
        tmp_path,
        'with op.batch_alter_table("series") as batch: batch.alter_column("number", type_=sa.BigInteger())',
    )
    upgrade(old, scripts)
    with closing(sqlite3.connect(old)) as raw:
        counts = [raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("analyses", "feedback")]
    assert counts == [3, 4]


def test_a_newer_store_is_refused_by_both_revisions_and_left_alone(old: Path, tmp_path: Path) -> None:
    upgrade(old, scripts_with(tmp_path))
    before = dump(old)
    files = sorted(item.name for item in old.parent.iterdir())
    with pytest.raises(StoreError, match=r"store\.sqlite has revision 0003.*up to 0002") as caught:
        Store.open(old)
    assert (caught.value.code, caught.value.kind) == ("store.newer", "input")
    assert dump(old) == before
    assert sorted(item.name for item in old.parent.iterdir()) == files


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE bookmarks (id INTEGER)")
    content = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Store.open(path)
    assert caught.value.code == "store.foreign"
    assert path.read_bytes() == content


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"finding,label\n" * 1000)
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"store\.sqlite") as caught:
        Store.open(path)
    assert (caught.value.code, caught.value.kind) == ("store.not_a_database", "input")
    assert path.read_bytes() == content


def test_a_damaged_store_is_named(old: Path) -> None:
    content = bytearray(old.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    old.write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as caught:
        Store.open(old).list_series()
    assert (caught.value.code, caught.value.kind) == ("store.corrupt", "input")


def test_a_folder_in_place_of_the_file_is_an_environment_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError) as caught:
        Store.open(path)
    assert (caught.value.code, caught.value.kind) == ("store.cannot_open", "environment")


def test_a_file_in_place_of_the_folder_is_an_environment_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="home") as caught:
        Store.open(tmp_path / "home" / "store.sqlite")
    assert (caught.value.code, caught.value.kind) == ("store.folder", "environment")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a folder that nobody can write to")
def test_a_folder_that_nobody_can_write_to_is_an_environment_error() -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(Path("/proc/self/store.sqlite"))
    assert (caught.value.code, caught.value.kind) == ("store.cannot_open", "environment")


def test_a_store_that_cannot_be_written_is_an_environment_error(path: Path) -> None:
    with Store.open(path) as store:
        filled(store)

        @event.listens_for(store._reader, "checkout")
        def _read_only(connection: object, _entry: object, _proxy: object) -> None:
            connection.execute("PRAGMA query_only=ON")  # type: ignore[attr-defined]

        with pytest.raises(StoreError) as caught:
            store.add_feedback(STATEMENT)
        assert (caught.value.code, caught.value.kind) == ("store.read_only", "environment")
        assert len(store.list_series()) == 1


def test_a_full_disk_is_an_environment_error_and_writes_nothing(path: Path) -> None:
    with Store.open(path) as store:
        filled(store)

        @event.listens_for(store._reader, "checkout")
        def _no_space(connection: object, _entry: object, _proxy: object) -> None:
            connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]

        with pytest.raises(StoreError) as caught:
            store.add_feedback(replace(STATEMENT, comment="x" * 100_000))
        assert (caught.value.code, caught.value.kind) == ("store.disk_full", "environment")
        assert store.feedback_history(SERIES.series_uid) == ()


def test_a_lock_held_too_long_is_an_environment_error_and_reading_goes_on(path: Path) -> None:
    with Store.open(path, busy_timeout_s=0.05) as store, closing(sqlite3.connect(path)) as other:
        filled(store)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            store.add_feedback(STATEMENT)
        assert (caught.value.code, caught.value.kind) == ("store.locked", "environment")
        assert len(store.list_series()) == 1
        other.rollback()
        assert store.add_feedback(STATEMENT).id == 1


def test_a_writer_waits_for_a_short_lock(path: Path) -> None:
    with Store.open(path) as store, closing(sqlite3.connect(path, check_same_thread=False)) as other:
        filled(store)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.rollback)
        release.start()
        store.add_feedback(STATEMENT)
        release.join()
        assert len(store.feedback_history(SERIES.series_uid)) == 1


def test_a_failed_backup_leaves_store_and_folder_as_they_were(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = scripts_with(tmp_path)
    before, files = dump(old), sorted(item.name for item in old.parent.iterdir())

    def no_space(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(StoreError, match=r"backup-0001.*No space left") as caught:
        upgrade(old, scripts)
    assert (caught.value.code, caught.value.kind) == ("store.backup", "environment")
    assert dump(old) == before
    assert sorted(item.name for item in old.parent.iterdir()) == files


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("sqlite://", "store.url"),
        ("sqlite:///:memory:", "store.url"),
        ("sqlite:///file:x?mode=ro&uri=true", "store.url"),
        ("mysql://host/name", "store.url"),
        ("postgresql+nodriver://host/name", "store.driver"),
        ("postgresql://host:notaport/name", "store.url"),
    ],
)
def test_urls_that_cannot_work_are_refused(url: str, code: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert caught.value.code == code


def test_the_passwords_of_a_url_stay_out_of_messages() -> None:
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql+nodriver://reader:s3cret@host/name")
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_postgresql_gets_the_same_rules() -> None:
    statements = migrate.offline_sql("postgresql")
    for table in ("feedback", "read_sessions", "read_events"):
        assert f"BEFORE UPDATE OR DELETE ON {table}" in statements
    assert "TIMESTAMP WITH TIME ZONE" in statements
    assert statements.count("CREATE TABLE") == 13


OPENER = """
import sys
from pathlib import Path
from engine.store.repository import Store
with Store.open(Path(sys.argv[1])) as store:
    print(len(store.list_series()))
"""


def test_several_processes_may_make_the_store_at_once(path: Path) -> None:
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, str(path)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [opener.communicate(timeout=120)[0] for opener in openers]
    assert [opener.returncode for opener in openers] == [0, 0, 0]
    assert answers == ["0\n", "0\n", "0\n"]


def test_the_store_loads_neither_qt_nor_torch() -> None:
    code = "import sys, engine.store.repository, engine.export.registry as r; r.exporters(); print(sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not any(f"'{name}'" in loaded for name in ("torch", "PySide6", "vtkmodules", "timm"))
