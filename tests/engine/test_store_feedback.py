"""Feedback only grows, undo appends, and what a call returned from is there after kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.store.records import GivenVerdict, NewFeedback, stated_presence
from engine.store.repository import Store
from engine.store.tables import FeedbackTable
from tests.conftest import PROJECT_ROOT
from tests.support.store_values import DIGEST, SERIES, STATEMENT, STUDY, filled, make_analysis

KEY = STATEMENT.finding_key
READER = STATEMENT.reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield filled(opened)


def test_a_statement_is_stored_whole(store: Store, path: Path) -> None:
    given_back = store.add_feedback(STATEMENT)
    with Store.open(path) as again:
        (row,) = again.feedback_history(SERIES.series_uid)
    assert row == given_back
    assert {name: getattr(row, name) for name in NewFeedback.__dataclass_fields__} == {
        name: getattr(STATEMENT, name) for name in NewFeedback.__dataclass_fields__
    }
    assert row.study_uid == STUDY.study_uid
    assert row.supersedes_id is None


def test_a_statement_without_analysis_is_stored_too(store: Store) -> None:
    row = store.add_feedback(replace(STATEMENT, model_digest=None, probability=None, mode="blind"))
    assert (row.model_digest, row.probability, row.mode) == (None, None, "blind")


def test_a_correction_supersedes_and_both_rows_stay(store: Store) -> None:
    first = store.add_feedback(STATEMENT)
    second = store.add_feedback(replace(STATEMENT, verdict="agree", present=True))
    assert second.supersedes_id == first.id
    assert store.current_feedback(SERIES.series_uid) == {KEY: second}
    assert store.feedback_history(SERIES.series_uid) == (first, second)


def test_undo_goes_back_one_click_at_a_time_across_findings(store: Store) -> None:
    first = store.add_feedback(STATEMENT)
    other = store.add_feedback(replace(STATEMENT, finding_key="lipoma", verdict="unsure", present=None))
    second = store.add_feedback(replace(STATEMENT, verdict="agree", present=True))

    withdrawn = store.undo_last_feedback(SERIES.series_uid, READER)
    assert withdrawn is not None
    assert (withdrawn.verdict, withdrawn.supersedes_id, withdrawn.finding_key) == ("withdrawn", second.id, KEY)
    assert store.current_feedback(SERIES.series_uid) == {KEY: first, "lipoma": other}

    store.undo_last_feedback(SERIES.series_uid, READER)
    assert store.current_feedback(SERIES.series_uid) == {KEY: first}
    store.undo_last_feedback(SERIES.series_uid, READER)
    assert store.current_feedback(SERIES.series_uid) == {}
    assert store.undo_last_feedback(SERIES.series_uid, READER) is None
    assert [row.verdict for row in store.feedback_history(SERIES.series_uid)] == [
        "disagree",
        "unsure",
        "agree",
        "withdrawn",
        "withdrawn",
        "withdrawn",
    ]


def test_a_statement_after_an_undo_supersedes_what_the_undo_brought_back(store: Store) -> None:
    first = store.add_feedback(STATEMENT)
    store.add_feedback(replace(STATEMENT, verdict="agree", present=True))
    store.undo_last_feedback(SERIES.series_uid, READER)
    third = store.add_feedback(replace(STATEMENT, verdict="unsure", present=None))
    assert third.supersedes_id == first.id
    store.undo_last_feedback(SERIES.series_uid, READER)
    assert store.current_feedback(SERIES.series_uid) == {KEY: first}


def test_readers_stand_side_by_side_and_undo_only_their_own(store: Store) -> None:
    mine = store.add_feedback(STATEMENT)
    theirs = store.add_feedback(replace(STATEMENT, reader="second", verdict="agree", present=True))
    assert theirs.supersedes_id is None
    assert store.current_feedback(SERIES.series_uid) == {KEY: theirs}
    assert store.current_feedback(SERIES.series_uid, reader=READER) == {KEY: mine}
    assert len(store.corrections()) == 2
    store.undo_last_feedback(SERIES.series_uid, READER)
    assert store.current_feedback(SERIES.series_uid, reader=READER) == {}
    assert store.current_feedback(SERIES.series_uid) == {KEY: theirs}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from([KEY, "lipoma", "meningioma"]),
            st.sampled_from(["agree", "disagree", "unsure", "undo"]),
        ),
        max_size=12,
    )
)
def test_any_mix_of_clicks_and_undos_stands_as_an_undo_stack_says(store: Store, actions: list[tuple[str, ...]]) -> None:
    """An independent model: each reader has a stack of clicks; undo pops it; a finding shows its topmost click."""
    series = replace(SERIES, series_uid=f"1.3.{len(store.list_series())}")
    store.upsert_series(series)
    stacks: dict[str, list[tuple[str, str]]] = {"a": [], "b": []}
    for reader, key, action in actions:
        if action == "undo":
            undone = store.undo_last_feedback(series.series_uid, reader)
            assert (undone is None) is (not stacks[reader])
            if stacks[reader]:
                stacks[reader].pop()
            continue
        verdict: GivenVerdict = action  # type: ignore[assignment]
        stacks[reader].append((key, verdict))
        store.add_feedback(
            replace(
                STATEMENT,
                series_uid=series.series_uid,
                finding_key=key,
                reader=reader,
                verdict=verdict,
                present=stated_presence(verdict, True),
            )
        )
    for reader, stack in stacks.items():
        current = store.current_feedback(series.series_uid, reader=reader)
        assert {key: row.verdict for key, row in current.items()} == dict(stack)
    assert len(store.feedback_history(series.series_uid)) <= len(actions)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"present": None}, "agree and disagree need present"),
        ({"verdict": "unsure"}, "unsure has neither"),
        ({"verdict": "withdrawn", "present": None}, "withdrawn is no verdict"),
        ({"probability": 1.2}, r"probability of 1\.2"),
        ({"probability": float("nan")}, "probability of nan"),
        ({"reader": "  "}, "no reader"),
        ({"finding_key": ""}, "no finding"),
    ],
)
def test_a_statement_that_contradicts_itself_is_refused(store: Store, change: dict[str, object], said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        store.add_feedback(replace(STATEMENT, **change))  # type: ignore[arg-type]
    assert caught.value.code == "store.feedback.inconsistent"
    assert store.feedback_history(SERIES.series_uid) == ()


def test_a_statement_on_an_unknown_series_is_refused(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.add_feedback(replace(STATEMENT, series_uid="1.7.1"))
    assert caught.value.code == "store.unknown_series"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE feedback SET verdict = 'agree'",
        "UPDATE feedback SET comment = ''",
        "DELETE FROM feedback",
        "INSERT OR REPLACE INTO feedback SELECT * FROM feedback",
    ],
)
def test_the_database_itself_refuses_to_change_or_delete_feedback(store: Store, path: Path, statement: str) -> None:
    before = store.add_feedback(STATEMENT)
    with closing(sqlite3.connect(path)) as stranger, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        stranger.execute(statement)
    assert store.feedback_history(SERIES.series_uid) == (before,)


def test_our_own_code_cannot_change_feedback_either(store: Store) -> None:
    store.add_feedback(STATEMENT)
    with pytest.raises(StoreError) as caught, store._writing() as session:
        session.execute(update(FeedbackTable).values(comment="Müller^Åsa"))
    assert caught.value.code == "store.constraint"
    assert "Müller" not in str(caught.value)


def test_a_bug_in_our_sql_is_reported_without_the_patients_data(store: Store) -> None:
    with pytest.raises(OperationalError) as caught, store._writing() as session:
        session.execute(text("UPDATE no_such_table SET name = :name"), {"name": "Müller^Åsa"})
    assert "no_such_table" in str(caught.value)
    assert "Müller" not in str(caught.value)


def test_corrections_say_what_stands_and_name_no_patient(store: Store, catalogue: Catalogue) -> None:
    store.save_analysis(make_analysis(catalogue))
    store.add_feedback(STATEMENT)
    last = store.add_feedback(replace(STATEMENT, verdict="agree", present=True))
    store.add_feedback(replace(STATEMENT, finding_key="lipoma", model_digest=None, probability=None))
    store.undo_last_feedback(SERIES.series_uid, READER)

    (row,) = store.corrections()
    assert (row.feedback_id, row.verdict, row.present, row.superseded) == (last.id, "agree", True, False)
    assert (row.model_name, row.model_digest, row.probability) == ("phantom-demo", DIGEST, 0.8125)
    assert (row.series_uid, row.study_uid) == (SERIES.series_uid, STUDY.study_uid)
    assert row.sop_instance_uids == STATEMENT.sop_instance_uids

    everything = store.corrections(include_superseded=True)
    assert [(item.verdict, item.superseded) for item in everything] == [
        ("disagree", True),
        ("agree", False),
        ("disagree", True),
        ("withdrawn", True),
    ]
    assert store.corrections(series_uid="1.7.1") == ()
    assert not any(value in repr(everything) for value in (STUDY.patient_id, "Müller", "CCT nativ", "20260314"))


def test_a_models_notice_is_known_while_any_of_its_analyses_is_there(store: Store, catalogue: Catalogue) -> None:
    other = replace(SERIES, series_uid="1.2.840.1.6", number=3)
    store.upsert_series(other)
    store.add_feedback(STATEMENT)  # no analysis of it is there, so nothing can be kept with it
    store.save_analysis(make_analysis(catalogue))
    store.save_analysis(make_analysis(catalogue, seed=1, series_uid=other.series_uid))
    store.delete_series(SERIES.series_uid)
    (row,) = store.corrections()
    assert (row.model_name, row.model_notice) == ("phantom-demo", "trained on synthetic phantoms")
    store.delete_series(other.series_uid)
    (row,) = store.corrections()
    assert (row.model_name, row.model_notice, row.model_digest) == (None, "", DIGEST)


def test_a_statement_keeps_the_name_and_notice_that_stood_on_the_screen(store: Store, catalogue: Catalogue) -> None:
    store.save_analysis(make_analysis(catalogue))
    kept = store.add_feedback(STATEMENT)
    shown = store.add_feedback(
        replace(STATEMENT, finding_key="lipoma", model_name="shown", model_notice="in another language")
    )
    assert (kept.model_name, kept.model_notice) == ("phantom-demo", "trained on synthetic phantoms")
    store.delete_series(SERIES.series_uid)
    first, second = store.corrections()
    assert (first.model_name, first.model_notice) == ("phantom-demo", "trained on synthetic phantoms")
    assert (second.model_name, second.model_notice) == (shown.model_name, "in another language")


@pytest.mark.parametrize("document", ["{", "[]", "{}", '{"model": null}', '{"model": {"notice": 3}}'])
def test_a_damaged_analysis_does_not_hold_back_what_readers_said(
    store: Store, path: Path, catalogue: Catalogue, document: str
) -> None:
    store.save_analysis(make_analysis(catalogue))
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE analyses SET document = ?", (document,))
    store.add_feedback(STATEMENT)
    (row,) = store.corrections()
    assert (row.comment, row.model_name, row.model_notice) == (STATEMENT.comment, "phantom-demo", "")


@pytest.mark.parametrize(
    ("verdict", "positive", "present"),
    [
        ("agree", True, True),
        ("agree", False, False),
        ("disagree", True, False),
        ("disagree", False, True),
        ("unsure", True, None),
        ("unsure", None, None),
        ("agree", None, True),
        ("disagree", None, False),
    ],
)
def test_an_answer_becomes_the_readers_own_statement(
    verdict: GivenVerdict, positive: bool | None, present: bool | None
) -> None:
    assert stated_presence(verdict, positive) is present


WRITER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from engine.store.repository import Store
from tests.support.store_values import STATEMENT, filled

store = filled(Store.open(Path(sys.argv[1])))
mode, number = sys.argv[2], 0
while True:
    row = store.add_feedback(replace(STATEMENT, comment=str(number)))
    print(row.id, flush=True)
    number += 1
    if number == 5 and mode == "itself":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5 and mode == "inside":
        with store._writing() as session:
            session.connection().exec_driver_sql(
                "INSERT INTO feedback (id, study_uid, series_uid, finding_key, verdict, present, reader, mode, "
                "sop_instance_uids, reason, comment, created_utc) SELECT 1000, study_uid, series_uid, finding_key, "
                "verdict, present, reader, mode, sop_instance_uids, reason, comment, created_utc FROM feedback LIMIT 1"
            )
            os.kill(os.getpid(), signal.SIGKILL)
"""


