"""Worklist, queue of analyses and similar studies through a real SQLite file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.store import similar
from engine.store.records import SeriesRecord, StudyRecord
from engine.store.repository import INTERRUPTED, Store
from engine.store.workflow import STUDY_STATES, WorklistOrder, WorklistQuery, WorklistRow
from engine.store.worklist_rows import priority_of, state_of
from tests.conftest import PROJECT_ROOT
from tests.support.store_values import DIGEST, SERIES, STATEMENT, STUDY, filled, make_analysis

UID = SERIES.series_uid
PATIENTS = ("Åberg^Zoë", "STRASSE^Ivan", "Çelik^Anna", "Νίκος", "李^明")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield filled(opened)


def add(store: Store, number: int, **study: str) -> str:
    """Put a study with one series in; its series UID."""
    uid = f"1.3.{number}"
    details = {
        "patient_id": f"P{number}",
        "patient_name": PATIENTS[number % 5],
        "study_date": f"202601{10 + number}",
        "study_description": f"CT {number}",
    }
    store.register(
        [(StudyRecord(study_uid=uid, **{**details, **study}), replace(SERIES, series_uid=f"{uid}.1", study_uid=uid))]
    )
    return f"{uid}.1"


def analysed(store: Store, catalogue: Catalogue, uid: str, positive: tuple[str, ...] = (), **change: object) -> None:
    analysis = make_analysis(catalogue, series_uid=uid, extras=True)
    findings = tuple(replace(item, positive=item.key in positive) for item in analysis.findings)
    store.save_analysis(replace(analysis, findings=findings, **change))  # type: ignore[arg-type]


def line(store: Store, study_uid: str = STUDY.study_uid) -> WorklistRow:
    return next(row for row in store.worklist(WorklistQuery()).rows if row.study_uid == study_uid)


def test_a_study_goes_through_its_states(store: Store, catalogue: Catalogue) -> None:
    assert (line(store).state, line(store).n_positive) == ("new", None)
    store.set_series_state(UID, "analysing")
    assert line(store).state == "analysing"
    store.set_series_state(UID, "failed", "out of memory")
    assert (line(store).state, line(store).state_message) == ("failed", "out of memory")
    analysed(store, catalogue, UID, ("lobar_hemorrhage",))
    assert (line(store).state, line(store).state_message, line(store).n_positive) == ("analysed", "", 1)
    store.add_feedback(STATEMENT)
    assert line(store).state == "in_review"
    store.undo_last_feedback(UID, STATEMENT.reader)
    assert line(store).state == "analysed"
    reading = store.start_reading(UID, "A", "ai_seen")
    assert line(store).state == "in_review"
    assert store.finish_reading(reading.id).finished_utc is not None
    assert line(store).state == "reviewed"
    assert store.worklist_counts() == {**dict.fromkeys(STUDY_STATES, 0), "reviewed": 1}
    assert store.reopen_reading(reading.id).finished_utc is None
    assert line(store).state == "in_review"
    store.delete_series(UID)
    assert store.worklist(WorklistQuery()).total == 0


def test_several_series_make_one_line_that_opens_the_best(store: Store, catalogue: Catalogue) -> None:
    store.upsert_series(replace(SERIES, series_uid="1.2.840.1.6", kind="stack", n_slices=300, description="Scout ü"))
    store.upsert_series(replace(SERIES, series_uid="1.2.840.1.7", n_slices=10))
    assert (line(store).n_series, line(store).series_uid) == (3, UID)
    analysed(store, catalogue, "1.2.840.1.7", ("lipoma",))
    assert (line(store).series_uid, line(store).state) == ("1.2.840.1.7", "analysed")
    assert store.worklist(WorklistQuery(search="scout u")).total == 1
    assert [row.series_uid for row in store.study_series(STUDY.study_uid)] == [UID, "1.2.840.1.6", "1.2.840.1.7"]


@pytest.mark.parametrize(
    ("states", "begun", "finished", "expected"),
    [
        ([], False, False, "new"),
        (["new", "failed"], False, False, "failed"),
        (["analysed", "failed"], False, False, "analysed"),
        (["analysed", "analysing"], True, True, "analysing"),
        (["new"], True, False, "in_review"),
        (["failed"], True, True, "reviewed"),
    ],
)
def test_the_state_of_a_study_follows_from_its_series_and_readers(
    states: list[str], begun: bool, finished: bool, expected: str
) -> None:
    assert state_of(states, begun=begun, finished=finished) == expected


def test_the_more_urgent_finding_goes_first_then_how_many(store: Store, catalogue: Catalogue) -> None:
    critical = [key for key, item in catalogue.items() if item.urgency == "critical"]
    routine = [key for key, item in catalogue.items() if item.urgency == "routine"]
    found = {1: (), 2: tuple(routine[:5]), 3: (critical[0], routine[0]), 4: tuple(critical[:2])}
    for number, keys in found.items():
        analysed(store, catalogue, add(store, number), keys)
    store.sync_catalogue(catalogue)
    rows = store.worklist(WorklistQuery()).rows
    assert [row.study_uid for row in rows] == ["1.3.4", "1.3.3", "1.3.2", STUDY.study_uid, "1.3.1"]
    assert [row.urgency for row in rows] == ["critical", "critical", "routine", None, None]
    only = store.worklist(WorklistQuery(urgencies=("critical",)))
    assert {row.study_uid for row in only.rows} == {"1.3.4", "1.3.3"}
    assert store.worklist(WorklistQuery(positive_only=True)).total == 3
    analysed(store, catalogue, add(store, 5), (critical[0],))
    assert line(store, "1.3.5").urgency == "critical", "an analysis made later is ranked at once"


def test_a_finding_of_another_catalogue_counts_as_least_urgent() -> None:
    assert priority_of(["unheard_of"], {"a": 0}) == priority_of(["b"], {"a": 0, "b": 2})
    assert priority_of(["a"], {"a": 0}) > priority_of(["b"] * 50, {"b": 1})
    assert priority_of([], {}) == (0, None)


@pytest.mark.parametrize(
    ("search", "studies"),
    [
        ("zoe aberg", {"1.3.5"}),
        ("ÅBERG", {"1.3.5"}),
        ("straße", {"1.3.1"}),
        ("ＺＯＥ", {"1.3.5"}),  # full width
        ("νικοσ", {"1.3.3"}),  # final sigma folds to the middle one
        ("明", {"1.3.4"}),
        ("p1", {"1.3.1"}),
        ("%", set()),
        ("_", set()),
        ("c", {"1.3.1", "1.3.2", "1.3.3", "1.3.4", "1.3.5", "1.2.840.1"}),
        ("celik nobody", set()),
    ],
)
def test_search_folds_every_script_and_takes_wildcards_literally(store: Store, search: str, studies: set[str]) -> None:
    for number in range(1, 6):
        add(store, number)
    page = store.worklist(WorklistQuery(search=search))
    assert {row.study_uid for row in page.rows} == studies
    assert page.total == len(studies)


@pytest.mark.parametrize("order", ["priority", "date", "patient", "description", "state", "added"])
@pytest.mark.parametrize("search", ["", "ct", "c"])
def test_pages_join_to_the_whole_list_in_both_directions(store: Store, order: WorklistOrder, search: str) -> None:
    for number in range(1, 8):
        add(store, number)
    query = WorklistQuery(order=order, descending=False, search=search)
    whole = store.worklist(query)
    assert whole.total == len(whole.rows) == 8
    pages = [store.worklist(replace(query, offset=offset, limit=3)) for offset in (0, 3, 6)]
    assert tuple(row for page in pages for row in page.rows) == whole.rows
    assert {page.total for page in pages} == {8}
    down = store.worklist(replace(query, descending=True))
    assert down.rows == whole.rows[::-1]
    beyond = store.worklist(replace(query, offset=50))
    assert (beyond.rows, beyond.total) == ((), 8)
    if order == "patient":
        assert [row.patient_name for row in whole.rows][:2] == ["Åberg^Zoë", "Çelik^Anna"], "accents do not sort last"


def test_dates_and_states_narrow_the_list(store: Store) -> None:
    for number in range(1, 6):
        add(store, number)
    store.set_series_state("1.3.2.1", "failed", "gone")
    assert store.worklist(WorklistQuery(date_from="20260112", date_to="20260113")).total == 2
    (row,) = store.worklist(WorklistQuery(states=("failed", "reviewed"))).rows
    assert (row.study_uid, row.state_message) == ("1.3.2", "gone")


def test_filters_are_kept_by_reader_and_replaced_by_name(store: Store, path: Path) -> None:
    query = WorklistQuery(search="Åsa", states=("new",), urgencies=("critical",), order="date", offset=300)
    store.save_filter("mine", query, "A")
    store.save_filter("all", WorklistQuery(positive_only=True))
    store.save_filter("mine", replace(query, states=("failed", "new")), "A")
    with Store.open(path) as again:
        first, second = again.saved_filters("A")
        assert (first.name, first.reader, first.query) == ("all", "", WorklistQuery(positive_only=True))
        assert second.query == replace(query, states=("failed", "new"), offset=0)
        assert [item.name for item in again.saved_filters("B")] == ["all"]
        assert again.delete_filter("mine", "A")
        assert not again.delete_filter("mine", "A")


def test_the_queue_keeps_its_order_over_moves_and_restarts(store: Store, path: Path) -> None:
    uids = [add(store, number) for number in range(4)]
    store.enqueue(uids[:3])
    store.enqueue([uids[3]], DIGEST, front=True)
    store.enqueue([uids[1]], front=True)
    assert [item.series_uid for item in store.queue()] == [uids[3], *uids[:3]], "what waits stays where it is"
    store.move_queued(uids[2], before=uids[0])
    store.move_queued(uids[3], before=None)
    store.move_queued("1.9", before=None)
    with Store.open(path) as again:
        assert [item.series_uid for item in again.queue()] == [uids[2], uids[0], uids[1], uids[3]]
        assert again.queue()[3].package_digest == DIGEST
    with pytest.raises(StoreError) as caught:
        store.enqueue(["1.9.9"])
    assert caught.value.code == "store.unknown_series"


def test_a_queued_series_is_run_fails_is_retried_and_goes(store: Store) -> None:
    uid = add(store, 1)
    store.enqueue([uid])
    item = store.claim_next()
    assert item is not None
    assert (item.series_uid, item.state, item.attempts, item.mine) == (uid, "running", 1, True)
    assert store.claim_next() is None
    store.fail_queued(uid, "no memory")
    assert (store.queue()[0].state, store.queue()[0].message) == ("failed", "no memory")
    assert store.claim_next() is None, "a failed one is not tried again by itself"
    assert store.retry_queued(uid)
    again = store.claim_next()
    assert again is not None
    assert again.attempts == 2
    store.finish_queued(uid)
    assert store.queue() == ()
    assert not store.cancel_queued(uid)
    assert not store.retry_queued(uid)
    store.fail_queued(uid, "late")
    assert store.queue() == ()


CLAIMER = """
import sys
from pathlib import Path
from engine.store.repository import Store
with Store.open(Path(sys.argv[1])) as store:
    while (item := store.claim_next()) is not None:
        print(item.series_uid, flush=True)
