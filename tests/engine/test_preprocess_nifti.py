from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.errors import ExportError
from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.nifti import sidecar_path, write_prepared_nifti, write_volume_nifti
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import AIR_HU, PreprocessSpec
from engine.preprocess.tilt import is_regular, regular_geometry, to_regular_grid
from tests.support.heads import acquire, axial, pose, read_ge


def physical(image: sitk.Image, kji: tuple[int, int, int]) -> tuple[float, ...]:
    return image.TransformIndexToPhysicalPoint(tuple(int(index) for index in kji[::-1]))


def lps_of(affine: np.ndarray, kji: np.ndarray) -> np.ndarray:
    """Where nibabel's affine, RAS from column, row, slice, puts an index; in DICOM's LPS."""
    return nibabel.affines.apply_affine(affine, kji[..., ::-1]) * (-1, -1, 1)


def corners(geometry: VolumeGeometry, slices: tuple[int, ...]) -> np.ndarray:
    ends = [(float(k), float(j), float(i)) for k in slices for j in (0, geometry.rows - 1) for i in (0, 511, 100)]
    return np.array(ends)


def sidecar_of(path: Path) -> dict[str, Any]:
    return json.loads(sidecar_path(path).read_text(encoding="utf-8"))


def read_one(path: Path) -> Volume:
    (series,) = scan([path]).series
    return read_series(series)


@pytest.fixture(scope="module")
def philips_tilted(shared_data: Path) -> list[pydicom.Dataset]:
    """Series S3010, 58 slices evenly spaced along a table that the gantry leans against, read with pydicom alone."""
    folder = shared_data / "head_phantom_philips" / "S21610" / "S3010"
    sets = [pydicom.dcmread(file) for file in folder.glob("I*")]
    assert len(sets) == 58
    return sorted(sets, key=lambda one: float(one.ImagePositionPatient[2]))


@pytest.fixture(scope="module")
def philips_written(
    philips_tilted: list[pydicom.Dataset], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Volume, Path, tuple[str, ...]]:
    path = tmp_path_factory.mktemp("philips") / "tilted.nii.gz"
    volume = read_one(Path(philips_tilted[0].filename).parent)
    return volume, path, write_volume_nifti(volume, path)


def test_a_regular_volume_is_written_voxel_by_voxel(tmp_path: Path) -> None:
    volume = acquire(axial(n_slices=20, size=64))
    path = tmp_path / "volume.nii.gz"
    assert write_volume_nifti(volume, path) == ()
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.voxels)
    for kji in ((0, 0, 0), (19, 10, 33)):
        assert np.allclose(physical(image, kji), volume.geometry.kji_to_lps(np.array(kji, float)), atol=1e-3)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["volume.json", "volume.nii.gz"]


def test_the_real_scan_keeps_every_acquired_voxel(ge_tilt: Path, tmp_path: Path) -> None:
    path = tmp_path / "volume.nii.gz"
    write_volume_nifti(read_one(ge_tilt), path)
    sets = sorted((pydicom.dcmread(file) for file in ge_tilt.iterdir()), key=lambda one: one.ImagePositionPatient[2])
    expected = [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in sets]
    written = nibabel.load(path)
    assert written.get_data_dtype() == np.int16
    assert written.shape == (512, 512, 28)
    stored = np.asarray(written.dataobj.get_unscaled()).T
    assert np.array_equal(stored, np.stack(expected))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), stored)


def test_uneven_slices_have_their_ends_in_the_header_and_all_in_the_sidecar(ge_tilt: Path, tmp_path: Path) -> None:
    volume = read_ge(ge_tilt)
    path = tmp_path / "volume.nii"
    (note,) = write_volume_nifti(volume, path)
    assert "1.081 to 6.999 mm" in note
    assert "mean" in note
    assert str(tmp_path / "volume.json") in note
    assert "--regular" in note
    geometry, written = volume.geometry, nibabel.load(path)
    assert written.header["descrip"].item() == b"mean spacing, see json"
    ends = corners(geometry, (0, 27))
    assert np.allclose(lps_of(written.affine, ends), geometry.kji_to_lps(ends), atol=1e-3)
    document = sidecar_of(path)
    assert np.array_equal(document["slice_origins_lps_mm"], geometry.origins_lps_mm)
    assert np.array_equal(document["positions_mm"], geometry.positions_mm)
    assert np.array_equal(document["normal_spacing_mm"], geometry.normal_spacing_mm)
    assert np.array_equal(document["row_cosine_lps"], geometry.row_cosine_lps)
    assert np.array_equal(document["column_cosine_lps"], geometry.column_cosine_lps)
    assert document["pixel_spacing_mm"] == list(geometry.pixel_spacing_mm)
    assert document["tilt_deg"] == pytest.approx(18.5, abs=1e-4)
    assert (document["padding_value"], document["evenly_spaced"], document["resampled"]) == (-1500, False, False)


