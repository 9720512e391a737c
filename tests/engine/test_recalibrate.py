"""A package calibrated on own studies: a child with the same tensors, and only what was fitted is replaced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InferenceError, PackageError
from engine.inference.calibrate import BACKWARDS, CalibrationSettings
from engine.inference.operating_points import OperatingRule
from engine.inference.recalibrate import FEW_LABELS, UNLABELLED, recalibrate, write_recalibrated
from engine.models.calibration import Temperature
from engine.models.package import VerifiedPackage, load_package, read_package
from tests.support.models import tiny_registry, write_random_package

KEYS = ("fitted", "backwards", "few", "unlabelled", "few_and_raw")
REGISTRY = tiny_registry()
SETTINGS = CalibrationSettings(method="temperature", operating_point=OperatingRule(rule="sensitivity", target=0.9))


@pytest.fixture
def parent(tmp_path: Path) -> VerifiedPackage:
    old = {"method": "platt", "slope": 2.0, "intercept": -1.0}
    points = dict(zip(KEYS, (0.1, 0.2, 0.3, 0.4, 0.6), strict=True))
    calibration = dict.fromkeys(KEYS[:4], old)
    write_random_package(tmp_path / "parent", KEYS, REGISTRY, calibration=calibration, operating_points=points)
    return read_package(tmp_path / "parent", REGISTRY)


def own_studies() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(8)
    present = (np.arange(40) % 2).astype(np.int8)
    logits = random.normal(0, 1, (40, len(KEYS)))
    logits[:, 0] += 2 * present
    logits[:, 1] -= 2 * present
    labels = np.stack([present, present, present, present, present], axis=1)
    labels[10:, 2] = labels[10:, 4] = -1
    labels[:, 3] = -1
    return labels, logits


def test_the_child_replaces_what_was_fitted_and_keeps_the_rest(parent: VerifiedPackage, tmp_path: Path) -> None:
    report = recalibrate(parent, *own_studies(), SETTINGS, "my_labels.csv")
    manifest = write_recalibrated(tmp_path / "child", parent, report, REGISTRY)
    child = read_package(tmp_path / "child", REGISTRY)

    assert manifest.training.parent_digest == parent.manifest.digest != manifest.digest
    assert child.files["model.safetensors"] == parent.files["model.safetensors"]
    assert isinstance(child.calibration.root["fitted"], Temperature)
    assert "backwards" not in child.calibration.root, "it has evidence against a calibrated probability"
    assert "few_and_raw" not in child.calibration.root
    for key in ("few", "unlabelled"):
        assert child.calibration.root[key] == parent.calibration.root[key]
    for key in ("few", "unlabelled", "few_and_raw"):
        assert manifest.operating_points[key] == parent.manifest.operating_points[key]
    item = next(item for item in report.items if item.key == "fitted")
    assert manifest.operating_points["fitted"] == item.point.threshold != 0.1
    assert item.point.target_reached is True
    unchanged = set(type(manifest).model_fields) - {"created", "operating_points", "training", "files", "seal"}
    assert all(getattr(manifest, name) == getattr(parent.manifest, name) for name in unchanged)
    assert manifest.training.data_digest == parent.manifest.training.data_digest


def test_metrics_and_card_say_what_was_done_without_a_path(parent: VerifiedPackage, tmp_path: Path) -> None:
    report = recalibrate(parent, *own_studies(), SETTINGS, "my_labels.csv")
    write_recalibrated(tmp_path / "child", parent, report, REGISTRY)
    child = load_package(tmp_path / "child", REGISTRY)
    assert child.metrics["auc"] == parent.metrics["auc"], "other measurements stay"
    calibration = child.metrics["calibration"]
    assert calibration["fit"]["description"] == "studies of the table my_labels.csv"
    assert (calibration["fit"]["n_studies"], calibration["fit"]["in_sample"], calibration["test"]) == (40, True, None)
    assert calibration["findings"]["backwards"]["note"] == BACKWARDS
    kept = {key: value["note"] for key, value in calibration["findings"].items() if value.get("kept_from_parent")}
    assert kept == {"few": FEW_LABELS, "unlabelled": UNLABELLED, "few_and_raw": FEW_LABELS}
    card = (tmp_path / "child" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# Tests only\n")
    assert "fitted on 40 studies of the table my_labels.csv" in card
    assert "the very ones of the fit: expect less on others" in card
    assert str(tmp_path) not in card + json.dumps(child.metrics)


def test_a_second_calibration_is_a_child_of_the_first(parent: VerifiedPackage, tmp_path: Path) -> None:
    report = recalibrate(parent, *own_studies(), SETTINGS, "first.csv")
    first = write_recalibrated(tmp_path / "first", parent, report, REGISTRY)
    again = read_package(tmp_path / "first", REGISTRY)
    second = write_recalibrated(
        tmp_path / "second", again, recalibrate(again, *own_studies(), CalibrationSettings(), "second.csv"), REGISTRY
    )
    assert second.training.parent_digest == first.digest


def test_what_was_measured_of_a_kept_finding_stays(parent: VerifiedPackage, tmp_path: Path) -> None:
    labels, logits = own_studies()
    labels[:, 2] = labels[:, 0]
    write_recalibrated(tmp_path / "1", parent, recalibrate(parent, labels, logits, SETTINGS, "1.csv"), REGISTRY)
    measured = read_package(tmp_path / "1", REGISTRY).metrics["calibration"]["findings"]["few"]
    assert measured["n_pos"] == 20
    for number in (2, 3):
        before = read_package(tmp_path / str(number - 1), REGISTRY)
        report = recalibrate(before, *own_studies(), SETTINGS, "later.csv")
        write_recalibrated(tmp_path / str(number), before, report, REGISTRY)
    kept = read_package(tmp_path / "3", REGISTRY).metrics["calibration"]["findings"]["few"]
    assert kept == {"kept_from_parent": True, "note": FEW_LABELS, "parent": measured}


def test_nothing_is_written_where_something_is(parent: VerifiedPackage, tmp_path: Path) -> None:
    report = recalibrate(parent, *own_studies(), SETTINGS, "my_labels.csv")
    before = {path: path.read_bytes() for path in parent.path.iterdir()}
    with pytest.raises(PackageError) as caught:
        write_recalibrated(parent.path, parent, report, REGISTRY)
    assert caught.value.code == "package.not_written"
    assert {path: path.read_bytes() for path in parent.path.iterdir()} == before


def test_a_table_from_which_nothing_can_be_fitted_is_refused(parent: VerifiedPackage) -> None:
    labels, logits = own_studies()
    with pytest.raises(InferenceError, match=r"Not one of 5 findings .* the best has 5 studies") as caught:
        recalibrate(parent, labels[:10], logits[:10], SETTINGS, "my_labels.csv")
    assert caught.value.code == "calibration.nothing"
