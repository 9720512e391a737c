"""Several statements in one transaction: all or none, a row each, withdrawn together, and only those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.store.records import NewFeedback
from engine.store.repository import Store
from tests.support.store_values import SERIES, STATEMENT, filled

UID, READER = SERIES.series_uid, STATEMENT.reader
KEYS = ("meningioma", "lipoma", "aneurysm", "hydrocephalus")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield filled(opened)


def statements(*keys: str) -> tuple[NewFeedback, ...]:
    said = replace(STATEMENT, verdict="agree", present=True, probability=None, reason="", comment="")
    return tuple(replace(said, finding_key=key) for key in keys)


def test_each_is_a_row_of_its_own_with_the_time_of_all(store: Store) -> None:
    rows = store.add_statements(statements(*KEYS))
    assert rows == store.feedback_history(UID)
    assert [row.finding_key for row in rows] == list(KEYS)
    assert len({row.created_utc for row in rows}) == 1


def test_one_that_is_refused_keeps_all_out(store: Store) -> None:
    good = statements(*KEYS)
    with pytest.raises(StoreError):
        store.add_statements((*good, replace(good[0], series_uid="1.2.nowhere")))
    assert store.feedback_history(UID) == ()
    assert store.add_statements(()) == ()


def test_they_are_withdrawn_together_and_bring_back_what_stood(store: Store) -> None:
    (before,) = store.add_statements(statements("lipoma"))
    store.add_feedback(replace(STATEMENT, finding_key="midline_shift"))
    together = store.add_statements(statements(*KEYS))
    other = store.add_feedback(replace(statements("meningioma")[0], reader="Somebody else"))
    withdrawn = store.undo_last_statements(UID, READER)
    assert [row.supersedes_id for row in withdrawn] == [row.id for row in together]
    assert set(store.current_feedback(UID, READER)) == {"lipoma", "midline_shift"}
    assert store.current_feedback(UID, READER)["lipoma"].id == before.id
    assert store.current_feedback(UID, "Somebody else")["meningioma"].id == other.id
    assert [row.finding_key for row in store.undo_last_statements(UID, READER)] == ["midline_shift"]
    assert [row.finding_key for row in store.undo_last_statements(UID, READER)] == ["lipoma"]
    assert store.undo_last_statements(UID, READER) == ()


def test_what_was_restated_since_is_undone_first_and_alone(store: Store) -> None:
    store.add_statements(statements(*KEYS))
    store.add_feedback(replace(statements("lipoma")[0], comment="after all"))
    assert [row.finding_key for row in store.undo_last_statements(UID, READER)] == ["lipoma"]
    assert len(store.current_feedback(UID, READER)) == len(KEYS)
    assert {row.finding_key for row in store.undo_last_statements(UID, READER)} == set(KEYS)