def test_a_sidecar_tells_nothing_of_the_patient(ge_tilt: Path, tmp_path: Path) -> None:
    path = tmp_path / "volume.nii"
    write_volume_nifti(read_ge(ge_tilt), path)
    text = sidecar_path(path).read_text(encoding="utf-8")
    header = pydicom.dcmread(next(ge_tilt.iterdir()), stop_before_pixels=True)
    told = [str(one.value) for one in header if one.VR in ("PN", "UI", "DA", "TM", "LO", "SH", "LT") and one.value]
    assert len(told) > 10
    assert not [value for value in told if len(value) > 4 and value in text]


def test_an_even_tilt_is_the_shear_of_the_affine(
    philips_tilted: list[pydicom.Dataset], philips_written: tuple[Volume, Path, tuple[str, ...]]
) -> None:
    _, path, notes = philips_written
    assert notes == ()
    written = nibabel.load(path)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    assert written.header["descrip"].item() == b""
    stored = np.asarray(written.dataobj.get_unscaled())
    for k, one in enumerate(philips_tilted):
        row, column = np.array(one.ImageOrientationPatient, dtype=float).reshape(2, 3)
        row_mm, column_mm = map(float, one.PixelSpacing)
        for j, i in ((0, 0), (one.Rows - 1, 0), (0, one.Columns - 1), (one.Rows - 1, one.Columns - 1)):
            expected = np.array(one.ImagePositionPatient, dtype=float) + j * row_mm * column + i * column_mm * row
            assert np.allclose(lps_of(written.affine, np.array([k, j, i])), expected, atol=1e-3)
        hu = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
        assert np.array_equal(stored[..., k].T, hu)


def test_a_reader_of_rigid_frames_finds_the_true_planes(philips_written: tuple[Volume, Path, tuple[str, ...]]) -> None:
    """ITK takes the qform where the sform holds shear: plane and distance are true, the middle of the stack too."""
    volume, path, _ = philips_written
    geometry, image = volume.geometry, sitk.ReadImage(str(path))
    frame = np.reshape(image.GetDirection(), (3, 3))
    expected = np.stack([geometry.row_cosine_lps, geometry.column_cosine_lps, geometry.normal_lps], axis=1)
    assert np.allclose(frame, expected, atol=1e-5)
    assert image.GetSpacing()[2] == pytest.approx(geometry.normal_spacing_mm.mean(), abs=1e-5)
    middle = np.array([(geometry.n_slices - 1) / 2, 10.0, 20.0])
    found = image.TransformContinuousIndexToPhysicalPoint(middle[::-1].tolist())
    assert np.allclose(found, geometry.kji_to_lps(middle), atol=1e-3)


def test_our_own_reader_keeps_voxels_and_shear(philips_written: tuple[Volume, Path, tuple[str, ...]]) -> None:
    volume, path, _ = philips_written
    again = read_one(path)
    assert again.voxels.dtype == np.int16
    assert np.array_equal(again.voxels, volume.voxels)
    assert np.allclose(again.geometry.origins_lps_mm, volume.geometry.origins_lps_mm, atol=1e-3)
    assert np.allclose(again.geometry.normal_lps, volume.geometry.normal_lps, atol=1e-5)
    assert again.geometry.tilt_deg == pytest.approx(16.5, abs=1e-3)


def test_an_untilted_volume_comes_back_the_same(tmp_path: Path) -> None:
    volume = acquire(axial(n_slices=20, size=64))
    write_volume_nifti(volume, tmp_path / "volume.nii")
    again = read_one(tmp_path / "volume.nii")
    assert np.array_equal(again.voxels, volume.voxels)
    assert np.allclose(again.geometry.origins_lps_mm, volume.geometry.origins_lps_mm, atol=1e-3)
    assert again.geometry.pixel_spacing_mm == pytest.approx(volume.geometry.pixel_spacing_mm)
    assert again.geometry.tilt_deg == pytest.approx(0, abs=1e-3)


