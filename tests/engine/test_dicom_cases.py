"""Cases that a reader must survive: each one a small series with one thing changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid

from engine.dicom import header
from engine.dicom.read import read_series
from engine.dicom.scan import ScanReport, scan
from engine.dicom.scope import find_gaps
from engine.dicom.series import Reason, Series, require_analysable
from engine.errors import DicomError
from engine.progress import Cancelled, CancelToken
from tests.support.dicom import (
    N_SLICES,
    SERIES_UID,
    SPACING_MM,
    ct_slice,
    enhanced_ct,
    head_pixels,
    save,
    write_series,
)


def only(folder: Path) -> Series:
    report = scan([folder])
    assert len(report.series) == 1, [series.reasons for series in report.series]
    return report.series[0]


def codes(reasons: tuple[Reason, ...]) -> set[str]:
    return {reason.code for reason in reasons}


def message(reasons: tuple[Reason, ...], code: str) -> str:
    return next(reason.message for reason in reasons if reason.code == code)


def test_plain_series_is_an_analysable_volume(tmp_path: Path) -> None:
    write_series(tmp_path)
    series = only(tmp_path)
    assert series.analysable
    assert (series.warnings, series.reasons) == ((), ())
    require_analysable(series)
    volume = read_series(series)
    for k in range(N_SLICES):
        np.testing.assert_array_equal(volume.voxels[k], head_pixels(k) - 1024)


def test_slices_are_sorted_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(N_SLICES)
    for name, index in enumerate(order):
        dataset = ct_slice(int(index), InstanceNumber=str(99 - name))
        save(dataset, tmp_path / f"{name}.dcm")
    volume = read_series(only(tmp_path))
    np.testing.assert_array_equal(volume.voxels[:, 0, 0], np.arange(N_SLICES) + 100 - 1024)
    np.testing.assert_allclose(volume.require_geometry().origins_lps_mm[:, 2], np.arange(N_SLICES) * SPACING_MM)


def test_pixel_spacing_is_row_then_column(tmp_path: Path) -> None:
    write_series(tmp_path, PixelSpacing=[0.9, 0.3])
    geometry = only(tmp_path).geometry
    assert geometry is not None
    assert geometry.pixel_spacing_mm == (0.9, 0.3)
    down, right = geometry.kji_to_lps(np.array([[0.0, 1, 0], [0.0, 0, 1]])) - geometry.origins_lps_mm[0]
    np.testing.assert_allclose(down, [0, 0.9, 0], atol=1e-12)
    np.testing.assert_allclose(right, [0.3, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("orientation", "direction"), [((-1, 0, 0, 0, -1, 0), 1), ((-1, 0, 0, 0, 1, 0), -1), ((1, 0, 0, 0, -1, 0), -1)]
)
def test_prone_and_feet_first_come_out_of_the_orientation(
    tmp_path: Path, orientation: tuple[int, ...], direction: int
) -> None:
    write_series(tmp_path, ImageOrientationPatient=list(orientation))
    series = only(tmp_path)
    assert series.analysable
    assert series.geometry is not None
    np.testing.assert_allclose(series.geometry.normal_lps, [0, 0, direction])
    assert np.all(np.diff(series.geometry.positions_mm) > 0)
    expected = np.arange(N_SLICES)[::direction] + 100 - 1024
    np.testing.assert_array_equal(read_series(series).voxels[:, 0, 0], expected)


def test_cosines_rounded_to_three_decimals_still_make_a_volume(tmp_path: Path) -> None:
    write_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 0, 0.948, -0.317])
    geometry = only(tmp_path).geometry
    assert geometry is not None
    assert np.linalg.norm(geometry.column_cosine_lps) == pytest.approx(1, abs=1e-12)


# --- gaps -----------------------------------------------------------------------------------------------------------


def test_missing_slice_is_a_gap_named_with_place_and_numbers(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "013.dcm").unlink()
    series = only(tmp_path)
    assert series.kind == "volume"
    assert codes(series.scope_reasons) == {"scope.gap"}
    text = message(series.scope_reasons, "scope.gap")
    assert "5.000 mm was expected, 10.000 mm found between slices 12 and 13" in text


@pytest.mark.parametrize(
    ("spacing", "gaps"),
    [
        ([4.0] * 13 + [1.081] + [7.0] * 13, []),  # two zones, overlap at the border: the real GE series
        ([2.5] * 10 + [5.0] * 10, []),
        ([5.0] * 10 + [2.5] * 3, []),
        ([5.0, 5.1, 4.9, 5.0, 5.05], []),
        ([0.6, 0.7, 0.6, 0.7, 0.6], []),
        ([5.0, 5, 10, 5, 5], [(2, 5.0, 10.0)]),
        ([5.0, 5, 10, 10, 5, 5], [(2, 5.0, 10.0), (3, 5.0, 10.0)]),
        ([5.0, 5, 5, 15], [(3, 5.0, 15.0)]),
        ([2.5, 2.5, 7.5, 5, 5, 5], [(2, 5.0, 7.5)]),
        ([5.0], []),
        ([], []),
    ],
)
def test_gaps_are_told_from_zones(spacing: list[float], gaps: list[tuple[int, float, float]]) -> None:
    assert find_gaps(np.array(spacing)) == gaps


# --- scope ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Modality": "MR", "RescaleIntercept": None, "RescaleSlope": None}, "scope.modality"),
        ({"PatientAge": "017Y"}, "scope.age"),
        ({"PatientAge": "008M"}, "scope.age"),
        ({"PatientAge": None, "PatientBirthDate": "20100615"}, "scope.age"),
        ({"BodyPartExamined": "CHEST"}, "scope.body_part"),
        ({"ContrastBolusAgent": "OMNIPAQUE"}, "scope.contrast"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, ""),
        ({"ImageType": ["DERIVED", "PRIMARY", "MIP"]}, "scope.projection"),
        ({"RescaleIntercept": None, "RescaleSlope": None}, "scope.no_rescale"),
        ({"RescaleIntercept": "0"}, "scope.not_hu"),
        ({"RescaleType": "US"}, None),
        ({"PatientAge": "018Y"}, None),
        ({"PatientAge": None, "PatientBirthDate": "19600615"}, None),
        ({"ContrastBolusAgent": "NONE"}, None),
        ({"BodyPartExamined": "BRAIN"}, None),
        ({"BodyPartExamined": ""}, None),
    ],
)
def test_scope_reason_is_given_by_name(tmp_path: Path, changes: dict[str, object], code: str | None) -> None:
    if code == "":
        return _coronal_is_out_of_scope(tmp_path)
    write_series(tmp_path, **changes)
    series = only(tmp_path)
    assert series.kind == "volume"
    assert codes(series.scope_reasons) == (set() if code is None else {code})
    assert series.analysable == (code is None)
    if code is not None:
        with pytest.raises(DicomError) as caught:
            require_analysable(series)
        assert (caught.value.kind, caught.value.code) == ("scope", code)
        assert series.scope_reasons[0].message in caught.value.message
    read_series(series)
    return None


def _coronal_is_out_of_scope(folder: Path) -> None:
    def stand_up(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [-120.0, index * SPACING_MM, 100.0]

    write_series(folder, change=stand_up, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    series = only(folder)
    assert codes(series.scope_reasons) == {"scope.orientation"}
    assert "coronal" in series.scope_reasons[0].message


@pytest.mark.parametrize(
    ("part", "quoted"),
    [("CHEST", True), ("C SPINE_2", True), ("Doe^Jane", False), ("Doe Jane", False), ("ABDOMEN OF PATIENT 7", False)],
)
@pytest.mark.filterwarnings("ignore:(Invalid value|The value length):UserWarning")
def test_a_body_part_is_repeated_only_if_it_is_a_code(tmp_path: Path, part: str, quoted: bool) -> None:
    write_series(tmp_path, n_slices=1, BodyPartExamined=part)
    said = message(only(tmp_path).scope_reasons, "scope.body_part")
    assert (part in said) is quoted
    assert not any(word in said for word in ("Doe", "Jane", "DOE", "JANE", "PATIENT"))
    assert "head only" in said


def test_values_that_are_not_hounsfield_units_are_told_with_how_much_was_looked_at(tmp_path: Path) -> None:
    def brighter_at_the_ends(dataset: Dataset, index: int) -> None:
        dataset.PixelData = (head_pixels(index) + 1000 + (9000 if index in (0, 24) else 0)).astype("<i2").tobytes()

    write_series(tmp_path, n_slices=25, change=brighter_at_the_ends, RescaleIntercept="0")
    said = message(only(tmp_path).scope_reasons, "scope.not_hu")
    assert said.startswith("In the 3 slices that were looked at (of 25) the values run from")


@pytest.mark.parametrize("changes", [{"RescaleSlope": "0"}, {"RescaleSlope": None}, {"RescaleIntercept": None}])
def test_a_rescale_that_cannot_be_used_is_named_as_it_is(tmp_path: Path, changes: dict[str, object]) -> None:
    write_series(tmp_path, **changes)
    said = message(only(tmp_path).scope_reasons, "scope.no_rescale")
    assert "RescaleSlope is missing or 0, or RescaleIntercept is missing" in said


def test_the_json_of_a_series_names_no_patient_but_keeps_what_the_scanner_wrote(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        PatientName="Doe^Jane",
        PatientID="ID-4711",
        PatientBirthDate="19600615",
        SeriesDescription="5 mm soft",
    )
    document = json.dumps(only(tmp_path).to_json())
    assert not any(secret in document for secret in ("Doe", "Jane", "4711", "19600615"))
    assert "5 mm soft" in document


def test_too_few_slices_and_too_little_coverage_are_named(tmp_path: Path) -> None:
    write_series(tmp_path, n_slices=6)
    series = only(tmp_path)
    assert codes(series.scope_reasons) == {"scope.few_slices", "scope.coverage"}
    assert "cover 25 mm" in message(series.scope_reasons, "scope.coverage")


@pytest.mark.parametrize("kernel", ["BONEPLUS", "H70h", "FC30", "Hr64"])
def test_bone_kernel_is_only_a_warning(tmp_path: Path, kernel: str) -> None:
    write_series(tmp_path, ConvolutionKernel=kernel)
    series = only(tmp_path)
    assert series.analysable
    assert codes(series.warnings) == {"scope.kernel"}


@pytest.mark.parametrize("kernel", ["STANDARD", "H30s", "UB", "FC26", "Hr40", "STD+"])
def test_soft_kernel_gives_no_warning(tmp_path: Path, kernel: str) -> None:
    write_series(tmp_path, ConvolutionKernel=kernel)
    assert only(tmp_path).warnings == ()


def test_reasons_never_hold_patient_data(tmp_path: Path) -> None:
    write_series(tmp_path, n_slices=3, PatientAge="009Y", ContrastBolusAgent="Doe^Jane 370", StudyDescription="P-1")
    series = only(tmp_path)
    texts = " ".join(reason.message for reason in (*series.reasons, *series.scope_reasons, *series.warnings))
    for secret in ("Doe", "P-1", "009", "20240301"):
        assert secret not in texts


# --- splitting and duplicates ---------------------------------------------------------------------------------------


def test_localizer_inside_a_series_is_set_aside_and_the_volume_remains(tmp_path: Path) -> None:
    write_series(tmp_path)
    localizer = ct_slice(
        50, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]
    )
    save(localizer, tmp_path / "scout.dcm")
    volume, aside = scan([tmp_path]).series
    assert (volume.kind, len(volume.instances), volume.instance_uid) == ("volume", N_SLICES, SERIES_UID)
    assert (aside.kind, aside.reasons[0].code) == ("refused", "dicom.localizer")
    assert (aside.instance_uid, aside.dicom_series_uid) == (f"{SERIES_UID}#2", SERIES_UID)
    assert codes(volume.warnings) == {"dicom.split"}
    assert volume.analysable


@pytest.mark.parametrize(
    "changes",
    [
        {"PixelSpacing": [0.7, 0.7]},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.9659258, 0.2588190]},
        {"pixels": head_pixels(0, rows=20)},
        {"RescaleSlope": None},
        {"ImagePositionPatient": None},
    ],
)
def test_what_cannot_be_one_volume_is_split(tmp_path: Path, changes: dict[str, object]) -> None:
    write_series(tmp_path)
    for index in range(3):
        other = ct_slice(30 + index, **changes)  # type: ignore[arg-type]
        save(other, tmp_path / f"other{index}.dcm")
    parts = scan([tmp_path]).series
    assert [len(part.instances) for part in parts] == [N_SLICES, 3]
    assert parts[0].analysable
    assert {len(read_series(part).voxels) for part in parts} == {N_SLICES, 3}


def test_exact_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", n_slices=7)
    series = only(tmp_path)
    assert (series.kind, len(series.instances)) == ("volume", N_SLICES)
    assert "7 exact duplicate" in message(series.warnings, "dicom.duplicates.dropped")


def test_same_uid_with_other_pixels_is_no_duplicate(tmp_path: Path) -> None:
    write_series(tmp_path)
    save(ct_slice(4, pixels=head_pixels(9)), tmp_path / "other.dcm")
    series = only(tmp_path)
    assert (series.kind, len(series.instances)) == ("stack", N_SLICES + 1)
    assert codes(series.reasons) == {"dicom.repeated_positions"}


@pytest.mark.parametrize(
    ("name", "values"), [("AcquisitionNumber", ("1", "2")), ("ConvolutionKernel", ("STANDARD", "BONE"))]
)
def test_passes_over_the_same_positions_are_split(tmp_path: Path, name: str, values: tuple[str, str]) -> None:
    for number, value in enumerate(values):
        for index in range(N_SLICES):
            dataset = ct_slice(index, SOPInstanceUID=generate_uid(), **{name: value})
            save(dataset, tmp_path / f"{number}_{index}.dcm")
    parts = scan([tmp_path]).series
    assert [(part.kind, len(part.instances)) for part in parts] == [("volume", N_SLICES)] * 2
    assert len({part.instance_uid for part in parts}) == 2
    assert all("dicom.split.repeats" in codes(part.warnings) for part in parts)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImagePositionPatient": [0.0, 0.0, 0.0]}, "dicom.one_position"),
        ({"ImagePositionPatient": None}, "dicom.no_place"),
        ({"ImageOrientationPatient": None}, "dicom.no_place"),
        ({"PixelSpacing": None}, "dicom.no_place"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "dicom.orientation.invalid"),
    ],
)
def test_no_place_in_space_makes_a_stack(tmp_path: Path, changes: dict[str, object], code: str) -> None:
    write_series(tmp_path, **changes)
    series = only(tmp_path)
    assert (series.kind, codes(series.reasons), series.geometry) == ("stack", {code}, None)
    assert not series.analysable
    volume = read_series(series)
    assert volume.geometry is None
    np.testing.assert_array_equal(volume.voxels[:, 0, 0], np.arange(N_SLICES) + 100 - 1024)
    with pytest.raises(DicomError) as caught:
        require_analysable(series)
    assert caught.value.kind == "scope"


def test_empty_uids_group_by_folder_and_say_so(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_series(tmp_path / folder, SeriesInstanceUID="", StudyInstanceUID="")
    parts = scan([tmp_path]).series
    assert [len(part.instances) for part in parts] == [N_SLICES, N_SLICES]
    assert len({part.instance_uid for part in parts}) == 2
    assert all(part.instance_uid.startswith("2.25.") and part.study.instance_uid for part in parts)
    assert all("dicom.uid.missing" in codes(part.warnings) for part in parts)
    assert [part.instance_uid for part in scan([tmp_path]).series] == [part.instance_uid for part in parts]


def test_tilt_that_changes_within_a_series_is_told_and_kept(tmp_path: Path) -> None:
    def bend(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [-120.0, -110.0 - max(0, index - 10) * 2.0, index * SPACING_MM]

    write_series(tmp_path, change=bend)
    series = only(tmp_path)
    assert codes(series.warnings) == {"dicom.tilt.varies"}
    assert series.geometry is not None
    assert series.geometry.origins_lps_mm[-1, 1] == -128.0


# --- pixels ---------------------------------------------------------------------------------------------------------


def stored_bits(values: list[int], bits: int, high: int, signed: bool, **changes: object) -> Dataset:
    pixels = np.zeros((4, 4), dtype=np.uint16)
    pixels.ravel()[: len(values)] = values
    return ct_slice(
        0,
        pixels=pixels,
        BitsStored=bits,
        HighBit=high,
        PixelRepresentation=int(signed),
        RescaleIntercept="0",
        **changes,
    )


@pytest.mark.parametrize(
    ("stored", "bits", "high", "signed", "expected"),
    [
        ([0x0FFF, 0x0800, 0x0001], 12, 11, True, [-1, -2048, 1]),
        ([0xFFFF, 0xF800, 0xA001], 12, 11, True, [-1, -2048, 1]),  # dirty high bits
        ([0xF123, 0x0FFF], 12, 11, False, [0x123, 0xFFF]),
        ([0x1230, 0xFFF5], 12, 15, False, [0x123, 0xFFF]),  # values in the high bits
        ([0x8000, 0x7FF0], 12, 15, True, [-2048, 2047]),
        ([0xFFFF, 0x8000], 16, 15, True, [-1, -32768]),
        ([0xFFFF, 0x8000], 16, 15, False, [65535, 32768]),
    ],
)
def test_unused_bits_are_masked_and_the_sign_extended(
    tmp_path: Path, stored: list[int], bits: int, high: int, signed: bool, expected: list[int]
) -> None:
    save(stored_bits(stored, bits, high, signed), tmp_path / "a.dcm")
    voxels = read_series(only(tmp_path)).voxels
    np.testing.assert_array_equal(voxels.ravel()[: len(expected)], expected)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [("1", "-1024", np.int16), ("2", "-1000", np.int16), ("0.5", "-10.25", np.float32), ("1", "-40000", np.float32)],
)
def test_rescale_is_exact_and_per_slice(tmp_path: Path, slope: str, intercept: str, dtype: type) -> None:
    def first_differs(dataset: Dataset, index: int) -> None:
        if index == 0:
            dataset.RescaleSlope, dataset.RescaleIntercept = "3", "-1024"

    write_series(tmp_path, change=first_differs, RescaleSlope=slope, RescaleIntercept=intercept)
    voxels = read_series(only(tmp_path)).voxels
    assert voxels.dtype == dtype
    np.testing.assert_array_equal(voxels[0], head_pixels(0) * 3.0 - 1024)
    np.testing.assert_array_equal(voxels[5], head_pixels(5) * float(slope) + float(intercept))


def test_unsigned_values_beyond_int16_come_back_right_after_the_intercept(tmp_path: Path) -> None:
    pixels = np.full((4, 4), 33000, dtype=np.uint16)
    save(ct_slice(0, pixels=pixels), tmp_path / "a.dcm")
    voxels = read_series(only(tmp_path)).voxels
    assert voxels.dtype == np.int16
    assert np.all(voxels == 33000 - 1024)


def test_padding_is_kept_named_and_left_out_of_the_search_for_air(tmp_path: Path) -> None:
    def pad(dataset: Dataset, index: int) -> None:
        pixels = np.full((12, 16), 40, dtype=np.int16)
        pixels[:2] = -1000
        dataset.PixelData = pixels.tobytes()
        dataset.PixelPaddingValue = -1000

    write_series(tmp_path, change=pad, RescaleIntercept="0")
    series = only(tmp_path)
    assert codes(series.scope_reasons) == {"scope.not_hu"}
    volume = read_series(series)
    assert volume.padding_value == -1000
    assert np.all(volume.voxels[:, :2] == -1000)


def test_8_bit_and_big_endian_and_implicit_are_read_alike(tmp_path: Path) -> None:
    write_series(tmp_path / "byte", n_slices=1, pixels=head_pixels(0).clip(0, 255).astype(np.uint8), **_bits(8))
    np.testing.assert_array_equal(read_series(only(tmp_path / "byte")).voxels[0], head_pixels(0).clip(0, 255) - 1024)
    for name, syntax in (("big", ExplicitVRBigEndian), ("implicit", ImplicitVRLittleEndian)):
        for index in range(N_SLICES):
            dataset = ct_slice(index)
            dataset.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                dataset.PixelData = head_pixels(index).astype(">i2").tobytes()
                dataset["PixelData"].VR = "OW"
            (tmp_path / name).mkdir(exist_ok=True)
            dataset.save_as(tmp_path / name / f"{index}.dcm", enforce_file_format=True)
        volume = read_series(only(tmp_path / name))
        np.testing.assert_array_equal(volume.voxels[3], head_pixels(3) - 1024)


def _bits(bits: int) -> dict[str, int]:
    return {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}


def test_enhanced_multi_frame_is_sorted_by_its_functional_groups(tmp_path: Path) -> None:
    order = [int(k) for k in np.random.default_rng(5).permutation(N_SLICES)]
    save(enhanced_ct(order), tmp_path / "enhanced.dcm")
    series = only(tmp_path)
    assert series.analysable
    volume = read_series(series)
    np.testing.assert_array_equal(volume.voxels[:, 0, 0], np.arange(N_SLICES) + 100 - 1024)
    np.testing.assert_allclose(volume.require_geometry().normal_spacing_mm, SPACING_MM)


def test_enhanced_object_with_missing_groups_is_refused_by_name(tmp_path: Path) -> None:
    dataset = enhanced_ct(range(N_SLICES))
    dataset.PerFrameFunctionalGroupsSequence.pop()
    save(dataset, tmp_path / "enhanced.dcm")
    report = scan([tmp_path])
    assert [skipped.code for skipped in report.skipped] == ["dicom.frames.groups"]
    assert "20 frames, but 19 groups" in report.skipped[0].reason


# --- headers and files ----------------------------------------------------------------------------------------------


def test_missing_preamble_and_syntax_are_assumed_and_told(tmp_path: Path) -> None:
    for index in range(N_SLICES):
        dataset = ct_slice(index)
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(tmp_path / f"{index}.dcm", implicit_vr=True, little_endian=True)
    series = only(tmp_path)
    assert series.analysable
    assert codes(series.warnings) == {"dicom.preamble.missing", "dicom.transfer_syntax.missing"}
    assert "Implicit VR Little Endian is assumed" in message(series.warnings, "dicom.transfer_syntax.missing")
    assert "20 files alike" in message(series.warnings, "dicom.transfer_syntax.missing")


@pytest.mark.parametrize(
    ("charset", "raw", "expected"),
    [
        ("ISO_IR 144", "Иванов^Иван".encode("iso8859_5"), "Иванов^Иван"),
        ("ISO_IR 192", "Åström^Åsa".encode(), "Åström^Åsa"),
        ("ISO_IR 192", b"M\xfcller^Eva", None),
        ("NO SUCH SET", b"M\xfcller^Eva", None),
    ],
)
def test_names_are_decoded_and_a_wrong_character_set_never_crashes(
    tmp_path: Path, charset: str, raw: bytes, expected: str | None
) -> None:
    path = save(ct_slice(0, PatientName="X" * len(raw), SpecificCharacterSet="ISO_IR 100"), tmp_path / "a.dcm")
    data = path.read_bytes()
    swapped = data.replace(b"X" * len(raw), raw)
    padded = charset + " " * (len(charset) % 2)
    old = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    assert old in swapped
    new = b"\x08\x00\x05\x00CS" + len(padded).to_bytes(2, "little") + padded.encode()
    path.write_bytes(swapped.replace(old, new))
    name = only(path).patient.name
    if expected is None:
        assert name.startswith("M")
        assert "ller^Eva" in name
    else:
        assert name == expected


def test_a_name_of_64_kilobytes_is_shortened(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        dataset = ct_slice(0, SeriesDescription="n" * 60_000)
    save(dataset, tmp_path / "a.dcm")
    assert len(only(tmp_path).description) == 1024


def test_text_in_number_tags_never_crashes(tmp_path: Path) -> None:
    data = save(ct_slice(0), tmp_path / "a.dcm").read_bytes()
    for old, new in ((b"-1024 ", b"abcdef"), (b"-120.0\\", b"x120.0\\"), (b"IS\x02\x003 ", b"IS\x02\x00q ")):
        assert old in data
        data = data.replace(old, new)
    (tmp_path / "a.dcm").write_bytes(data)
    series = only(tmp_path)
    assert series.kind == "stack"
    assert series.number is None
    assert "scope.no_rescale" in codes(series.scope_reasons)


def test_non_ascii_paths_and_odd_files_are_handled(tmp_path: Path) -> None:
    folder = tmp_path / "Kopf-CT Übersicht 頭部"
    write_series(folder)
    (folder / "empty").write_bytes(b"")
    (folder / "readme.txt").write_text("no image")
    (folder / "loop").symlink_to(tmp_path)
    (folder / "dangling").symlink_to(tmp_path / "gone")
    report = scan([tmp_path])
    assert len(report.series) == 1
    assert len(read_series(report.series[0]).voxels) == N_SLICES
    skipped = {Path(one.path).name: one.code for one in report.skipped}
    assert skipped == {
        "empty": "dicom.not_dicom",
        "readme.txt": "dicom.not_dicom",
        "loop": "dicom.not_a_file",
        "dangling": "dicom.not_a_file",
    }
    assert report.n_files == N_SLICES + 4


def test_truncated_file_is_skipped_and_its_place_becomes_a_gap(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    paths[8].write_bytes(paths[8].read_bytes()[:-100])
    report = scan([tmp_path])
    assert [(Path(one.path).name, one.code) for one in report.skipped] == [("009.dcm", "dicom.truncated")]
    assert codes(report.series[0].scope_reasons) == {"scope.gap"}


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DicomError) as caught:
        scan([tmp_path / "nowhere"])
    assert "nowhere" in caught.value.message


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:900])])
def test_file_that_changes_after_the_scan_is_an_error_that_names_it(tmp_path: Path, damage: object) -> None:
    paths = write_series(tmp_path)
    series = only(tmp_path)
    damage(paths[5])  # type: ignore[operator]
    with pytest.raises(DicomError) as caught:
        read_series(series)
    assert "006.dcm" in caught.value.message


def test_scan_and_read_stop_when_asked(tmp_path: Path) -> None:
    class Context:
        def __init__(self) -> None:
            self.token, self.done = CancelToken(), 0

        def progress(self, done: int, total: int, text: str) -> None:
            self.done = done
            if done == 4:
                self.token.cancel()

        def raise_if_cancelled(self) -> None:
            self.token.raise_if_cancelled()

    write_series(tmp_path)
    series = only(tmp_path)
    for work in (lambda context: scan([tmp_path], context), lambda context: read_series(series, context)):
        context = Context()
        with pytest.raises(Cancelled):
            work(context)
        assert context.done == 4


def test_series_are_ordered_by_study_then_number(tmp_path: Path) -> None:
    for study, date, number in ((2, "20240101", 1), (1, "20230101", 9), (1, "20230101", 2)):
        changes = {
            "StudyInstanceUID": f"1.2.{study}",
            "SeriesInstanceUID": f"1.2.{study}.{number}",
            "StudyDate": date,
            "SeriesNumber": str(number),
        }
        write_series(tmp_path / f"{study}_{number}", n_slices=2, **changes)
    report: ScanReport = scan([tmp_path])
    assert [(series.study.date, series.number) for series in report.series] == [
        ("20230101", 2),
        ("20230101", 9),
        ("20240101", 1),
    ]


def before_pixels(dataset: Dataset, path: Path, inserted: bytes) -> Path:
    """Save with raw bytes in front of PixelData."""
    data = save(dataset, path).read_bytes()
    place = data.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(data[:place] + inserted + data[place:])
    return path


OPEN_SEQUENCE = b"\x29\x00\x10\x10SQ\0\0\xff\xff\xff\xff"
OPEN_ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
EMPTY_ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.parametrize(
    ("inserted", "code"),
    [
        (OPEN_SEQUENCE + EMPTY_ITEM * 9 + END_OF_SEQUENCE, ""),
        (OPEN_SEQUENCE + EMPTY_ITEM * 9, "dicom.header.damaged"),
        (OPEN_SEQUENCE + EMPTY_ITEM * 30_000 + END_OF_SEQUENCE, "dicom.header.too_long"),
        ((OPEN_SEQUENCE + OPEN_ITEM) * 30_000, "dicom.header.damaged"),
        (b"\x29\x00\x11\x10OB\0\0\xff\xff\xff\xff" * 2_000, "dicom.header.damaged"),
        (b"\x29\x00\x11\x10LO\0\0" * 30_000, "dicom.header.too_long"),
        (b"\x29\x00\x11\x10OB\0\0\xf0\xff\xff\xff", "dicom.truncated"),
        (b"\x29\x00\x11\x10QQ\x02\0xx", "dicom.header.damaged"),
    ],
)
def test_hostile_elements_before_the_pixels_are_stepped_over_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inserted: bytes, code: str
) -> None:
    monkeypatch.setattr(header, "MOST_STEPS", 20_000)
    before_pixels(ct_slice(0), tmp_path / "a.dcm", inserted)
    report = scan([tmp_path])
    assert [skipped.code for skipped in report.skipped] == ([code] if code else [])
    if not code:
        np.testing.assert_array_equal(read_series(report.series[0]).voxels[0], head_pixels(0) - 1024)


def test_pixels_whose_vr_is_damaged_are_refused_not_read_from_a_wrong_place(tmp_path: Path) -> None:
    data = save(ct_slice(0), tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(data.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00\x01W"))
    assert [skipped.code for skipped in scan([tmp_path]).skipped] == ["dicom.header.damaged"]


def test_nothing_of_a_damaged_name_reaches_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(ct_slice(0, PatientName="XXXXXXXX", SpecificCharacterSet="ISO_IR 192"), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"XXXXXXXX", b"M\xfcller^E"))
    assert only(tmp_path).patient.name.endswith("ller^E")
    assert not caplog.records


@pytest.mark.timeout(60)
def test_random_damage_never_crashes_the_reader(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    original = save(ct_slice(0), tmp_path / "a.dcm").read_bytes()
    path = tmp_path / "damaged.dcm"
    outcomes = set()
    for _ in range(1500):
        data = bytearray(original)
        for place in rng.integers(0, len(data) - 300, size=rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(100, len(data))] if rng.random() < 0.1 else data)
        report = scan([path])
        assert len(report.series) + len(report.skipped) >= 1
        for series in report.series:
            try:
                outcomes.add(read_series(series).voxels.shape)
            except DicomError as error:
                outcomes.add(error.code)
        outcomes.update(skipped.code for skipped in report.skipped)
    assert {(1, 12, 16), "dicom.not_dicom", "dicom.truncated"} <= outcomes
