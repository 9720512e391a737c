from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import DicomError, TrainingError
from engine.models.backbones.registry import default_registry
from engine.models.package import LoadedPackage, load_package, verify_package
from engine.store.repository import Store
from tests.trainer.conftest import TinyRun
from tests.trainer.feedback_store import Reviewed, add_phantom, state
from tests.trainer.synthetic import make_studies
from trainer.__main__ import retrain_command
from trainer.cohorts.feedback import Feedback, read_feedback
from trainer.config import OptimiserConfig, RetrainConfig
from trainer.datasets import StudyFeatures
from trainer.evaluate import evaluate_studies, predict_logits
from trainer.protocol import EpochEnded, Event, RetrainRequest, read_comparison
from trainer.reference import ReferenceCohort, read_reference
from trainer.retrain import OwnFeatures, compare, fine_tune, own_features, own_repeats, run_retraining, statement_weight

RAISED, LOWERED, UNREVIEWED = "meningioma", "sinusitis", "epidural_hematoma"
ALL_TRAINED = RetrainConfig(epochs=6, heldout_fraction=0.0, threads=1)


def _store(folder: Path, *statements: Mapping[str, bool | None]) -> tuple[str, list[Reviewed]]:
    reviewed = []
    with Store.open(folder / "store.sqlite") as store:
        for index, said in enumerate(statements):
            reviewed.append(add_phantom(store, folder / f"study{index}", seed=500 + index))
            state(store, reviewed[-1], said)
    return str(folder / "store.sqlite"), reviewed


def _request(run: TinyRun, store: str, out: Path, config: RetrainConfig = ALL_TRAINED) -> RetrainRequest:
    return RetrainRequest(
        store=store, base_package=str(run.package), reference_cohort=str(run.reference), out=str(out), config=config
    )


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _own_studies(run: TinyRun, store: str) -> tuple[LoadedPackage, tuple[StudyFeatures, ...]]:
    parent = load_package(run.package)
    return parent, own_features(
        read_feedback(store, parent.manifest.finding_keys).series, parent, 0.0, default_registry()
    ).train


def test_feedback_moves_the_findings_that_were_reviewed(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True, LOWERED: False})
    before = _tree(tiny_run.package)
    events: list[Event] = []
    finished = run_retraining(_request(tiny_run, store, tmp_path / "out"), events.append)

    parent, own = _own_studies(tiny_run, store)
    candidate = load_package(Path(finished.package_path))
    column = {key: index for index, key in enumerate(parent.manifest.finding_keys)}
    moved = (predict_logits(candidate.classifier, own) - predict_logits(parent.classifier, own))[0]
    assert moved[column[RAISED]] > 0.1
    assert moved[column[LOWERED]] < -0.1
    assert _tree(tiny_run.package) == before
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2, 3, 4, 5, 6]


