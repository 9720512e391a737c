"""What ships, used as a user would: the demo model on the demo studies, through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.findings.catalogue import Catalogue
from engine.models.package import verify_package
from tests.conftest import PROJECT_ROOT

PAINTED = "acute_subdural_hematoma"
FINDING_KEYS = {
    "key",
    "label",
    "category",
    "covered",
    "logit",
    "probability",
    "calibrated_probability",
    "operating_point",
    "positive",
}


def _main(*arguments: str | Path, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT_ROOT / "main.py"), "--home", str(home), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, **variables}, check=False, text=True, capture_output=True, timeout=240
    )


def _infer(study: Path, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    out, ledger = folder / "r.json", folder / "l.npz"
    done = _main("infer", study, "--device", "cpu", "--out", out, "--ledger", ledger, home=folder / "home")
    assert done.returncode == 0, done.stderr
    with np.load(ledger, allow_pickle=False) as arrays:
        return json.loads(out.read_text(encoding="utf-8")), dict(arrays)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return _infer(PROJECT_ROOT / "resources" / "demo" / "phantom", tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return _infer(PROJECT_ROOT / "resources" / "demo" / "head_ct_ge_tilt", tmp_path_factory.mktemp("real"))


def test_the_shipped_package_is_whole_and_says_what_it_is(resources: Path) -> None:
    folder = resources / "models" / "phantom-demo"
    manifest = verify_package(folder)
    assert manifest.notice == "Trained on synthetic phantoms, for demonstration only"
    assert manifest.lora is not None
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert manifest.notice in card
    heldout = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["heldout"]
    aucs = [item["auc"] for item in heldout["findings"].values() if item["auc"] is not None]
    assert f"{np.mean(aucs):.3f}" in card, "the card tells the measured mean"
    sidecar = json.loads((resources / "demo" / "reference_cohort.json").read_text(encoding="utf-8"))
    assert manifest.training.data_digest in json.dumps(sidecar)


def test_it_covers_the_whole_catalogue(resources: Path, catalogue: Catalogue) -> None:
    manifest = verify_package(resources / "models" / "phantom-demo")
    assert set(manifest.finding_keys) == set(catalogue)


def test_it_is_as_good_as_it_must_be_or_says_where_it_is_not(resources: Path) -> None:
    folder = resources / "models" / "phantom-demo"
    heldout = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["heldout"]["findings"]
    assert np.mean([item["auc"] for item in heldout.values() if item["auc"] is not None]) >= 0.90
    weak = [key for key, item in heldout.items() if item["auc"] is not None and item["auc"] < 0.70]
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    line = next(line for line in card.splitlines() if "below 0.7" in line)
    assert all(key in line for key in weak)


def test_model_and_reference_cohort_stay_small(resources: Path) -> None:
    files = [*(resources / "models" / "phantom-demo").iterdir(), *(resources / "demo").glob("reference_cohort.*")]
    assert sum(path.stat().st_size for path in files) <= 40_000_000


def test_the_result_has_exactly_the_documented_parts(
    real: tuple[dict[str, Any], dict[str, np.ndarray]], catalogue: Catalogue
) -> None:
    result, _ = real
    assert result["geometry"]["acquired_slices"] == 28
    assert result["geometry"]["tilt_deg"] == pytest.approx(18.5, abs=0.01)
    assert [round(value, 2) for value in result["geometry"]["normal_spacing_mm"]] == [4.0] * 13 + [1.08] + [7.0] * 13
    assert (result["geometry"]["rows"], result["geometry"]["columns"]) == (512, 512)
    assert set(result["model"]) == {"name", "digest", "notice"}
    assert [item["key"] for item in result["findings"]] == list(catalogue)
    assert all(set(item) == FINDING_KEYS for item in result["findings"])
    for item in result["findings"]:
        assert (item["probability"] is None) is (not item["covered"]), "an uncovered finding has no number, never 0"
    assert set(result["timings_s"]) == {"read", "prepare", "backbone", "head", "total"}
    assert sum(item["attention"] for item in result["slices"]) == pytest.approx(1, abs=1e-5)
    assert all(sum(item["gate_weights"]) == pytest.approx(1, abs=1e-5) for item in result["slices"])
    assert all(item["sop_instance_uids"] for item in result["slices"])


@pytest.mark.parametrize("study", ["phantom", "real"])
def test_the_ledger_adds_up_to_every_logit(study: str, request: pytest.FixtureRequest) -> None:
    result, arrays = request.getfixturevalue(study)
    covered = [item for item in result["findings"] if item["covered"]]
    by_key = {item["key"]: item["logit"] for item in covered}
    assert arrays["ledger"].shape == (len(covered), len(result["slices"]), 7)
    sums = arrays["ledger"].sum(axis=(1, 2)) + arrays["bias"]
    assert np.abs(sums - arrays["logits"]).max() < 1e-4
    for key, logit, bias in zip(arrays["keys"], arrays["logits"], arrays["bias"], strict=True):
        assert by_key[str(key)] == pytest.approx(float(logit), abs=1e-6)
        assert result["bias"][str(key)] == pytest.approx(float(bias), abs=1e-6)


def test_the_painted_bleed_is_found_on_the_slices_that_hold_it(
    phantom: tuple[dict[str, Any], dict[str, np.ndarray]], resources: Path
) -> None:
    result, arrays = phantom
    finding = next(item for item in result["findings"] if item["key"] == PAINTED)
    assert finding["positive"]
    truth = json.loads((resources / "demo" / "phantom" / "truth.json").read_text(encoding="utf-8"))
    painted = set(truth["findings"][PAINTED]["slices"])
    row = [str(key) for key in arrays["keys"]].index(PAINTED)
    top = int(arrays["ledger"][row].sum(axis=1).argmax())
    order = _acquired_order(resources / "demo" / "phantom")
    assert {order[uid] for uid in result["slices"][top]["sop_instance_uids"]} & painted


def _acquired_order(folder: Path) -> dict[str, int]:
    from engine.dicom.scan import scan

    (series,) = (item for item in scan([folder]).series if item.analysable)
    return {instance.sop_instance_uid: index for index, instance in enumerate(series.instances)}


@pytest.mark.slow
def test_without_a_display_the_demo_still_gives_results_and_pictures(tmp_path: Path) -> None:
    done = _main("demo", "--out", tmp_path / "demo", home=tmp_path / "home", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert "no display" in done.stderr
    written = {Path(line) for line in done.stdout.splitlines()}
    assert tmp_path / "demo" / "results.json" in written
    pictures = [path for path in written if path.suffix == ".png"]
    assert any(path.name.startswith("review_") for path in pictures)
    assert all(path.is_file() and path.stat().st_size > 1000 for path in written)
    document = json.loads((tmp_path / "demo" / "results.json").read_text(encoding="utf-8"))
    assert document["model"]["notice"] == "Trained on synthetic phantoms, for demonstration only"
