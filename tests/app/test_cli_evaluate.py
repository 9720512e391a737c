"""`evaluate` in a process of its own, on a small phantom cohort, one model against another."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from engine.phantom.cohort import write_cohort
from engine.phantom.spec import PhantomSpec
from engine.preprocess.spec import PreprocessSpec
from tests.app.test_cli_infer import program
from tests.support.models import write_random_package

KEYS = ("meningioma", "sinusitis", "lipoma")
SPEC = PhantomSpec(matrix=72, pixel_spacing_mm=3.2, n_slices=13, slice_spacing_mm=12.0)
COARSE = PreprocessSpec(spacing_mm=(12.0, 3.2, 3.2), size_px=(64, 64), align=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("own") / "cohort", 22, 3, SPEC).parent


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two random models with their findings in another order; the second does not know one."""
    folder = tmp_path_factory.mktemp("packages")
    write_random_package(folder / "one", KEYS, preprocessing=COARSE)
    write_random_package(folder / "two", KEYS[1::-1], seed=2, preprocessing=COARSE)
    return folder / "one", folder / "two"


@pytest.fixture
def table(cohort: Path) -> Path:
    """Half of the studies positive in one finding, two studies of each patient, and one row that leads nowhere."""
    rows = [[f"study_{n + 1:05d}", f"P{n // 2}", n % 2, int(n < 4), ""] for n in range(22)]
    file = cohort / "own.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["path", "patient", *KEYS], *rows, ["study_99999", "P99", 1, 1, ""]])
    return file


@pytest.mark.slow
def test_one_model_against_another(cohort: Path, packages: tuple[Path, Path], table: Path, tmp_path: Path) -> None:
    attributes = cohort / "attributes.csv"
    attributes.write_text("path,ward\n" + "".join(f"study_{n + 1:05d},day\n" for n in range(21)), encoding="utf-8")
    one, two = packages
    out = tmp_path / "evaluation"
    arguments = ("--against", two, "--attributes", attributes, "--device", "cpu")
    done = program("evaluate", one, "--labels", table, "--out", out, *arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not used, line 24" in done.stderr
    assert "Difference of the means" in done.stdout
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert (document["n_studies"], document["n_patients"], document["n_skipped"]) == (22, 11, 1)
    assert document["n_findings_not_measured"] == 1, "the second model does not predict it"
    first, second = document["models"]
    assert list(first["findings"]) == list(second["findings"]) == list(KEYS[:2])
    assert first["digest"] != second["digest"]
    measured = document["comparison"]["findings"][KEYS[0]]
    assert (measured["n_pos"], measured["n_neg"]) == (11, 11)
    assert measured["first_auc"] == first["findings"][KEYS[0]]["auc"]
    assert measured["second_auc"] == second["findings"][KEYS[0]]["auc"]
    assert document["comparison"]["findings"][KEYS[1]]["note"] == "too few"
    values = {(item["attribute"], item["value"]): item["n_studies"] for item in first["strata"]}
    assert values["scanner", "Synthetic (no scanner)"] == 22
    assert values["slice thickness", "over 5 mm"] == 22
    assert (values["ward", "day"], values["ward", "unknown"]) == (21, 1)
    again = program("evaluate", one, "--labels", table, "--out", out, home=tmp_path)
    assert again.returncode == 3
    assert "never overwritten" in again.stderr


def test_a_table_without_a_finding_of_both_models_is_refused(
    cohort: Path, packages: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = cohort / "lipoma.csv"
    labels.write_text("path,lipoma\nstudy_00001,1\n", encoding="utf-8")
    one, two = packages
    done = program("evaluate", one, "--labels", labels, "--against", two, "--out", tmp_path / "o", home=tmp_path)
    assert done.returncode == 3
    assert "[labels.no_common_finding]" in done.stderr
    missing = program("evaluate", one, "--labels", cohort / "none.csv", "--out", tmp_path / "o", home=tmp_path)
    assert missing.returncode == 3
