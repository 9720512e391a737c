"""Phantoms of varied heads and scanners on disk: every series reads back where its masks lie, tilted ones too."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.cli import main
from app.commands.base import Programs
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.phantom.cohort import study_seed
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PAINTED_KEYS, generate
from trainer.cohorts.build import import_cohort

VARIED = PhantomSpec(anatomy="varied", scanner="varied")
NO_PROGRAMS = Programs(*[lambda *_: 0] * len(fields(Programs)))
SEED, TILTED = 113, 1
"""A cohort of few slices, whose first study is not tilted and whose second one is."""


def phantom(out: Path, *words: object) -> int:
    home = ["--home", str(out.parent / "home")]
    return main([*home, "phantom", str(out), "--seed", str(SEED), *map(str, words)], NO_PROGRAMS)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("varied") / "cohort"
    assert phantom(out, "--studies", 2, "--anatomy", "varied", "--scanner", "varied") == 0
    return out


@pytest.mark.parametrize("index", [0, TILTED])
def test_series_masks_and_labels_are_of_the_same_study(cohort: Path, index: int) -> None:
    truth = generate(study_seed(SEED, index), VARIED)
    assert (truth.spec.tilt_deg != 0) == (index == TILTED)
    name = f"study_{index + 1:05d}"
    volume = read_series(scan([cohort / name]).series[0])
    geometry = volume.require_geometry()
    assert geometry.tilt_deg == pytest.approx(abs(truth.spec.tilt_deg), abs=0.05)
    assert np.abs(volume.voxels - truth.volume.voxels).max() <= 1
    rows = list(csv.DictReader((cohort / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert {key: int(rows[index][key]) for key in PAINTED_KEYS} == truth.labels
    written = {path.name.removesuffix(".nii.gz"): path for path in (cohort / f"{name}_masks").glob("*.nii.gz")}
    assert set(written) == set(truth.masks)
    assert written, "a study without findings tests nothing"
    for key, path in written.items():
        image = nib.load(path)
        mask_SHW = np.asarray(image.dataobj).T.astype(bool)
        assert np.array_equal(mask_SHW, truth.masks[key]), key
        last = np.array([0, 0, geometry.n_slices - 1, 1.0])
        place_lps = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ last)[:3]
        assert place_lps == pytest.approx(geometry.origins_lps_mm[-1], abs=0.01), "sheared as the series is"


def test_it_is_imported_as_a_cohort(cohort: Path, tmp_path: Path, catalogue) -> None:  # type: ignore[no-untyped-def]
    manifest = import_cohort(cohort, tmp_path, catalogue).manifest
    assert (manifest.kind_of_cohort, len(manifest.studies)) == ("phantom", 2)


def test_what_a_varied_scanner_draws_is_not_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert phantom(tmp_path / "a", "--studies", 1, "--scanner", "varied", "--slices", 4) == 2
    assert "plain scanner" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_second_varied_cohort_in_one_folder_is_bad_input(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*")}
    assert phantom(cohort, "--studies", 1, "--scanner", "varied") == 3
    assert "holds one already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*")} == before


def test_varied_heads_of_a_plain_scanner_are_other_heads(tmp_path: Path) -> None:
    for anatomy in ("plain", "varied"):
        sizes = ("--matrix", 48, "--slices", 4, "--anatomy", anatomy)
        assert phantom(tmp_path / anatomy, "--studies", 1, *sizes) == 0
    one, two = (read_series(scan([tmp_path / name / "study_00001"]).series[0]).voxels for name in ("plain", "varied"))
    assert one.shape == two.shape
    assert not np.array_equal(one, two)
