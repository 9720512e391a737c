"""`models calibrate` in a process of its own, on a small phantom cohort with rows that cannot be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from app.operations.load_series import load_series
from app.operations.open_paths import open_paths
from engine.findings.catalogue import Catalogue
from engine.inference.predictor import Predictor
from engine.models.package import read_package
from engine.phantom.cohort import LABELS_FILE, write_cohort
from engine.phantom.spec import PhantomSpec
from engine.preprocess.spec import PreprocessSpec
from tests.app.test_cli_infer import program
from tests.support.models import write_random_package

N_STUDIES = 24
FITTED, KEPT = "meningioma", "sinusitis"
SPEC = PhantomSpec(matrix=72, pixel_spacing_mm=3.2, n_slices=13, slice_spacing_mm=12.0)
COARSE = PreprocessSpec(spacing_mm=(12.0, 3.2, 3.2), size_px=(64, 64), align=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("own") / "cohort", N_STUDIES, 3, SPEC).parent


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "random"
    write_random_package(folder, (FITTED, KEPT), preprocessing=COARSE, operating_points={FITTED: 0.5, KEPT: 0.37})
    return folder


@pytest.fixture(scope="module")
def logits(cohort: Path, package: Path, catalogue: Catalogue) -> np.ndarray:
    """The model's output for `FITTED`, study by study."""
    predictor = Predictor.open(package, catalogue, "cpu")
    values = []
    for folder in sorted(cohort.glob("study_?????")):
        (series,) = open_paths([folder]).series
        analysis = predictor.analyse(
            load_series(series).volume, study_instance_uid="2.25.1", series_instance_uid="2.25.2", read_s=0.0
        )
        values.append(analysis.finding(FITTED).logit)
    return np.array(values)


@pytest.fixture
def table(cohort: Path, logits: np.ndarray) -> Path:
    """Labels that follow the model's ranking but for two; and a missing, a repeated and an unlabelled study."""
    present = np.zeros(N_STUDIES, dtype=int)
    order = np.argsort(logits)
    present[order[N_STUDIES // 2 :]] = 1
    present[order[[10, 13]]] = present[order[[13, 10]]]
    rows = [[f"study_{index + 1:05d}", str(label), "1" if index < 3 else ""] for index, label in enumerate(present)]
    rows[:0] = [["study_99999", "1", ""]]
    rows += [["./study_00001", "1", ""], ["study_00002", "", ""]]
    file = cohort / "own.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["path", FITTED, KEPT], *rows])
    return file


@pytest.mark.slow
def test_a_package_is_calibrated_and_bad_rows_are_reported(
    cohort: Path, package: Path, table: Path, logits: np.ndarray, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in package.iterdir()}
    arguments = ("--method", "temperature", "--rule", "sensitivity", "--target", "0.9", "--device", "cpu")
    out = tmp_path / "calibrated"
    done = program("models", "calibrate", package, "--labels", table, "--out", out, *arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"calibrated 1 findings on {N_STUDIES} studies (3 not used; 1 findings left as they were)" in done.stdout
    assert "not used, line 2" in done.stderr
    assert "[dicom.not_found]" in done.stderr
    assert "[labels.twice]" in done.stderr
    assert "[labels.no_label]" in done.stderr
    assert {path.name: path.read_bytes() for path in package.iterdir()} == before

    parent, child = read_package(package), read_package(out)
    assert child.manifest.training.parent_digest == parent.manifest.digest
    assert child.calibration.root[FITTED].method == "temperature"
    assert child.manifest.operating_points[KEPT] == 0.37
    measured = child.metrics["calibration"]["findings"][FITTED]
    assert (measured["n_pos"], measured["n_neg"]) == (12, 12)
    shown = np.array([child.calibration.probability(FITTED, float(logit)) for logit in logits])
    called = shown >= child.manifest.operating_points[FITTED]
    with table.open(encoding="utf-8", newline="") as stream:
        labels = np.array([row[FITTED] for row in csv.DictReader(stream)][1 : N_STUDIES + 1]) == "1"
    assert measured["fit"]["sensitivity"]["count"] == int((called & labels).sum()) >= 0.9 * 12
    assert measured["fit"]["specificity"]["count"] == int((~called & ~labels).sum())

    shown_text = program("models", "show", "--text", out, home=tmp_path).stdout
    assert "2 findings, 1 of them uncalibrated (marked *)" in shown_text
    lines = {line.split()[0]: line for line in shown_text.splitlines() if line.startswith((FITTED, KEPT))}
    assert "temperature" in lines[FITTED]
    assert "raw *" in lines[KEPT]
    document = json.loads(program("models", "show", out, home=tmp_path).stdout)
    assert document["uncalibrated"] == [KEPT]


def test_a_folder_that_exists_is_never_overwritten(cohort: Path, package: Path, tmp_path: Path) -> None:
    done = program("models", "calibrate", package, "--labels", cohort / LABELS_FILE, "--out", package, home=tmp_path)
    assert done.returncode == 3
    assert "never overwritten" in done.stderr


@pytest.mark.parametrize(
    "options", [("--rule", "sensitivity"), ("--target", "0.9"), ("--rule", "specificity", "--target", "9")]
)
def test_a_rule_without_its_target_is_bad_input(
    cohort: Path, package: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = program(
        "models",
        "calibrate",
        package,
        "--labels",
        cohort / LABELS_FILE,
        "--out",
        tmp_path / "o",
        *options,
        home=tmp_path,
    )
    assert done.returncode == 3
    assert "[calibration.rule]" in done.stderr
    assert not (tmp_path / "o").exists()
