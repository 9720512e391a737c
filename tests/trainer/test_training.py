from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.inference.calibrate import CalibrationSettings
from engine.inference.operating_points import OperatingRule
from engine.models.package import load_package, verify_package
from engine.phantom.study import PAINTED_KEYS
from engine.progress import Cancelled
from tests.trainer.conftest import TinyRun, tiny_config
from trainer.__main__ import train_command
from trainer.cohorts.phantom import cohort_features, extract_case, feature_digest, plan
from trainer.config import PhantomCohortConfig
from trainer.datasets import stack_labels
from trainer.evaluate import evaluate_studies, expert_usage
from trainer.features import FeatureCache
from trainer.protocol import EpochEnded
from trainer.reference import read_reference, sidecar
from trainer.ship import ship
from trainer.training import run_training


class _Counting:
    """Counts progress and cancels after `limit` questions."""

    def __init__(self, limit: int = 10**9) -> None:
        self.steps: list[tuple[int, int]] = []
        self._left = limit

    def progress(self, done: int, total: int, text: str) -> None:
        self.steps.append((done, total))

    def raise_if_cancelled(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Cancelled


def test_a_run_writes_a_package_that_verifies_and_says_what_it_is(tiny_run: TinyRun) -> None:
    manifest = verify_package(tiny_run.package)
    assert manifest.digest == tiny_run.finished.package_digest
    assert manifest.finding_keys == PAINTED_KEYS
    assert manifest.notice == "Trained on synthetic phantoms, for demonstration only"
    assert (manifest.training.trained_on, manifest.training.parent_digest) == ("12 synthetic phantoms", None)
    assert manifest.preprocessing == tiny_run.config.preprocessing
    card = (tiny_run.package / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert manifest.notice in card
    assert manifest.training.data_digest in card
    assert [event.epoch for event in tiny_run.events if isinstance(event, EpochEnded)] == list(range(1, 21))


def test_metrics_are_what_the_packaged_model_scores_on_the_heldout_studies(tiny_run: TinyRun) -> None:
    package = load_package(tiny_run.package)
    heldout = package.metrics["heldout"]
    reference = read_reference(tiny_run.reference, package.manifest)
    again = evaluate_studies(package.classifier, PAINTED_KEYS, reference.studies["heldout"])
    assert again.to_json() == {name: value for name, value in heldout.items() if name != "description"}
    labels = stack_labels(reference.studies["heldout"])
    for column, key in enumerate(PAINTED_KEYS):
        assert heldout["findings"][key]["n_pos"] == int((labels[:, column] == 1).sum())
    assert package.metrics["notice"] == package.manifest.notice
    assert package.metrics["config"]["cohort"]["seed"] == tiny_run.config.cohort.seed


def test_calibration_and_expert_usage_are_in_the_package_as_measured(tiny_run: TinyRun) -> None:
    package = load_package(tiny_run.package)
    calibration, usage = package.metrics["calibration"], package.metrics["expert_usage"]
    assert (calibration["method"], calibration["rule"], calibration["target"]) == ("platt", "youden", None)
    assert (calibration["fit"]["n_studies"], calibration["test"]["n_studies"]) == (4, 6)
    assert set(calibration["findings"]) == set(PAINTED_KEYS)
    points = {key: finding["operating_point"] for key, finding in calibration["findings"].items()}
    assert points == package.manifest.operating_points
    studies = read_reference(tiny_run.reference, package.manifest).studies["heldout"]
    again = expert_usage(package.classifier, PAINTED_KEYS, studies)
    assert again is not None
    assert usage == {"description": "synthetic phantoms of the test split", **again.to_json()}
    card = (tiny_run.package / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert again.markdown("phantoms of the test split") in card
    assert "## Calibration and operating points" in card


def test_the_rule_of_the_configuration_decides_the_operating_points(tiny_run: TinyRun, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.out / "features", tmp_path / "features")
    rule = OperatingRule(rule="fixed", target=0.3)
    run_training(tiny_config(calibration=CalibrationSettings(operating_point=rule)), tmp_path, lambda event: None)
    package = load_package(tmp_path / "package")
    assert set(package.manifest.operating_points.values()) == {0.3}
    assert (package.metrics["calibration"]["rule"], package.metrics["calibration"]["target"]) == ("fixed", 0.3)
    model = (tmp_path / "package" / "model.safetensors").read_bytes()
    assert model == (tiny_run.package / "model.safetensors").read_bytes()


def test_training_moved_the_weights_and_learnt_the_training_set(tiny_run: TinyRun) -> None:
    curve = [event for event in tiny_run.events if isinstance(event, EpochEnded)]
    assert curve[-1].train_loss < 0.8 * curve[0].train_loss
    assert torch.count_nonzero(load_package(tiny_run.package).classifier.molre.up_KDR) > 0


def test_the_reference_cohort_is_of_the_phantoms_that_it_names(tiny_run: TinyRun) -> None:
    reference = read_reference(tiny_run.reference, verify_package(tiny_run.package))
    assert {role: len(studies) for role, studies in reference.studies.items()} == {
        "replay": 6,
        "calibrate": 4,
        "heldout": 6,
    }
    assert "synthetic" in reference.document.description
    case = next(case for case in plan(tiny_run.config.cohort) if case.split == "test")
    made = extract_case(case, tiny_run.config)
    shipped = reference.studies["heldout"][0]
    assert shipped.identifier == made.identifier
    assert np.array_equal(shipped.labels_C, made.labels_C)
    assert np.allclose(shipped.features_SD.astype(np.float32), made.features_SD.astype(np.float32), atol=1e-2)


def test_the_same_configuration_gives_the_same_bits(tiny_run: TinyRun, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.out / "features", tmp_path / "features")
    run_training(tiny_config(), tmp_path, lambda event: None)
    for name in ("model.safetensors", "calibration.json", "metrics.json", "MODEL_CARD.md"):
        assert (tmp_path / "package" / name).read_bytes() == (tiny_run.package / name).read_bytes()
    assert (tmp_path / tiny_run.reference.name).read_bytes() == tiny_run.reference.read_bytes()


def test_a_stopped_run_keeps_its_features_and_its_epochs(tiny_run: TinyRun, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.out / "features", tmp_path / "features")
    with pytest.raises(Cancelled):
        run_training(tiny_config(), tmp_path, lambda event: None, _Counting(limit=3))
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert not (tmp_path / "package").exists()
    run_training(tiny_config(), tmp_path, lambda event: None)
    model = (tmp_path / "package" / "model.safetensors").read_bytes()
    assert model == (tiny_run.package / "model.safetensors").read_bytes()


def test_features_are_computed_once_and_a_damaged_file_again(tiny_run: TinyRun, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.out / "features", tmp_path / "features")
    cached = _Counting()
    before = cohort_features(tiny_run.config, tmp_path / "features", cached)
    assert cached.steps == []
    case = plan(tiny_run.config.cohort)[3]
    damaged = FeatureCache(tmp_path / "features", PAINTED_KEYS).path(feature_digest(case, tiny_run.config))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    repaired = _Counting()
    after = cohort_features(tiny_run.config, tmp_path / "features", repaired)
    assert repaired.steps == [(30, 30)]
    assert after["train"][3].digest() == before["train"][3].digest()


@pytest.mark.slow
def test_helper_processes_compute_the_same_features(tiny_run: TinyRun, tmp_path: Path) -> None:
    cohort = PhantomCohortConfig(n_train=4, n_validate=1, n_calibrate=1, n_test=1, spec=tiny_run.config.cohort.spec)
    alone = cohort_features(tiny_config(cohort=cohort), tiny_run.out / "features")
    helped = cohort_features(tiny_config(cohort=cohort, workers=2), tmp_path / "features")
    for one, two in zip(alone["train"], helped["train"], strict=True):
        assert one.identifier == two.identifier
        assert np.array_equal(one.labels_C, two.labels_C)
        assert np.allclose(one.features_SD.astype(np.float32), two.features_SD.astype(np.float32), atol=1e-2)


def test_an_existing_package_is_never_overwritten(tiny_run: TinyRun) -> None:
    before = (tiny_run.package / "manifest.json").read_bytes()
    with pytest.raises(TrainingError) as caught:
        run_training(tiny_config(), tiny_run.out, lambda event: None)
    assert caught.value.code == "training.package_exists"
    assert (tiny_run.package / "manifest.json").read_bytes() == before


def test_a_changed_reference_cohort_is_refused(tiny_run: TinyRun, tmp_path: Path) -> None:
    manifest = verify_package(tiny_run.package)
    path = tmp_path / tiny_run.reference.name
    shutil.copy(sidecar(tiny_run.reference), sidecar(path))

    data = bytearray(tiny_run.reference.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrainingError, match="sha256") as caught:
        read_reference(path, manifest)
    assert caught.value.code == "training.reference"

    shutil.copy(tiny_run.reference, path)
    document = json.loads(sidecar(path).read_text(encoding="utf-8"))
    labels = document["studies"][0]["labels"]
    document["studies"][0]["labels"] = ("0" if labels[0] == "1" else "1") + labels[1:]
    sidecar(path).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(TrainingError, match="digest") as caught:
        read_reference(path, manifest)
    assert caught.value.code == "training.reference"


def test_the_reference_cohort_of_another_model_is_refused(tiny_run: TinyRun) -> None:
    manifest = verify_package(tiny_run.package)
    other = manifest.model_copy(update={"training": manifest.training.model_copy(update={"data_digest": "0" * 64})})
    with pytest.raises(TrainingError) as caught:
        read_reference(tiny_run.reference, other)
    assert caught.value.code == "training.reference_mismatch"


def test_a_finished_run_is_shipped_whole(tiny_run: TinyRun, tmp_path: Path) -> None:
    target = ship(tiny_run.out, tmp_path)
    assert target == tmp_path / "models" / "tiny"
    assert ship(tiny_run.out, tmp_path) == target
    manifest = verify_package(target)
    assert manifest.digest == tiny_run.finished.package_digest
    assert len(read_reference(tmp_path / "demo" / "reference_cohort.safetensors", manifest).studies["heldout"]) == 6
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]


def test_the_train_command_refuses_a_configuration_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("unknown = 1", encoding="utf-8")
    with pytest.raises(Exception, match=r"run\.toml.*unknown"):
        train_command(tmp_path / "run.toml", tmp_path / "out")
