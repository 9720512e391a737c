from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from engine.errors import ExportError
from engine.preprocess.nifti import write_prepared_nifti, write_volume_nifti
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import AIR_HU, PreprocessSpec
from engine.preprocess.tilt import is_regular, regular_geometry, to_regular_grid
from tests.support.heads import acquire, axial, pose, read_ge


def physical(image: sitk.Image, kji: tuple[int, int, int]) -> tuple[float, ...]:
    return image.TransformIndexToPhysicalPoint(tuple(int(index) for index in kji[::-1]))


def test_a_regular_volume_is_written_voxel_by_voxel(tmp_path: Path) -> None:
    volume = acquire(axial(n_slices=20, size=64))
    path = tmp_path / "volume.nii.gz"
    assert write_volume_nifti(volume, path) == ()
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.voxels)
    for kji in ((0, 0, 0), (19, 10, 33)):
        assert np.allclose(physical(image, kji), volume.geometry.kji_to_lps(np.array(kji, float)), atol=1e-3)


def test_the_tilted_scan_is_sheared_out_and_says_so(ge_tilt: Path, tmp_path: Path) -> None:
    volume = read_ge(ge_tilt)
    path = tmp_path / "volume.nii.gz"
    notes = write_volume_nifti(volume, path)
    assert "18.5" in notes[0]
    assert "28 acquired slices" in notes[0]
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)
    assert voxels.min() >= AIR_HU
    geometry = volume.geometry
    # On the plane of an acquired slice nothing is interpolated through the gap: the same tissue at the same place.
    for acquired in (0, 5):
        lps = geometry.kji_to_lps(np.array([acquired, 250.0, 256.0]))
        index = image.TransformPhysicalPointToContinuousIndex(lps.tolist())
        assert image.EvaluateAtContinuousIndex(index) == pytest.approx(
            float(volume.voxels[acquired, 249:252, 255:258].mean()), abs=25
        )


def test_every_slice_of_the_regular_grid_shows_the_tissue_of_its_place() -> None:
    volume = acquire(axial(3.0, 60, 1.5, 150, tilt_deg=15), pose(yaw_deg=5))
    assert not is_regular(volume.geometry)
    regular = to_regular_grid(volume)
    assert is_regular(regular.geometry)
    truth = acquire(regular.geometry, pose(yaw_deg=5)).voxels
    inside = regular.voxels[5:-5] > 0
    assert np.mean(np.abs(regular.voxels[5:-5] - truth[5:-5])[inside] < 20) > 0.9


def test_the_regular_grid_holds_all_that_was_acquired(ge_tilt: Path) -> None:
    geometry = read_ge(ge_tilt).geometry
    regular = regular_geometry(geometry)
    assert regular.tilt_deg == pytest.approx(0, abs=1e-6)
    corners = np.array([[k, j, i] for k in (0.0, 27.0) for j in (0.0, 511.0) for i in (0.0, 511.0)])
    inside = regular.lps_to_kji(geometry.kji_to_lps(corners))
    assert inside[:, 1:].min() > -0.01
    assert np.all(inside[:, 1:].max(axis=0) < np.array([regular.rows, regular.columns]) - 0.99)


def test_bunched_slices_do_not_make_an_endless_grid() -> None:
    geometry = axial(n_slices=4, size=16)
    origins = geometry.origins_lps_mm.copy()
    origins[:, 2] = (0.0, 0.01, 0.02, 100.0)
    assert regular_geometry(replace(geometry, origins_lps_mm=origins)).n_slices <= 17


def test_a_prepared_volume_lies_in_the_patient(ge_tilt: Path, tmp_path: Path) -> None:
    prepared = prepare(read_ge(ge_tilt), PreprocessSpec())
    path = tmp_path / "prepared.nii"
    write_prepared_nifti(prepared, path)
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), prepared.voxels_hu)
    for kji in ((0, 0, 0), (20, 100, 150)):
        assert np.allclose(physical(image, kji), prepared.prepared_kji_to_lps(np.array(kji, float)), atol=1e-3)


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    volume = acquire(axial(n_slices=3, size=16))
    with pytest.raises(ExportError) as caught:
        write_volume_nifti(volume, tmp_path / "missing" / "volume.nii.gz")
    assert caught.value.kind == "environment"
    with pytest.raises(ExportError) as caught:
        write_volume_nifti(volume, tmp_path / "volume.png")
    assert caught.value.code == "nifti.suffix"
    assert list(tmp_path.iterdir()) == []
