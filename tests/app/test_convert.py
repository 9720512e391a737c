"""convert: what is written, what is said of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from app.cli import main
from app.commands.base import Programs
from tests.support.dicom import ct_slice, save, write_series


def convert(home: Path, *arguments: object) -> int:
    programs = Programs(*[lambda *_: 0] * 6)  # type: ignore[arg-type]
    return main(["--home", str(home), "convert", *map(str, arguments)], programs)


def test_an_uneven_series_is_written_as_acquired_and_said_to_be_so(
    ge_tilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.nii.gz"
    assert convert(tmp_path / "home", ge_tilt, "--stage", "volume", "--out", out) == 0
    said = capsys.readouterr().err
    assert "mean" in said
    assert "--regular" in said
    assert str(tmp_path / "v.json") in said
    assert nibabel.load(out).shape == (512, 512, 28)
    assert json.loads((tmp_path / "v.json").read_text())["slices"] == 28
    # A header that does not place the slices is not carried on into a second file that does not say so.
    assert convert(tmp_path / "home", out, "--stage", "volume", "--out", tmp_path / "w.nii.gz") == 3
    assert "mean slice spacing" in capsys.readouterr().err
    assert convert(tmp_path / "home", out, "--stage", "prepared", "--out", tmp_path / "w.nii.gz") == 4
    assert not (tmp_path / "w.nii.gz").exists()


def test_an_even_series_needs_no_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in")
    out = tmp_path / "v.nii"
    assert convert(tmp_path / "home", tmp_path / "in", "--stage", "volume", "--out", out) == 0
    assert capsys.readouterr().err == f"Written: {out} and {tmp_path / 'v.json'}\n"


def test_regular_resamples_and_belongs_to_the_volume_stage(
    ge_tilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.nii.gz"
    assert convert(tmp_path / "home", ge_tilt, "--stage", "prepared", "--regular", "--out", out) == 2
    assert "--regular" in capsys.readouterr().err
    assert not out.exists()
    assert convert(tmp_path / "home", ge_tilt, "--stage", "volume", "--regular", "--out", out) == 0
    assert "tilt of 18.5°" in capsys.readouterr().err
    written = nibabel.load(out)
    shear = written.affine[:3, :3].T @ written.affine[:3, :3] - np.diag(np.square(written.header.get_zooms()))
    assert np.abs(shear).max() < 1e-4


def test_a_stack_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_series(tmp_path / "in", ImagePositionPatient=None)
    assert files
    assert convert(tmp_path / "home", tmp_path / "in", "--stage", "volume", "--out", tmp_path / "v.nii") == 3
    said = capsys.readouterr().err
    assert str(tmp_path / "in") in said
    assert "dicom.no_place" in said
    assert not (tmp_path / "v.nii").exists()


def test_the_input_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = tmp_path / "v.nii"
    write_series(folder)
    assert convert(tmp_path / "home", folder, "--stage", "volume", "--out", source) == 0
    before = source.read_bytes()
    for stage in ("volume", "prepared"):
        assert convert(tmp_path / "home", source, "--stage", stage, "--out", source) == 3
        assert str(source) in capsys.readouterr().err
    assert source.read_bytes() == before
    slice_file = save(ct_slice(99), folder / "one.nii")
    kept = slice_file.read_bytes()
    assert convert(tmp_path / "home", folder, "--stage", "volume", "--out", slice_file) == 3
    assert slice_file.read_bytes() == kept


def test_a_name_that_is_no_niftis_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in")
    assert convert(tmp_path / "home", tmp_path / "in", "--stage", "volume", "--out", tmp_path / "v.png") == 3
    assert ".nii" in capsys.readouterr().err
