"""NIfTI opens through the same scan and read; its place in space agrees with SimpleITK's."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.geometry import Volume

SHAPE_KJI = (22, 14, 18)


def head_hu() -> np.ndarray:
    rng = np.random.default_rng(2)
    voxels = np.full(SHAPE_KJI, -1000, dtype=np.int16)
    voxels[2:-2, 3:-3, 3:-3] = rng.integers(0, 90, size=(18, 8, 12))
    return voxels


def rotation(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


DIRECTIONS = {
    "lps": np.eye(3),
    "ras": np.diag([-1.0, -1.0, 1.0]),
    "caudal": np.diag([1.0, 1.0, -1.0]),
    "oblique": rotation(17, 0) @ rotation(-8, 2),
    "sagittal": np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


def write(path: Path, direction: np.ndarray, voxels: np.ndarray | None = None) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(head_hu() if voxels is None else voxels)
    image.SetSpacing((0.6, 0.8, 5.0))
    image.SetOrigin((-61.5, 12.25, 400.0))
    image.SetDirection(direction.ravel().tolist())
    SimpleITK.WriteImage(image, str(path))
    return image


def read_one(path: Path) -> Volume:
    (series,) = scan([path]).series
    return read_series(series)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", sorted(DIRECTIONS))
def test_every_voxel_lies_where_simpleitk_says(tmp_path: Path, name: str, suffix: str) -> None:
    image = write(tmp_path / f"a{suffix}", DIRECTIONS[name])
    volume = read_one(tmp_path / f"a{suffix}")
    assert volume.units == "HU"
    geometry = volume.require_geometry()
    expected = SimpleITK.GetArrayViewFromImage(image)
    for k, j, i in ((0, 0, 0), (21, 0, 0), (5, 6, 7), (20, 13, 17), (11, 3, 9)):
        place = np.array(image.TransformIndexToPhysicalPoint((i, j, k)))
        kji = geometry.lps_to_kji(place)
        np.testing.assert_allclose(kji, np.rint(kji), atol=2e-3)
        assert volume.voxels[tuple(np.rint(kji).astype(int))] == expected[k, j, i]


@pytest.mark.parametrize("name", sorted(DIRECTIONS))
def test_axes_come_in_the_order_of_an_axial_ct(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.nii", DIRECTIONS[name])
    geometry = read_one(tmp_path / "a.nii").require_geometry()
    assert geometry.row_cosine_lps[0] > 0.9
    assert geometry.column_cosine_lps[1] > 0.9
    assert geometry.normal_lps[2] > 0.9


def test_scaling_of_the_file_is_applied(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.eye(3), (head_hu() + 1024) * 2)
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2f", data, 112, 0.5, -1024.0)
    (tmp_path / "a.nii").write_bytes(data)
    volume = read_one(tmp_path / "a.nii")
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, head_hu())


def test_float_values_stay_float(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.eye(3), head_hu().astype(np.float32) + 0.25)
    volume = read_one(tmp_path / "a.nii")
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, head_hu() + 0.25)


def test_series_is_analysable_with_a_warning_and_stable_uids(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", np.eye(3))
    (first,), (second,) = scan([tmp_path / "a.nii.gz"]).series, scan([tmp_path]).series
    assert first.analysable
    assert [reason.code for reason in first.warnings] == ["nifti.no_context"]
    assert first.instance_uid == second.instance_uid
    assert first.instance_uid.startswith("2.25.")
    uids = {instance.sop_instance_uid for instance in first.instances}
    assert len(uids) == SHAPE_KJI[0]


def test_values_that_are_not_hu_are_refused_for_analysis(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.eye(3), head_hu() + 1000)
    (series,) = scan([tmp_path]).series
    assert series.kind == "volume"
    assert [reason.code for reason in series.scope_reasons] == ["scope.not_hu"]
    assert read_series(series).units == "unknown"


def test_nifti_inside_a_zip(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.eye(3))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.write(tmp_path / "a.nii", "deep/a.nii")
    np.testing.assert_array_equal(read_one(tmp_path / "b.zip").voxels, head_hu())


@pytest.mark.parametrize(
    ("place", "form", "value", "code"),
    [
        (40, "<8h", (4, 18, 14, 22, 3, 1, 1, 1), "nifti.dimensions"),
        (40, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1), "nifti.too_large"),
        (40, "<8h", (3, 18, 14, 900, 1, 1, 1, 1), "nifti.truncated"),
        (40, "<8h", (3, 18, -14, 22, 1, 1, 1, 1), "nifti.dimensions"),
        (40, "<8h", (3, -1, 1, 1, 1, 1, 1, 1), "nifti.dimensions"),
        (40, "<8h", (99, 18, 14, 22, 5, 5, 5, 5), "nifti.dimensions"),
        (70, "<h", (128,), "nifti.datatype"),
        (70, "<h", (32,), "nifti.datatype"),
        (70, "<h", (9999,), "nifti.datatype"),
        (112, "<2f", (1.0, float("inf")), "nifti.scaling"),
        (344, "4s", (b"ni1\0",), "nifti.not_nifti"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_odd_and_hostile_headers_are_refused_by_name(
    tmp_path: Path, place: int, form: str, value: tuple[object, ...], code: str, packed: bool
) -> None:
    write(tmp_path / "a.nii", np.eye(3))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into(form, data, place, *value)
    path = tmp_path / ("b.nii.gz" if packed else "b.nii")
    path.write_bytes(gzip.compress(bytes(data)) if packed else data)
    report = scan([path])
    assert not report.series
    assert [skipped.code for skipped in report.skipped] == [code]


def write_nibabel(path: Path, kind: type[nibabel.Nifti1Image], dtype: str) -> None:
    affine = np.diag([-0.6, -0.8, 5.0, 1.0])
    affine[:3, 3] = 61.5, -12.25, 400.0
    header = kind.header_class(endianness=">" if dtype.startswith(">") else "<")
    kind(head_hu().T.astype(dtype), affine, header, dtype=np.dtype(dtype)).to_filename(path)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i8", ">f8"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_both_versions_byte_orders_and_wide_types_are_read_alike(
    tmp_path: Path, kind: type[nibabel.Nifti1Image], dtype: str
) -> None:
    write_nibabel(tmp_path / "a.nii", kind, dtype)
    volume = read_one(tmp_path / "a.nii")
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, head_hu())
    geometry = volume.require_geometry()
    np.testing.assert_allclose(geometry.origins_lps_mm[[0, -1]], [[-61.5, 12.25, 400.0], [-61.5, 12.25, 505.0]])
    assert geometry.pixel_spacing_mm == pytest.approx((0.8, 0.6))


def test_unusable_qform_is_no_place_and_an_odd_sign_is_the_standards_one(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.eye(3))
    original = (tmp_path / "a.nii").read_bytes()
    for name, place, form, value, kind in (
        ("sizes", 76, "<4f", (1.0, 0.0, 0.8, 5.0), "stack"),
        ("quaternion", 256, "<3f", (3.0, 3.0, 3.0), "stack"),
        ("sign", 76, "<f", (0.0,), "volume"),
    ):
        data = bytearray(original)
        struct.pack_into("<2h", data, 252, 1, 0)  # the qform alone counts
        struct.pack_into(form, data, place, *value)
        (tmp_path / f"{name}.nii").write_bytes(data)
        (series,) = scan([tmp_path / f"{name}.nii"]).series
        assert (name, series.kind) == (name, kind)
        if kind == "volume":
            expected = read_one(tmp_path / "a.nii").require_geometry()
            assert series.geometry is not None
            np.testing.assert_allclose(series.geometry.origins_lps_mm, expected.origins_lps_mm, atol=1e-3)


def test_absurd_numbers_are_no_place_or_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.eye(3))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", data, 280 + 11 * 4, 1e30)  # an origin where 5 mm more is the same number
    (tmp_path / "b.nii").write_bytes(data)
    (series,) = scan([tmp_path / "b.nii"]).series
    assert (series.kind, series.reasons[0].code) == ("stack", "nifti.no_place")
    struct.pack_into("<2f", data, 112, 3e38, 0.0)
    (tmp_path / "b.nii").write_bytes(data)
    assert [skipped.code for skipped in scan([tmp_path / "b.nii"]).skipped] == ["nifti.not_finite"]


def test_random_damage_to_the_header_never_crashes_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(7)
    write(tmp_path / "a.nii", np.eye(3))
    original = (tmp_path / "a.nii").read_bytes()
    outcomes = set()
    for _ in range(300):
        data = bytearray(original)
        for place in rng.integers(0, 352, size=rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        (tmp_path / "b.nii").write_bytes(data)
        report = scan([tmp_path / "b.nii"])
        assert len(report.series) + len(report.skipped) == 1
        outcomes.update(series.kind for series in report.series)
        outcomes.update(skipped.code for skipped in report.skipped)
    assert {"volume", "nifti.dimensions", "nifti.datatype", "nifti.not_nifti"} <= outcomes
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_damaged_gzip_and_missing_affine(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", np.eye(3))
    data = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(data[: len(data) // 2])
    assert [skipped.code for skipped in scan([tmp_path]).skipped] == ["nifti.damaged"]
    write(tmp_path / "b.nii", np.eye(3))
    raw = bytearray((tmp_path / "b.nii").read_bytes())
    struct.pack_into("<2h", raw, 252, 0, 0)
    (tmp_path / "b.nii").write_bytes(raw)
    (series,) = scan([tmp_path / "b.nii"]).series
    assert (series.kind, series.reasons[0].code) == ("stack", "nifti.no_place")
    assert read_series(series).voxels.shape == SHAPE_KJI