def test_a_header_with_a_mean_is_viewed_but_not_analysed(ge_tilt: Path, tmp_path: Path) -> None:
    write_volume_nifti(read_ge(ge_tilt), tmp_path / "volume.nii")
    (series,) = scan([tmp_path / "volume.nii"]).series
    assert series.kind == "volume"
    assert [reason.code for reason in series.scope_reasons] == ["nifti.mean_spacing"]


def test_fractions_and_a_single_slice_are_written_as_they_are(tmp_path: Path) -> None:
    whole = acquire(axial(n_slices=1, size=32))
    volume = replace(whole, voxels=whole.voxels.astype(np.float32) + np.float32(0.25))
    path = tmp_path / "one.nii.gz"
    assert write_volume_nifti(volume, path) == ()
    written = nibabel.load(path)
    assert written.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(written.dataobj).T, volume.voxels)
    assert sidecar_of(path)["normal_spacing_mm"] == []


def test_the_tilted_scan_is_sheared_out_on_demand_and_says_so(ge_tilt: Path, tmp_path: Path) -> None:
    volume = read_ge(ge_tilt)
    path = tmp_path / "volume.nii.gz"
    (note,) = write_volume_nifti(volume, path, regular=True)
    assert "tilt of 18.5°" in note
    assert "28 acquired slices" in note
    assert "1.081 to 6.999" in note
    document = sidecar_of(path)
    assert document["resampled"]
    assert np.ptp(document["normal_spacing_mm"]) < 1e-6
    assert document["tilt_deg"] == pytest.approx(0, abs=1e-6)
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)
    assert len(voxels) == document["slices"] == 37
    assert voxels.min() >= AIR_HU
    assert np.allclose(nibabel.load(path).affine, nibabel.load(path).get_qform(), atol=1e-3)
    geometry = volume.geometry
    # On the plane of an acquired slice nothing is interpolated through the gap: the same tissue at the same place.
    for acquired in (0, 5):
        lps = geometry.kji_to_lps(np.array([acquired, 250.0, 256.0]))
        index = image.TransformPhysicalPointToContinuousIndex(lps.tolist())
        assert image.EvaluateAtContinuousIndex(index) == pytest.approx(
            float(volume.voxels[acquired, 249:252, 255:258].mean()), abs=25
        )


def test_only_what_was_done_is_said(tmp_path: Path) -> None:
    tilted = acquire(axial(3.0, 20, 1.5, 64, tilt_deg=15))
    (note,) = write_volume_nifti(tilted, tmp_path / "tilted.nii", regular=True)
    assert "tilt of 15.0°" in note
    assert "uneven" not in note
    straight = acquire(axial(3.0, 20, 1.5, 64))
    (note,) = write_volume_nifti(straight, tmp_path / "straight.nii", regular=True)
    assert "nothing was resampled" in note
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "straight.nii").dataobj).T, straight.voxels)


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


def test_another_programs_json_is_not_replaced(tmp_path: Path) -> None:
    theirs, path = tmp_path / "volume.json", tmp_path / "volume.nii"
    theirs.write_text('{"RepetitionTime": 2}')
    with pytest.raises(ExportError, match=r"volume\.json") as caught:
        write_volume_nifti(acquire(axial(n_slices=3, size=16)), path)
    assert caught.value.kind == "input"
    assert list(tmp_path.iterdir()) == [theirs]
    assert theirs.read_text() == '{"RepetitionTime": 2}'


def test_a_sidecar_never_describes_another_file(tmp_path: Path) -> None:
    path = tmp_path / "head.nii"
    tall, short = acquire(axial(n_slices=50, size=128)), acquire(axial(n_slices=12, size=64))
    write_volume_nifti(short, path)
    write_volume_nifti(tall, path)
    assert sidecar_of(path)["slices"] == 50
    write_prepared_nifti(prepare(tall, PreprocessSpec()), path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = acquire(axial(n_slices=3, size=16))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume_nifti(volume, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