"""


def test_two_windows_never_get_the_same_series_and_the_dead_ones_come_back(store: Store, path: Path) -> None:
    uids = [add(store, number) for number in range(20)]
    store.enqueue(uids)
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(path)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    claimed = [uid for claimer in claimers for uid in claimer.communicate(timeout=120)[0].split()]
    assert sorted(claimed) == sorted(uids)
    assert {(item.state, item.mine) for item in store.queue()} == {("running", False)}
    store.close()
    with Store.open(path) as alone:
        assert {item.state for item in alone.queue()} == {"waiting"}


def test_an_interrupted_analysis_shows_in_the_worklist(store: Store, path: Path) -> None:
    store.set_series_state(UID, "analysing")
    store.close()
    with Store.open(path) as again:
        assert (line(again).state, line(again).state_message) == ("new", INTERRUPTED)


def feature(store: Store, catalogue: Catalogue, uid: str, *values: float) -> None:
    analysed(store, catalogue, uid, pooled_feature=np.array(values, dtype=np.float32))


def test_the_nearest_studies_are_found_by_cosine_without_the_patients_own(
    store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "CHUNK", 2)
    near, far, same_patient, opposite = (add(store, number) for number in range(1, 5))
    store.upsert_study(replace(STUDY, study_uid="1.3.3"))
    store.upsert_series(replace(SERIES, series_uid="1.2.840.1.6"))
    feature(store, catalogue, UID, 1, 0)
    feature(store, catalogue, "1.2.840.1.6", 1, 0)
    feature(store, catalogue, near, 30, 40)
    feature(store, catalogue, far, 0, 2)
    feature(store, catalogue, same_patient, 1, 0.1)
    feature(store, catalogue, opposite, -3, 0)
    store.add_feedback(replace(STATEMENT, series_uid=near, verdict="agree", present=True))

    found = store.similar_studies(UID, DIGEST)
    assert [(row.series_uid, round(row.similarity, 6)) for row in found.studies] == [
        (near, 0.6),
        (far, 0.0),
        (opposite, -1.0),
    ]
    assert (found.n_compared, found.n_excluded, found.same_patient) == (3, 3, False)
    assert found.studies[0].stated_present == (STATEMENT.finding_key,)
    assert found.studies[0].study_description == "CT 1"
    own = store.similar_studies(UID, DIGEST, 1, same_patient=True)
    assert ([row.series_uid for row in own.studies], own.n_excluded) == ([same_patient], 2)


def test_similar_studies_match_numpy_over_many_chunks_and_take_the_best_series_of_a_study(
    store: Store, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "CHUNK", 7)
    random = np.random.default_rng(0)
    vectors = {UID: random.normal(size=8).astype(np.float32)}
    items = []
    for number in range(30):
        study = StudyRecord(f"1.4.{number}", "", "", "20260101", "")
        for part in (1, 2):
            series = SeriesRecord(f"1.4.{number}.{part}", study.study_uid, "", "volume", 5, (), "/x")
            items.append((study, series))
            vectors[series.series_uid] = random.normal(size=8).astype(np.float32)
    store.register(items)
    for uid, vector in vectors.items():
        feature(store, catalogue, uid, *vector.tolist())
    asked = vectors.pop(UID)
    cosines = {uid: float(v @ asked / np.linalg.norm(v) / np.linalg.norm(asked)) for uid, v in vectors.items()}
    best: dict[str, str] = {}
    for uid in sorted(cosines, key=cosines.__getitem__):
        best[uid.rpartition(".")[0]] = uid
    expected = sorted(best.values(), key=cosines.__getitem__, reverse=True)[:5]
    found = store.similar_studies(UID, DIGEST, 5)
    assert [row.series_uid for row in found.studies] == expected
    assert [row.similarity for row in found.studies] == pytest.approx([cosines[uid] for uid in expected], abs=1e-5)
    assert found.n_compared == 60, "studies without a patient are no one patient's"


def test_only_features_of_the_same_model_and_of_the_newest_run_count(store: Store, catalogue: Catalogue) -> None:
    other = add(store, 1)
    feature(store, catalogue, UID, 1, 0)
    analysis = make_analysis(catalogue, series_uid=other, digest="cd" * 32, extras=True)
    store.save_analysis(analysis)
    assert store.similar_studies(UID, DIGEST).studies == ()
    feature(store, catalogue, other, 0, 1)
    feature(store, catalogue, other, 1, 0)
    (row,) = store.similar_studies(UID, DIGEST).studies
    assert row.similarity == pytest.approx(1.0)
    with pytest.raises(StoreError) as caught:
        store.similar_studies(UID, "ef" * 32)
    assert caught.value.code == "store.no_feature"
    store.delete_series(other)
    assert store.similar_studies(UID, DIGEST).studies == ()
    analysed(store, catalogue, UID, pooled_feature=None)
    with pytest.raises(StoreError):
        store.similar_studies(UID, DIGEST)
