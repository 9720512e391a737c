"""Readers, blind first reads, marks, adjudication and the matrix of statements, through a real SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.store.locations import Location, location_mask, mask_location
from engine.store.reasons import REASONS, reason_kind
from engine.store.records import GivenVerdict
from engine.store.repository import Store
from tests.support.store_values import MARKED, SERIES, STATEMENT, STUDY, filled, make_analysis

UID = SERIES.series_uid
KEY = STATEMENT.finding_key
BLIND = replace(STATEMENT, mode="blind", model_digest=None, probability=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    ticks = count()
    with Store.open(path, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=next(ticks))) as opened:
        yield filled(opened)


def test_a_statement_keeps_reason_marks_side_certainty_and_key_images(store: Store, path: Path) -> None:
    store.add_feedback(MARKED)
    with Store.open(path) as again:
        (row,) = again.feedback_history(UID)
        (line,) = again.corrections()
    for kept in (row, line):
        assert kept.locations == MARKED.locations
        assert (kept.reason_code, kept.laterality, kept.certainty) == ("calcification", "left", 80)
        assert kept.key_images == MARKED.key_images
        assert (kept.role, kept.after_reveal) == ("reading", None)


def test_a_finding_that_no_model_covers_can_be_stated(store: Store) -> None:
    row = store.add_feedback(replace(BLIND, finding_key="colloid_cyst", verdict="agree", present=True, mode="ai_seen"))
    assert (row.present, row.probability, row.model_digest) == (True, None, None)
    assert "colloid_cyst" in store.current_feedback(UID)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason_code": "subtle"}, "the reason subtle is not one of artefact"),
        ({"verdict": "agree", "present": True, "reason_code": "artefact"}, "needs none"),
        ({"verdict": "unsure", "present": None, "reason_code": "calcification"}, "not one of quality"),
        ({"certainty": 101}, "certainty of 101"),
        ({"laterality": "upper"}, "upper is no side"),
        ({"role": "boss"}, "boss is no role"),
        ({"key_images": ("",)}, "names no slice"),
        ({"locations": (Location("box", "1.2", ((1.0, 1.0),), ((0.0, 0.0, 0.0),)),)}, "does not have 1 points"),
        ({"locations": (Location("point", "", ((1.0, 1.0),), ((0.0, 0.0, 0.0),)),)}, "names no slice"),
        ({"locations": (Location("point", "1.2", ((float("nan"), 1.0),), ((0.0, 0.0, 0.0),)),)}, "not finite"),
        ({"locations": (replace(MARKED.locations[2], mask_runs=(1, 2)),)}, "do not fill its box of 6"),
        ({"locations": (replace(MARKED.locations[0], mask_runs=(1,)),)}, "no area to be brushed"),
        ({"locations": (replace(MARKED.locations[0], kind="arrow"),)}, "arrow is no kind"),
    ],
)
def test_details_that_cannot_be_are_refused(store: Store, change: dict[str, object], said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        store.add_feedback(replace(STATEMENT, **change))  # type: ignore[arg-type]
    assert caught.value.code == "store.feedback.inconsistent"
    assert store.feedback_history(UID) == ()


@pytest.mark.parametrize(
    ("verdict", "present", "probability", "kind"),
    [
        ("disagree", False, 0.9, "false_positive"),
        ("disagree", True, 0.1, "missed"),
        ("agree", True, None, "missed"),
        ("agree", True, 0.9, None),
        ("agree", False, 0.1, None),
        ("unsure", None, 0.9, "unsure"),
    ],
)
def test_each_statement_has_the_reasons_that_fit_it(
    verdict: GivenVerdict, present: bool | None, probability: float | None, kind: str | None
) -> None:
    assert reason_kind(verdict, present, probability) == kind


def test_reason_codes_are_unique_and_each_list_has_another() -> None:
    for reasons in REASONS.values():
        codes = [reason.code for reason in reasons]
        assert len(codes) == len(set(codes))
        assert codes[-1] == "other"


@given(mask=arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()))
def test_a_brushed_area_comes_back_pixel_by_pixel(mask: np.ndarray) -> None:
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            mask_location(mask, "1.2.3", lambda row, column: (column, row, 0.0))
        return
    mark = mask_location(mask, "1.2.3", lambda row, column: (0.5 * column, 2.0 * row, 7.0))
    assert mark.problem() is None
    np.testing.assert_array_equal(location_mask(mark, mask.shape), mask)
    (top, left), _ = mark.points_px
    assert mark.points_lps_mm[0] == (0.5 * left, 2.0 * top, 7.0)
    assert Location.from_json(mark.to_json()) == mark


def test_a_mask_does_not_fit_a_smaller_slice() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        location_mask(MARKED.locations[2], (2, 3))
    with pytest.raises(ValueError, match="no mask"):
        location_mask(MARKED.locations[0], (512, 512))


def test_readers_are_added_changed_deactivated_and_never_lost(store: Store) -> None:
    store.add_reader("Dr. Zoë Ågren", initials="ZÅ")
    store.add_reader("Berg, A.", "adjudicator")
    assert [(row.name, row.role, row.initials) for row in store.readers()] == [
        ("Berg, A.", "adjudicator", "BA"),
        ("Dr. Zoë Ågren", "radiologist", "ZÅ"),
    ]
    with pytest.raises(StoreError) as caught:
        store.add_reader("dr. ZOË ågren")
    assert caught.value.code == "store.reader.exists"
    with pytest.raises(StoreError, match="chief is no role"):
        store.update_reader("Berg, A.", role="chief")  # type: ignore[arg-type]
    assert store.update_reader("Berg, A.", initials="AB").initials == "AB"

    store.add_feedback(replace(STATEMENT, reader="Berg, A."))
    assert store.deactivate_reader("Berg, A.").deactivated_utc is not None
    assert [row.name for row in store.readers()] == ["Dr. Zoë Ågren"]
    assert len(store.readers(include_inactive=True)) == 2
    for write in (
        lambda: store.add_feedback(replace(STATEMENT, reader="Berg, A.")),
        lambda: store.undo_last_feedback(UID, "Berg, A."),
        lambda: store.start_reading(UID, "Berg, A.", "blind"),
    ):
        with pytest.raises(StoreError) as caught:
            write()
        assert caught.value.code == "store.reader.deactivated"
    assert len(store.feedback_history(UID)) == 1
    store.reactivate_reader("Berg, A.")
    store.add_feedback(replace(STATEMENT, reader="Berg, A."))
    with pytest.raises(StoreError) as caught:
        store.deactivate_reader("nobody")
    assert caught.value.code == "store.unknown_reader"


def test_who_states_something_becomes_a_reader(store: Store) -> None:
    store.add_feedback(STATEMENT)
    (row,) = store.readers()
    assert (row.name, row.role) == (STATEMENT.reader, "other")


def test_a_blind_read_is_committed_once_and_what_comes_after_is_known_as_such(store: Store) -> None:
    reading = store.start_reading(UID, "A", "blind")
    assert (reading.hidden, reading.committed_utc, reading.revealed_utc) == (True, None, None)
    before = store.add_feedback(replace(BLIND, reader="A"))
    assert (before.session_id, before.after_reveal, before.mode) == (reading.id, False, "blind")

    committed = store.commit_reading(reading.id)
    assert not committed.hidden
    assert committed.committed_utc == committed.revealed_utc
    assert committed.revealed_utc is not None
    assert before.created_utc < committed.revealed_utc
    assert store.commit_reading(reading.id) == committed, "a second commit changes nothing"
    assert store.start_reading(UID, "A", "blind") == committed, "a series is read blind only once"

    with pytest.raises(StoreError, match="revealed to A at 2026-03-01") as caught:
        store.add_feedback(replace(BLIND, reader="A"))
    assert caught.value.code == "store.feedback.not_blind"
    after = store.add_feedback(replace(STATEMENT, reader="A", verdict="agree", present=True))
    assert (after.after_reveal, after.supersedes_id) == (True, before.id)
    assert [event.event for event in store.reading_events(reading.id)] == ["started", "committed", "revealed"]
    assert [row.after_reveal for row in store.corrections(include_superseded=True)] == [False, True]


def test_switching_blind_off_without_a_commit_is_logged_as_that(store: Store) -> None:
    reading = store.start_reading(UID, "A", "blind")
    revealed = store.reveal_reading(reading.id)
    assert (revealed.hidden, revealed.committed_utc) == (False, None)
    assert store.commit_reading(reading.id).committed_utc is None
    assert [event.event for event in store.reading_events(reading.id)] == ["started", "blind_off", "revealed"]
    other = store.start_reading(UID, "B", "ai_seen")
    assert other.revealed_utc == other.started_utc or other.revealed_utc is not None
    assert not other.hidden
    assert store.reading_session(UID, "A") == revealed
    assert store.reading_session(UID, "C") is None
    with pytest.raises(StoreError) as caught:
        store.commit_reading(99)
    assert caught.value.code == "store.unknown_read_session"


def test_a_session_survives_closing_and_removing_the_series(store: Store, path: Path) -> None:
    reading = store.start_reading(UID, "A", "blind")
    store.delete_series(UID)
    with Store.open(path) as again:
        assert again.list_series() == ()
        assert again.reading_session(UID, "A") == reading
        filled(again)
        assert again.start_reading(UID, "A", "ai_seen").mode == "blind"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE read_sessions SET mode = 'ai_seen'",
        "DELETE FROM read_sessions",
        "UPDATE read_events SET created_utc = '2000-01-01 00:00:00'",
        "DELETE FROM read_events",
        "INSERT OR REPLACE INTO read_events SELECT * FROM read_events",
    ],
)
def test_the_database_itself_refuses_to_change_the_logs(store: Store, path: Path, statement: str) -> None:
    reading = store.start_reading(UID, "A", "blind")
    with closing(sqlite3.connect(path)) as stranger, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        stranger.execute(statement)
    assert store.reading_session(UID, "A") == reading


def test_undoing_a_reading_leaves_the_same_readers_decision_standing(store: Store) -> None:
    reading = store.add_feedback(replace(STATEMENT, reader="A"))
    decided = store.add_feedback(replace(STATEMENT, reader="A", verdict="agree", present=True, role="adjudication"))
    withdrawn = store.undo_last_feedback(reading.series_uid, "A")
    assert withdrawn is not None
    assert withdrawn.role == "reading"
    assert store.consensus(reading.series_uid)[decided.finding_key].id == decided.id
    assert store.undo_last_feedback(reading.series_uid, "A") is None
    taken_back = store.undo_last_feedback(reading.series_uid, "A", "adjudication")
    assert taken_back is not None
    assert store.consensus(reading.series_uid) == {}


def test_an_adjudication_is_the_consensus_and_supersedes_nobody(store: Store) -> None:
    mine = store.add_feedback(replace(STATEMENT, reader="A"))
    theirs = store.add_feedback(replace(STATEMENT, reader="B", verdict="agree", present=True))
    assert store.consensus(UID) == {}
    decided = store.add_feedback(replace(STATEMENT, reader="A", verdict="agree", present=True, role="adjudication"))
    late = store.add_feedback(replace(STATEMENT, reader="B", verdict="unsure", present=None))
    assert decided.supersedes_id is None
    assert late.supersedes_id == theirs.id
    assert store.consensus(UID) == {KEY: decided}
    assert store.current_feedback(UID) == {KEY: decided}, "whoever spoke last"
    assert store.current_feedback(UID, reader="A") == {KEY: mine}
    assert [row.superseded for row in store.corrections()] == [False, False, False]
    again = store.add_feedback(replace(STATEMENT, reader="A", role="adjudication"))
    assert again.supersedes_id == decided.id
    store.undo_last_feedback(UID, "A", "adjudication")
    assert store.consensus(UID) == {KEY: decided}


def test_the_matrix_has_readers_by_series_and_finding(store: Store) -> None:
    store.upsert_series(replace(SERIES, series_uid="1.2.840.1.6"))
    said = [
        ("A", UID, KEY, True),
        ("A", UID, "lipoma", None),
        ("B", UID, KEY, False),
        ("B", "1.2.840.1.6", KEY, True),
    ]
    for reader, uid, key, present in said:
        verdict: GivenVerdict = "unsure" if present is None else "disagree"
        store.add_feedback(
            replace(STATEMENT, reader=reader, series_uid=uid, finding_key=key, verdict=verdict, present=present)
        )
    store.add_feedback(replace(STATEMENT, reader="C", role="adjudication"))
    matrix = store.statement_matrix()
    assert matrix.readers == ("A", "B"), "an adjudicator is not a reader"
    assert matrix.items == ((UID, "lipoma"), (UID, KEY), ("1.2.840.1.6", KEY))
    assert matrix.values.dtype == np.int8
    assert matrix.values.tolist() == [[2, 1, -1], [-1, 0, 1]]
    narrow = store.statement_matrix(readers=["B", "D"], series_uids=[UID], finding_keys=[KEY])
    assert (narrow.readers, narrow.items, narrow.values.tolist()) == (("B", "D"), ((UID, KEY),), [[0], [-1]])


def test_the_blind_matrix_is_what_was_said_before_the_reveal(store: Store) -> None:
    reading = store.start_reading(UID, "A", "blind")
    store.add_feedback(replace(BLIND, reader="A"))
    store.commit_reading(reading.id)
    store.undo_last_feedback(UID, "A")
    assert store.statement_matrix(mode="blind").values.tolist() == [[0]], "withdrawn later, but said blind"
    assert store.statement_matrix().values.size == 0
    store.add_feedback(replace(STATEMENT, reader="A", verdict="agree", present=True))
    assert store.statement_matrix(mode="blind").values.tolist() == [[0]]
    assert store.statement_matrix(mode="ai_seen").values.tolist() == [[1]]


def test_an_analysis_with_counterfactuals_and_feature_survives(store: Store, catalogue: Catalogue) -> None:
    from tests.support.store_values import assert_same_analysis

    analysis = replace(make_analysis(catalogue, extras=True), unit="volume")
    store.save_analysis(analysis)
    stored = store.latest_analysis(UID)
    assert stored is not None
    assert_same_analysis(stored, analysis)
    assert (stored.unit, stored.study_instance_uid) == ("volume", STUDY.study_uid)


def test_a_study_of_one_slice_keeps_that_it_has_no_logit_without_it(store: Store, catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue, extras=True)
    assert analysis.counterfactual is not None
    undefined = np.full_like(analysis.counterfactual.without_slice, np.nan)
    store.save_analysis(
        replace(analysis, counterfactual=replace(analysis.counterfactual, without_slice=undefined), unit="volume")
    )
    stored = store.latest_analysis(UID)
    assert stored is not None
    assert stored.counterfactual is not None
    assert np.isnan(stored.counterfactual.without_slice).all()
    assert np.array_equal(stored.counterfactual.without_expert, analysis.counterfactual.without_expert)
    missing = replace(
        analysis.counterfactual, without_expert=np.full_like(analysis.counterfactual.without_expert, np.nan)
    )
    with pytest.raises(StoreError):
        store.save_analysis(replace(analysis, counterfactual=missing))


def test_a_feature_that_is_not_finite_is_not_stored(store: Store, catalogue: Catalogue) -> None:
    broken = replace(make_analysis(catalogue, extras=True), pooled_feature=np.array([1, np.nan], dtype=np.float32))
    with pytest.raises(StoreError) as caught:
        store.save_analysis(broken)
    assert caught.value.code == "store.analysis.not_finite"
    assert store.latest_analysis(UID) is None
