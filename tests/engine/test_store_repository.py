"""Studies, series, states and analyses through a real SQLite file."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.store.repository import INTERRUPTED, Store
from tests.conftest import PROJECT_ROOT
from tests.support.store_values import (
    DIGEST,
    SERIES,
    STATEMENT,
    STUDY,
    assert_same_analysis,
    filled,
    make_analysis,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Größe 100%" / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield filled(opened)


def test_a_series_comes_back_as_it_was_put_in(store: Store) -> None:
    (row,) = store.list_series()
    assert (row.patient_name, row.patient_id, row.study_date) == ("Müller^Åsa", "CT-0017", "20260314")
    assert (row.description, row.number, row.kind, row.n_slices) == ("Axial 4.0 H31s", 2, "volume", 28)
    assert (row.source_path, row.reasons) == ("/studies/ct-0017", ())
    assert (row.state, row.state_message, row.model_digest, row.positive_keys) == ("new", "", None, ())
    assert store.get_study(STUDY.study_uid) == STUDY
    assert store.get_series("1.9") is None


def test_opening_again_updates_details_and_keeps_state_and_analyses(store: Store, catalogue: Catalogue) -> None:
    store.save_analysis(make_analysis(catalogue))
    store.upsert_study(replace(STUDY, study_description="Head CT"))
    store.upsert_series(replace(SERIES, source_path="/moved", reasons=("gaps: 2",)))
    (row,) = store.list_series()
    assert (row.study_description, row.source_path, row.reasons) == ("Head CT", "/moved", ("gaps: 2",))
    assert row.state == "analysed"
    assert row.model_digest == DIGEST


def test_the_list_shows_the_newest_study_first_and_its_series_by_number(store: Store) -> None:
    store.upsert_series(replace(SERIES, series_uid="1.2.840.1.4", number=1))
    store.upsert_study(replace(STUDY, study_uid="1.2.840.9"))
    store.upsert_series(replace(SERIES, series_uid="1.2.840.9.1", study_uid="1.2.840.9", number=7))
    assert [row.series_uid for row in store.list_series()] == ["1.2.840.9.1", "1.2.840.1.4", "1.2.840.1.5"]


@pytest.mark.parametrize(
    ("words", "hit"),
    [
        ("muller", True),
        ("ASA h31S", True),
        ("åsa cct", True),
        ("MÜLLER åsa", True),  # as composed letters
        ("mu\N{COMBINING DIAERESIS}ller", True),
        ("20260314", True),
        ("muller nobody", False),
        ("100%", False),
        ("_", False),
        ("", True),
    ],
)
def test_search_folds_case_and_accents_and_takes_wildcards_literally(store: Store, words: str, hit: bool) -> None:
    assert bool(store.list_series(words)) is hit


def test_a_series_needs_its_study(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.upsert_series(replace(SERIES, series_uid="1.7.1", study_uid="1.7"))
    assert caught.value.code == "store.unknown_study"
    assert len(store.list_series()) == 1


def test_a_series_does_not_move_to_another_study(store: Store) -> None:
    store.upsert_study(replace(STUDY, study_uid="1.2.840.9"))
    with pytest.raises(StoreError, match=r"under study 1\.2\.840\.1, not 1\.2\.840\.9") as caught:
        store.upsert_series(replace(SERIES, study_uid="1.2.840.9"))
    assert caught.value.code == "store.series.other_study"
    (row,) = store.list_series()
    assert row.study_uid == STUDY.study_uid


def test_a_scan_is_listed_whole_or_not_at_all(store: Store, path: Path) -> None:
    other = replace(STUDY, study_uid="1.2.840.9")
    good = (other, replace(SERIES, series_uid="1.2.840.9.1", study_uid="1.2.840.9"))
    taken = (other, replace(SERIES, study_uid="1.2.840.9"))
    with pytest.raises(StoreError) as caught:
        store.register([good, taken])
    assert caught.value.code == "store.series.other_study"
    assert [row.series_uid for row in store.list_series()] == [SERIES.series_uid]
    assert store.get_study("1.2.840.9") is None
    store.register([good, (STUDY, replace(SERIES, description="again"))])
    assert [row.description for row in store.list_series()] == [SERIES.description, "again"]


def test_an_analysis_comes_back_equal_to_the_last_bit(store: Store, path: Path, catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    assert any(item.positive for item in analysis.findings)
    store.save_analysis(analysis)
    with Store.open(path) as second:
        stored = second.latest_analysis(SERIES.series_uid, DIGEST)
        assert stored is not None
        assert_same_analysis(stored, analysis)
        (row,) = second.list_series()
    assert row.state == "analysed"
    assert row.positive_keys == tuple(item.key for item in analysis.findings if item.positive)
    assert row.model_name == "phantom-demo"


def test_a_model_that_covers_nothing_can_be_stored(store: Store, catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue, covered=0)
    store.save_analysis(analysis)
    stored = store.latest_analysis(SERIES.series_uid)
    assert stored is not None
    assert_same_analysis(stored, analysis)


def test_the_newest_run_counts_per_model_and_history_is_kept(store: Store, path: Path, catalogue: Catalogue) -> None:
    other = "cd" * 32
    first, second, third = (
        make_analysis(catalogue, seed=1),
        make_analysis(catalogue, seed=2, digest=other),
        make_analysis(catalogue, seed=3),
    )
    numbers = [store.save_analysis(analysis) for analysis in (first, second, third)]
    assert numbers == sorted(set(numbers))
    by_any = store.latest_analysis(SERIES.series_uid)
    by_first = store.latest_analysis(SERIES.series_uid, DIGEST)
    by_other = store.latest_analysis(SERIES.series_uid, other)
    assert by_any is not None
    assert by_first is not None
    assert by_other is not None
    assert_same_analysis(by_any, third)
    assert_same_analysis(by_first, third)
    assert_same_analysis(by_other, second)
    assert store.latest_analysis(SERIES.series_uid, "00" * 32) is None
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM analyses").fetchone() == (3,)


def test_an_analysis_of_an_unknown_series_or_with_a_nan_leaves_no_row(store: Store, catalogue: Catalogue) -> None:
    with pytest.raises(StoreError) as unknown:
        store.save_analysis(make_analysis(catalogue, series_uid="1.7.1"))
    assert unknown.value.code == "store.unknown_series"
    analysis = make_analysis(catalogue)
    broken = replace(analysis, findings=(replace(analysis.findings[0], logit=float("nan")), *analysis.findings[1:]))
    with pytest.raises(StoreError) as not_finite:
        store.save_analysis(broken)
    assert not_finite.value.code == "store.analysis.not_finite"
    assert store.latest_analysis(SERIES.series_uid) is None
    assert store.list_series()[0].state == "new"


def test_a_damaged_analysis_is_named_and_nothing_is_unpickled(
    store: Store, path: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    store.save_analysis(make_analysis(catalogue))
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, keys=np.array([{"code": 1}], dtype=object))
    for arrays in (b"not a zip", b"", pickled.read_bytes()):
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("UPDATE analyses SET arrays = ?", (arrays,))
        with pytest.raises(StoreError, match=r"store\.sqlite is damaged") as caught:
            store.latest_analysis(SERIES.series_uid)
        assert caught.value.code == "store.analysis.damaged"


def test_states_follow_the_work(store: Store) -> None:
    store.set_series_state(SERIES.series_uid, "analysing")
    assert store.list_series()[0].state == "analysing"
    store.set_series_state(SERIES.series_uid, "failed", "The compute process ended (signal 9).")
    assert store.list_series()[0].state_message == "The compute process ended (signal 9)."
    with pytest.raises(StoreError) as caught:
        store.set_series_state("1.7.1", "analysing")
    assert caught.value.code == "store.unknown_series"


def test_an_orphaned_analysis_becomes_new_with_a_note(store: Store, path: Path) -> None:
    store.set_series_state(SERIES.series_uid, "analysing")
    store.close()
    with Store.open(path) as again:
        (row,) = again.list_series()
        assert (row.state, row.state_message) == ("new", INTERRUPTED)


def test_a_running_analysis_is_left_alone_by_a_second_opener(store: Store, path: Path) -> None:
    store.set_series_state(SERIES.series_uid, "analysing")
    with Store.open(path) as second:
        assert second.list_series()[0].state == "analysing"
    with Store.open(path) as third:
        assert third.list_series()[0].state == "analysing"


def test_removing_a_series_removes_its_study_when_it_was_the_last(store: Store, path: Path) -> None:
    store.upsert_series(replace(SERIES, series_uid="1.2.840.1.6", number=3))
    store.delete_series(SERIES.series_uid)
    assert [row.series_uid for row in store.list_series()] == ["1.2.840.1.6"]
    assert store.get_study(STUDY.study_uid) == STUDY
    store.delete_series("1.2.840.1.6")
    assert store.get_study(STUDY.study_uid) is None
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT (SELECT count(*) FROM studies) + (SELECT count(*) FROM series)").fetchone() == (0,)


def test_removing_a_series_with_feedback_keeps_the_feedback(store: Store, catalogue: Catalogue) -> None:
    store.save_analysis(make_analysis(catalogue))
    store.add_feedback(STATEMENT)
    store.delete_series(SERIES.series_uid)
    assert store.list_series() == ()
    assert store.get_series(SERIES.series_uid) is None
    kept = store.get_series(SERIES.series_uid, include_removed=True)
    assert kept is not None
    assert kept.source_path == SERIES.source_path
    assert store.latest_analysis(SERIES.series_uid) is None
    (correction,) = store.corrections()
    assert correction.finding_key == STATEMENT.finding_key
    store.upsert_series(SERIES)
    assert store.list_series()[0].state == "new"
    assert set(store.current_feedback(SERIES.series_uid)) == {STATEMENT.finding_key}


def test_text_that_no_database_takes_is_made_storable(store: Store) -> None:
    store.upsert_study(replace(STUDY, patient_name="A\0nna\udcff"))
    assert store.list_series()[0].patient_name == "Anna?"


def test_times_are_kept_as_utc_whatever_zone_they_came_in(path: Path) -> None:
    tokyo = timezone(timedelta(hours=9))
    moment = datetime(2026, 3, 14, 1, 30, 15, 250000, tzinfo=tokyo)
    with Store.open(path, clock=lambda: moment) as store:
        stored = filled(store).add_feedback(STATEMENT)
        assert stored.created_utc == moment
        (read,) = store.feedback_history(SERIES.series_uid)
    assert read.created_utc == moment
    assert read.created_utc.tzinfo is UTC
    assert read.created_utc.isoformat() == "2026-03-13T16:30:15.250000+00:00"


def test_every_connection_is_durable_and_checked(store: Store, path: Path) -> None:
    with store._writing() as session:
        pragmas = {
            name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "recursive_triggers")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 10_000,
        "recursive_triggers": 1,
    }


def test_an_sqlite_url_opens_the_same_file(store: Store, path: Path) -> None:
    with Store.open(f"sqlite:///{path}") as by_url:
        assert by_url.path == path
        assert by_url.list_series() == store.list_series()


KILLED_ANALYSIS = """
import os, signal, sys
from pathlib import Path
from engine.store.repository import Store
from tests.support.store_values import SERIES

store = Store.open(Path(sys.argv[1]))
store.set_series_state(SERIES.series_uid, "analysing")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_an_analysis_of_a_killed_process_becomes_new(store: Store, path: Path) -> None:
    store.close()
    killed = subprocess.run([sys.executable, "-c", KILLED_ANALYSIS, str(path)], cwd=PROJECT_ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT state FROM series").fetchone() == ("analysing",)
    with Store.open(path) as again:
        assert again.list_series()[0].state == "new"
        assert again.list_series()[0].state_message == INTERRUPTED