def test_the_candidate_is_a_child_that_can_be_told_from_its_parent(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True})
    asked = _request(tiny_run, store, tmp_path / "out").model_copy(update={"description": "new scanner in room 2"})
    finished = run_retraining(asked, lambda event: None)
    assert load_package(Path(finished.package_path)).metrics["description"] == "new scanner in room 2"
    card = (Path(finished.package_path) / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "> new scanner in room 2\n" in card
    parent, child = verify_package(tiny_run.package), verify_package(Path(finished.package_path))
    assert child.digest == finished.package_digest != parent.digest
    assert child.training.parent_digest == parent.digest
    assert child.training.trained_on.startswith("1 reviewed; before: 12 synthetic phantoms")
    assert parent.notice in child.notice
    assert "reader feedback" in child.notice
    assert child.finding_keys == parent.finding_keys

    grandchild = run_retraining(
        _request(tiny_run, store, tmp_path / "again").model_copy(update={"base_package": finished.package_path}),
        lambda event: None,
    )
    assert verify_package(Path(grandchild.package_path)).training.parent_digest == child.digest


def test_the_comparison_says_what_was_measured(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True, LOWERED: None}, {LOWERED: False, "finding_of_a_later_catalogue": True})
    shutil.rmtree(tmp_path / "study1")
    finished = run_retraining(_request(tiny_run, store, tmp_path / "out"), lambda event: None)
    assert finished.comparison_path is not None
    comparison = read_comparison(Path(finished.comparison_path))
    parent = load_package(tiny_run.package)
    assert (comparison.parent_digest, comparison.candidate_digest) == (parent.digest, finished.package_digest)
    assert finished.text.startswith(comparison.verdict)
    assert finished.package_path in finished.text
    assert "6 held-out synthetic phantoms" in comparison.verdict
    for key, score in parent.metrics["heldout"]["findings"].items():
        measured = comparison.heldout.findings[key]
        assert (measured.parent_auc, measured.n_pos, measured.n_neg) == (score["auc"], score["n_pos"], score["n_neg"])
    own = comparison.own
    assert (own.n_statements, own.n_unsure, own.n_not_covered) == (2, 1, 1)
    assert (own.n_train, own.n_heldout) == (1, 0)
    assert [item.code for item in own.skipped] == ["training.source_missing"]
    candidate = load_package(Path(finished.package_path))
    assert candidate.metrics["heldout"]["mean_auc"] == comparison.heldout.candidate_mean_auc
    assert comparison.verdict in (Path(finished.package_path) / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_comparison_is_paired_on_the_same_studies(tiny_run: TinyRun) -> None:
    """A candidate that ranks one finding backwards: that finding is named, the others have not changed."""
    parent = load_package(tiny_run.package)
    keys = parent.manifest.finding_keys
    width = parent.manifest.backbone.feature_width
    studies = make_studies(60, 4, len(keys), width)
    reference = read_reference(tiny_run.reference, parent.manifest)
    candidate = copy.deepcopy(parent.classifier)
    with torch.no_grad():
        candidate.head.weight[0] *= -1
    known = ReferenceCohort(reference.document, {**reference.studies, "heldout": studies})
    compared = compare(parent, candidate, known, OwnFeatures((), (), ()), Feedback((), 0, 0, 0, 0))
    before, after = (evaluate_studies(one, keys, studies) for one in (parent.classifier, candidate))
    turned, same = compared.heldout.findings[keys[0]], compared.heldout.findings[keys[1]]
    assert turned.difference == pytest.approx(after.findings[0].auc - before.findings[0].auc)
    assert turned.difference_low is not None and turned.difference_high is not None  # noqa: PT018
    assert turned.difference_low < turned.difference < turned.difference_high
    assert (turned.candidate_auc_low, turned.candidate_average_precision) == (
        after.findings[0].auc_low,
        after.findings[0].average_precision,
    )
    assert turned.q is not None and turned.p is not None  # noqa: PT018
    assert turned.q > turned.p, "corrected over all the findings"
    assert (same.difference, same.difference_low, same.p, same.q) == (0.0, None, 1.0, 1.0)
    change = compared.heldout.change
    assert change is not None
    assert change.difference == pytest.approx(after.mean_auc - before.mean_auc)
    assert (change.n_patients, change.n_findings) == (60, after.n_scored)
    assert compared.own_heldout.change is None
    assert "95 % CI of the change" in compared.verdict


def test_what_a_run_writes_names_no_patient(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, reviewed = _store(tmp_path, {RAISED: True})
    run_retraining(_request(tiny_run, store, tmp_path / "out"), lambda event: None)
    patient = reviewed[0].series.patient
    assert patient.id
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert patient.id.encode() not in content
        assert patient.name.encode() not in content


def test_the_same_request_gives_the_same_weights(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True})
    weights = []
    for name in ("one", "two"):
        run_retraining(_request(tiny_run, store, tmp_path / name), lambda event: None)
        weights.append((tmp_path / name / "package" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_without_replay_only_the_reviewed_findings_learn(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True})
    parent, own = _own_studies(tiny_run, store)
    reference = read_reference(tiny_run.reference, parent.manifest)
    bare = ReferenceCohort(reference.document, {**reference.studies, "replay": ()})
    no_decay = ALL_TRAINED.model_copy(update={"optimiser": OptimiserConfig(weight_decay=0.0)})
    candidate, _ = fine_tune(
        parent,
        bare,
        own,
        _request(tiny_run, store, tmp_path / "out", no_decay),
        tmp_path / "checkpoint.safetensors",
        lambda event: None,
    )
    rows = {key: index for index, key in enumerate(parent.manifest.finding_keys)}
    change = (candidate.head.weight - parent.classifier.head.weight).abs().sum(dim=1)
    assert change[rows[RAISED]] > 0
    assert torch.count_nonzero(change) == 1


def test_held_out_patients_are_never_trained_on(tiny_run: TinyRun, tmp_path: Path) -> None:
    said = {RAISED: True}
    store, _ = _store(tmp_path, said, said, said, said)
    parent = load_package(tiny_run.package)
    series = read_feedback(store, parent.manifest.finding_keys).series
    fraction = float(np.median([int(item.patient_key[:8], 16) / 2**32 for item in series]))
    own = own_features(series, parent, fraction, default_registry())
    assert (len(own.train), len(own.heldout)) == (2, 2)
    assert not {study.identifier for study in own.train} & {study.identifier for study in own.heldout}
    assert {study.patient_key for study in own.heldout} == {s.patient_key for s in series if s.heldout(fraction)}
    config = ALL_TRAINED.model_copy(update={"heldout_fraction": fraction})
    finished = run_retraining(_request(tiny_run, store, tmp_path / "out", config), lambda event: None)
    assert finished.comparison_path is not None
    comparison = read_comparison(Path(finished.comparison_path))
    assert (comparison.own.n_train, comparison.own.n_heldout, comparison.own_heldout.n_studies) == (2, 2, 2)
    assert comparison.own_heldout.findings[RAISED].note == "too few"
    assert (comparison.own_heldout.findings[RAISED].n_pos, comparison.own_heldout.findings[LOWERED].n_pos) == (2, 0)


def test_nothing_left_to_train_on_is_an_error_that_says_why(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True})
    shutil.rmtree(tmp_path / "study0")
    with pytest.raises(TrainingError, match="study0") as caught:
        run_retraining(_request(tiny_run, store, tmp_path / "out"), lambda event: None)
    assert caught.value.code == "training.no_own_studies"
    assert not (tmp_path / "out" / "package").exists()


def test_a_machine_at_fault_ends_the_run_and_blames_no_study(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise DicomError("no memory", hint="close programs", code="dicom.memory", kind="environment")

    store, _ = _store(tmp_path, {RAISED: True})
    monkeypatch.setattr("trainer.retrain.read_reviewed", no_memory)
    with pytest.raises(DicomError, match="no memory"):
        run_retraining(_request(tiny_run, store, tmp_path / "out"), lambda event: None)


def test_the_command_refuses_a_store_without_feedback(tiny_run: TinyRun, tmp_path: Path) -> None:
    Store.open(tmp_path / "store.sqlite").close()
    with pytest.raises(TrainingError) as caught:
        retrain_command(str(tmp_path / "store.sqlite"), tiny_run.package, tmp_path / "out", tiny_run.reference)
    assert caught.value.code == "training.no_feedback"


def test_a_changed_parent_is_refused(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True})
    shutil.copytree(tiny_run.package, tmp_path / "parent")
    metrics = tmp_path / "parent" / "metrics.json"
    metrics.write_text(json.dumps({"mean_auc": 1.0}), encoding="utf-8")
    request = _request(tiny_run, store, tmp_path / "out").model_copy(update={"base_package": str(tmp_path / "parent")})
    with pytest.raises(Exception, match=r"metrics\.json"):
        run_retraining(request, lambda event: None)


@pytest.mark.parametrize(
    ("n_own", "n_replay", "expected"), [(1, 36, 12), (12, 36, 1), (100, 36, 1), (1, 1000, 16), (3, 0, 1)]
)
def test_own_studies_make_up_their_share_of_an_epoch(n_own: int, n_replay: int, expected: int) -> None:
    assert own_repeats(n_own, n_replay, RetrainConfig(own_share=0.25, max_repeats=16)) == expected


def test_every_correction_of_several_studies_moves_the_right_way(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, *({"sinusitis": False} for _ in range(3)))
    parent, unlabelled = _own_studies(tiny_run, store)
    keys = parent.manifest.finding_keys
    own = []
    for number, (study, logits_C) in enumerate(
        zip(unlabelled, predict_logits(parent.classifier, unlabelled), strict=True)
    ):
        labels_C = np.full(len(keys), -1, dtype=np.int8)
        # What the model says most and least surely, and something in between: each contradicted.
        for column in np.argsort(logits_C)[[0, len(keys) // 2 + number, -1]]:
            labels_C[column] = int(logits_C[column] < 0)
        own.append(StudyFeatures(study.identifier, study.features_SD, labels_C, reviewed=True))
    reference = read_reference(tiny_run.reference, parent.manifest)
    request = _request(tiny_run, store, tmp_path / "out", ALL_TRAINED.model_copy(update={"epochs": 12}))
    candidate, _ = fine_tune(parent, reference, own, request, tmp_path / "c.safetensors", lambda event: None)
    moved = predict_logits(candidate, own) - predict_logits(parent.classifier, own)
    labels = np.stack([study.labels_C for study in own])
    assert set(np.unique(labels)) == {-1, 0, 1}
    assert (moved[labels == 1] > 0).all()
    assert (moved[labels == 0] < 0).all()


def test_statements_make_up_their_share_of_the_loss() -> None:
    labels = np.zeros(20, np.int8)
    replay = [StudyFeatures("r", np.zeros((1, 1), np.float16), labels)] * 30
    stated = np.full(20, -1, np.int8)
    stated[:2] = 1
    own = [StudyFeatures("o", np.zeros((1, 1), np.float16), stated, reviewed=True)] * 5
    weight = statement_weight(own, replay, 2, RetrainConfig(own_share=0.25))
    assert weight * 2 * 10 / (weight * 2 * 10 + 600) == pytest.approx(0.25)
    assert statement_weight(own, replay, 1, RetrainConfig(own_share=0.9)) == 16.0
    assert statement_weight(own, [], 1, RetrainConfig()) == 1.0


def test_the_parents_weights_stay_as_they_are(tiny_run: TinyRun, tmp_path: Path) -> None:
    store, _ = _store(tmp_path, {RAISED: True})
    parent, own = _own_studies(tiny_run, store)
    before = copy.deepcopy(parent.classifier.state_dict())
    reference = read_reference(tiny_run.reference, parent.manifest)
    request = _request(tiny_run, store, tmp_path / "out")
    fine_tune(parent, reference, own, request, tmp_path / "checkpoint.safetensors", lambda event: None)
    assert all(torch.equal(before[name], value) for name, value in parent.classifier.state_dict().items())
