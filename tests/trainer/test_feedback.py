from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import HeadCTError, StoreError, TrainingError
from engine.store.records import NewFeedback
from engine.store.repository import Store
from tests.trainer.feedback_store import add_phantom, state
from trainer.cohorts.feedback import ReviewedSeries, read_feedback, read_reviewed

KEYS = ("lobar_hemorrhage", "meningioma", "hydrocephalus", "sinusitis")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def test_statements_become_labels_and_everything_else_stays_unknown(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"lobar_hemorrhage": True, "meningioma": False, "hydrocephalus": None})
    state(store, reviewed, {"lobar_hemorrhage": True, "lipoma": True}, reader="B")
    feedback = read_feedback(str(store.path), KEYS)
    (series,) = feedback.series
    assert series.labels_C.tolist() == [1, 0, -1, -1]
    assert (feedback.n_statements, feedback.n_unsure, feedback.n_not_covered, feedback.n_conflicting) == (3, 1, 1, 0)
    assert series.source_path == tmp_path / "a"


def test_the_store_is_only_read(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"lobar_hemorrhage": True})
    store.set_series_state(reviewed.series.instance_uid, "analysing")
    store.close()
    assert store.path is not None
    before = store.path.read_bytes()
    store.path.with_name(f"{store.path.name}.lock").unlink()
    assert read_feedback(str(store.path), KEYS).n_statements == 1
    assert store.path.read_bytes() == before, "an analysis that is still running elsewhere is not reset"
    assert not store.path.with_name(f"{store.path.name}.lock").exists()
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(StoreError) as caught:
        read_feedback(str(empty), KEYS)
    assert (caught.value.code, caught.value.kind) == ("store.empty", "input")
    assert empty.stat().st_size == 0


def test_a_changed_mind_counts_once_and_a_withdrawn_one_not_at_all(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"lobar_hemorrhage": True, "sinusitis": True})
    state(store, reviewed, {"lobar_hemorrhage": False})
    state(store, reviewed, {"meningioma": True})
    store.undo_last_feedback(reviewed.series.instance_uid, "A")
    (series,) = read_feedback(str(store.path), KEYS).series
    assert series.labels_C.tolist() == [0, -1, -1, 1]


def test_readers_who_contradict_each_other_are_masked(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"lobar_hemorrhage": True, "sinusitis": True}, reader="A")
    state(store, reviewed, {"lobar_hemorrhage": False, "sinusitis": True}, reader="B")
    feedback = read_feedback(str(store.path), KEYS)
    assert feedback.series[0].labels_C.tolist() == [-1, -1, -1, 1]
    assert feedback.n_conflicting == 1
    only_b = read_feedback(str(store.path), KEYS, readers=("B",))
    assert only_b.series[0].labels_C.tolist() == [0, -1, -1, 1]


def test_an_adjudication_counts_alone(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"lobar_hemorrhage": True, "sinusitis": True}, reader="A")
    state(store, reviewed, {"lobar_hemorrhage": False, "sinusitis": False}, reader="B")
    decided = NewFeedback(
        series_uid=reviewed.series.instance_uid,
        finding_key="lobar_hemorrhage",
        verdict="agree",
        present=True,
        reader="C",
        mode="ai_seen",
        role="adjudication",
    )
    store.add_feedback(decided)
    store.add_feedback(replace(decided, finding_key="meningioma", verdict="unsure", present=None))
    state(store, reviewed, {"meningioma": True}, reader="A")
    feedback = read_feedback(str(store.path), KEYS)
    (series,) = feedback.series
    assert dict(zip(KEYS, series.labels_C.tolist(), strict=True)) == {
        **dict.fromkeys(KEYS, -1),
        "lobar_hemorrhage": 1,
    }, "sinusitis is contradicted, meningioma adjudicated as unsure"
    assert feedback.n_conflicting == 1


def test_a_series_that_was_taken_off_the_list_still_counts(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"sinusitis": False})
    store.delete_series(reviewed.series.instance_uid)
    assert read_feedback(str(store.path), KEYS).series[0].labels_C.tolist() == [-1, -1, -1, 0]


def test_without_a_usable_statement_there_is_nothing_to_train(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"sinusitis": None, "lipoma": True})
    with pytest.raises(TrainingError) as caught:
        read_feedback(str(store.path), KEYS)
    assert caught.value.code == "training.no_feedback"
    assert "1 unsure" in caught.value.message
    assert caught.value.hint


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        read_feedback(f"sqlite:///{tmp_path / 'none.sqlite'}?password=hunter2", KEYS)
    assert caught.value.code == "store.missing"
    assert "hunter2" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_the_reviewed_series_is_read_back_as_it_was(store: Store, tmp_path: Path) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"sinusitis": True})
    (series,) = read_feedback(str(store.path), KEYS).series
    assert np.array_equal(read_reviewed(series).voxels, reviewed.study.volume.voxels)


@pytest.mark.parametrize("harm", ["missing", "replaced", "slice lost"])
def test_a_source_that_is_gone_or_changed_is_refused_with_its_path(store: Store, tmp_path: Path, harm: str) -> None:
    reviewed = add_phantom(store, tmp_path / "a", seed=1)
    state(store, reviewed, {"sinusitis": True})
    (series,) = read_feedback(str(store.path), KEYS).series
    if harm == "slice lost":
        first = reviewed.series.instances[0]
        first.source.path.unlink()
    else:
        shutil.rmtree(tmp_path / "a")
    if harm == "replaced":
        add_phantom(store, tmp_path / "a", seed=2)
    with pytest.raises(HeadCTError) as caught:
        read_reviewed(series)
    assert caught.value.code == ("training.source_missing" if harm == "missing" else "training.source_changed")
    assert str(tmp_path / "a") in caught.value.message


def test_the_split_is_by_patient_and_never_drawn_again(store: Store, tmp_path: Path) -> None:
    for index, patient in enumerate(("P1", "P1", "P2")):
        reviewed = add_phantom(store, tmp_path / str(index), seed=10 + index, patient_id=patient)
        state(store, reviewed, {"sinusitis": True})
    keys = [series.patient_key for series in read_feedback(str(store.path), KEYS).series]
    assert len(set(keys)) == 2
    assert not any("P1" in key or "P2" in key for key in keys)

    def series(patient: int) -> ReviewedSeries:
        key = f"{patient * 2_654_435_761 % 2**32:08x}"
        return ReviewedSeries("uid", key, Path("a"), frozenset(), np.zeros(1, np.int8))

    share = np.mean([series(patient).heldout(0.2) for patient in range(2000)])
    assert share == pytest.approx(0.2, abs=0.03)
    held = [series(patient).heldout(0.2) for patient in range(100)]
    assert held == [series(patient).heldout(0.2) for patient in range(100)]
    assert not any(series(patient).heldout(0.0) for patient in range(100))
