"""The phantom on disk: valid CT images that come back voxel for voxel, and a cohort with its truth."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.dicom.writer import write_ct_series
from engine.errors import ConfigError, DicomError, GeometryError
from engine.geometry import Volume
from engine.phantom.cohort import header, study_seed, write_cohort, write_dicom, write_masks
from engine.phantom.demo import DEMO_FINDINGS, demo_study
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PAINTED_KEYS, PhantomStudy, generate
from engine.progress import Cancelled, CancelToken

SPEC = PhantomSpec(matrix=80, pixel_spacing_mm=2.7, n_slices=12, slice_spacing_mm=13.0)


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return generate(21, SPEC, {"epidural_hematoma", "craniectomy"})


@pytest.fixture(scope="module")
def written(study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_dicom(study, tmp_path_factory.mktemp("phantom"))


def test_pydicom_reads_the_same_hounsfield_units_at_the_same_place(
    study: PhantomStudy, written: tuple[Path, ...]
) -> None:
    geometry = study.volume.require_geometry()
    assert [path.name for path in written] == [f"{index:04d}.dcm" for index in range(1, 13)]
    for index, path in enumerate(written):
        dataset = pydicom.dcmread(path)
        hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(hu, study.volume.voxels[index])
        np.testing.assert_allclose(dataset.ImagePositionPatient, geometry.origins_lps_mm[index], atol=1e-9)
        assert [float(value) for value in dataset.PixelSpacing] == [2.7, 2.7]
        assert [float(value) for value in dataset.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]


def test_our_own_reader_gives_back_the_volume(study: PhantomStudy, written: tuple[Path, ...]) -> None:
    report = scan([written[0].parent])
    assert len(report.series) == 1
    series = report.series[0]
    assert series.analysable
    volume = read_series(series)
    np.testing.assert_array_equal(volume.voxels, study.volume.voxels)
    np.testing.assert_allclose(
        volume.require_geometry().origins_lps_mm, study.volume.require_geometry().origins_lps_mm, atol=1e-9
    )
    assert volume.sop_instance_uids == study.volume.sop_instance_uids


def test_the_slice_thickness_is_read_where_it_is_a_length(written: tuple[Path, ...], tmp_path: Path) -> None:
    thickness = {float(pydicom.dcmread(path, stop_before_pixels=True).SliceThickness) for path in written}
    (series,) = scan([written[0].parent]).series
    assert {item.slice_thickness_mm for item in series.instances} == thickness
    for number, path in enumerate(written):
        dataset = pydicom.dcmread(path)
        dataset.SliceThickness = "2.5" if number else "0"
        dataset.save_as(tmp_path / path.name)
    (series,) = scan([tmp_path]).series
    assert {item.slice_thickness_mm for item in series.instances} == {2.5, None}


def test_a_tilted_series_keeps_its_tilt(tmp_path: Path) -> None:
    tilted = generate(21, SPEC.model_copy(update={"tilt_deg": -12.0}), ())
    write_dicom(tilted, tmp_path)
    volume = read_series(scan([tmp_path]).series[0])
    assert volume.require_geometry().tilt_deg == pytest.approx(12.0, abs=1e-6)
    np.testing.assert_array_equal(volume.voxels, tilted.volume.voxels)


def test_the_files_are_ct_image_storage_and_say_that_they_are_synthetic(written: tuple[Path, ...]) -> None:
    datasets = [pydicom.dcmread(path) for path in written]
    first = datasets[0]
    assert first.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert first.SOPClassUID == CTImageStorage == first.file_meta.MediaStorageSOPClassUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert list(first.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert first.PatientName == "PHANTOM^SYNTHETIC"
    assert first.PatientID == "PHANTOM-21"
    assert first.SeriesDescription == "SYNTHETIC PHANTOM"
    assert "ynthetic" in first.Manufacturer
    assert first.PatientPosition == "HFS"
    assert (first.BitsAllocated, first.BitsStored, first.HighBit, first.PixelRepresentation) == (16, 16, 15, 1)
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == len(datasets)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({dataset[keyword].value for dataset in datasets}) == 1
    assert all(dataset.SOPInstanceUID.startswith("2.25.") and dataset.SOPInstanceUID.is_valid for dataset in datasets)


def test_writing_twice_gives_the_same_bytes(study: PhantomStudy, written: tuple[Path, ...], tmp_path: Path) -> None:
    for first, second in zip(written, write_dicom(study, tmp_path), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_masks_lie_where_the_volume_lies(study: PhantomStudy, tmp_path: Path) -> None:
    paths = write_masks(study, tmp_path)
    assert {path.name.removesuffix(".nii.gz") for path in paths} == set(study.masks)
    image = sitk.ReadImage(str(tmp_path / "epidural_hematoma.nii.gz"))
    mask = study.masks["epidural_hematoma"]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).astype(bool), mask)
    k, j, i = (int(value) for value in np.argwhere(mask)[0])
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((i, j, k)),
        study.volume.require_geometry().kji_to_lps(np.array([k, j, i], dtype=float)),
        atol=1e-3,
    )


def test_a_cohort_holds_its_studies_masks_and_labels(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 3, 7, SPEC)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == ["study_00001", "study_00002", "study_00003"]
    assert len({row["patient"] for row in rows}) == 3
    for index, row in enumerate(rows):
        assert int(row["seed"]) == study_seed(7, index)
        assert len(list((tmp_path / row["path"]).glob("*.dcm"))) == SPEC.n_slices
        assert pydicom.dcmread(tmp_path / row["path"] / "0001.dcm").PatientID == row["patient"]
        masks = {path.name.removesuffix(".nii.gz") for path in (tmp_path / f"{row['path']}_masks").glob("*.nii.gz")}
        assert masks == {key for key in PAINTED_KEYS if row[key] == "1"}
    again = generate(study_seed(7, 1), SPEC)
    assert {key: int(rows[1][key]) for key in PAINTED_KEYS} == again.labels


@pytest.mark.parametrize(("n", "seed", "tilt"), [(0, 1, 0.0), (1, -1, 0.0), (1, 1, 10.0)])
def test_an_impossible_cohort_is_refused_before_anything_is_written(
    tmp_path: Path, n: int, seed: int, tilt: float
) -> None:
    with pytest.raises(ConfigError):
        write_cohort(tmp_path, n, seed, SPEC.model_copy(update={"tilt_deg": tilt}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", ["study_00007", "study_00001_masks", "labels.csv"])
def test_a_folder_with_a_cohort_in_it_is_refused_and_left_as_it_was(tmp_path: Path, left: str) -> None:
    if left.endswith(".csv"):
        (tmp_path / left).write_text("path,patient\n")
    else:
        (tmp_path / left).mkdir()
    with pytest.raises(ConfigError) as caught:
        write_cohort(tmp_path, 1, 7, SPEC)
    assert (caught.value.code, caught.value.kind) == ("phantom.occupied", "input")
    assert left in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == [left]


def test_a_cancelled_cohort_has_no_table(tmp_path: Path) -> None:
    class StopAtFiles(CancelToken):
        def progress(self, done: int, total: int, text: str) -> None:
            if text == "DICOM files":
                self.cancel()

    with pytest.raises(Cancelled):
        write_cohort(tmp_path, 2, 1, SPEC, StopAtFiles())
    assert not (tmp_path / "labels.csv").exists()


def test_a_place_that_cannot_be_written_is_named(study: PhantomStudy, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DicomError) as caught:
        write_dicom(study, blocked)
    assert caught.value.kind == "environment"
    assert "file" in caught.value.message
    with pytest.raises(ConfigError) as refused:
        write_cohort(blocked, 1, 1, SPEC)
    assert refused.value.kind == "environment"


@pytest.mark.parametrize("voxels", [np.zeros((1, 4, 4), np.float32), np.full((1, 4, 4), 32000, np.int16)])
def test_only_hounsfield_units_that_fit_are_written(study: PhantomStudy, tmp_path: Path, voxels: np.ndarray) -> None:
    small = PhantomSpec(matrix=32, n_slices=1).geometry()
    volume = Volume(np.resize(voxels, small.shape).astype(voxels.dtype), small, "HU", None, ("2.25.1",))
    with pytest.raises(DicomError):
        write_ct_series(tmp_path, volume, header(study))
    with pytest.raises(GeometryError):
        write_ct_series(tmp_path, Volume(volume.voxels, None, "HU", None, ("2.25.1",)), header(study))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def demo(resources: Path) -> tuple[Path, PhantomStudy]:
    return resources / "demo" / "phantom", demo_study()


def test_the_demo_study_is_what_the_code_makes(demo: tuple[Path, PhantomStudy]) -> None:
    folder, made = demo
    volume = read_series(scan([folder]).series[0])
    different = volume.voxels != made.volume.voxels
    assert different.mean() < 1e-4, "another processor may round a few voxels the other way, no more"
    assert volume.sop_instance_uids == made.volume.sop_instance_uids
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000


def test_the_demo_truth_names_what_is_painted(demo: tuple[Path, PhantomStudy]) -> None:
    folder, made = demo
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert set(truth["findings"]) == set(made.masks)
    assert set(DEMO_FINDINGS) < set(made.masks), "what is painted, and what follows from it"
    with np.load(folder / "masks.npz") as masks:
        for key, entry in truth["findings"].items():
            assert np.flatnonzero(masks[key].any(axis=(1, 2))).tolist() == entry["slices"]
            assert entry["largest_slice"] in entry["slices"]
            assert (masks[key] ^ made.masks[key]).sum() <= 0.001 * made.masks[key].sum()


def test_the_demo_files_are_not_the_same_picture(demo: tuple[Path, PhantomStudy]) -> None:
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in demo[0].glob("*.dcm")}
    assert len(digests) == 32