def start_writer(path: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), mode], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("mode", ["itself", "inside"])
def test_every_acknowledged_click_is_there_after_kill_9_and_nothing_half_done(path: Path, mode: str) -> None:
    with start_writer(path, mode) as writer:
        printed, _ = writer.communicate(timeout=120)
    assert writer.returncode == -signal.SIGKILL
    acknowledged = [int(line) for line in printed.split()]
    assert len(acknowledged) == 5
    with Store.open(path) as store:
        history = store.feedback_history(SERIES.series_uid)
        assert [row.id for row in history] == acknowledged
        assert [row.comment for row in history] == ["0", "1", "2", "3", "4"]
        assert store.current_feedback(SERIES.series_uid)[KEY].comment == "4"
        assert store.add_feedback(STATEMENT).supersedes_id == acknowledged[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_from_outside_at_any_moment_loses_no_acknowledged_click(path: Path) -> None:
    with start_writer(path, "forever") as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split()]
    with Store.open(path) as store:
        ids = [row.id for row in store.feedback_history(SERIES.series_uid)]
    assert ids[: len(acknowledged)] == acknowledged
    assert len(ids) - len(acknowledged) in (0, 1)  # one commit may not have been reported yet


APPENDER = """
import sys
from dataclasses import replace
from pathlib import Path
from engine.store.repository import Store
from tests.support.store_values import STATEMENT

with Store.open(Path(sys.argv[1])) as store:
    for number in range(40):
        store.add_feedback(replace(STATEMENT, reader=sys.argv[2], comment=str(number)))
"""


def test_two_processes_write_at_once_and_no_click_is_lost(store: Store, path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", APPENDER, str(path), reader], cwd=PROJECT_ROOT)
        for reader in ("one", "two")
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    history = store.feedback_history(SERIES.series_uid)
    for reader in ("one", "two"):
        own = [row for row in history if row.reader == reader]
        assert [row.comment for row in own] == [str(number) for number in range(40)]
        assert [row.supersedes_id for row in own] == [None, *[row.id for row in own[:-1]]]
