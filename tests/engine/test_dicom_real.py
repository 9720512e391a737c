"""The real and plastic heads: volumes, geometry, Hounsfield units, and what is set aside by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from engine.dicom.read import read_series
from engine.dicom.scan import ScanReport, scan
from engine.dicom.series import Series, require_analysable
from engine.errors import DicomError


def only(report: ScanReport) -> Series:
    assert len(report.series) == 1
    return report.series[0]


def series_number(report: ScanReport, number: int) -> list[Series]:
    return [series for series in report.series if series.number == number]


def test_ge_series_is_one_analysable_volume_with_its_true_geometry(ge_tilt: Path) -> None:
    series = only(scan([ge_tilt]))
    assert series.kind == "volume"
    assert series.analysable
    assert series.hu
    assert (series.reasons, series.scope_reasons) == ((), ())
    geometry = series.geometry
    assert geometry is not None
    assert geometry.shape == (28, 512, 512)
    assert geometry.tilt_deg == pytest.approx(18.5, abs=0.01)
    spacing = np.sort(geometry.normal_spacing_mm)
    np.testing.assert_allclose(spacing, [1.081, *[4.0] * 13, *[7.0] * 13], atol=0.01)
    np.testing.assert_allclose(geometry.normal_lps, [0, 0.3173, 0.9483], atol=1e-4)


def test_every_voxel_of_the_ge_series_is_rescale_applied_to_the_stored_value(ge_tilt: Path) -> None:
    series = only(scan([ge_tilt]))
    volume = read_series(series)
    assert volume.voxels.dtype == np.int16
    assert (volume.units, volume.padding_value) == ("HU", -1500)
    assert volume.voxels.min() == -1500
    slices = {}
    for path in ge_tilt.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        slices[str(dataset.SOPInstanceUID)] = dataset
    assert sorted(slices) == sorted(volume.sop_instance_uids)
    for k, uid in enumerate(volume.sop_instance_uids):
        dataset = slices[uid]
        expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(volume.voxels[k], expected)
        np.testing.assert_allclose(
            volume.require_geometry().kji_to_lps(np.array([k, 0.0, 0.0])), dataset.ImagePositionPatient, atol=1e-6
        )


def test_philips_phantom_gives_two_volumes_and_sets_the_rest_aside_by_name(shared_data: Path) -> None:
    report = scan([shared_data / "head_phantom_philips"])
    (five,), (thin,) = series_number(report, 201), series_number(report, 301)
    assert five.geometry is not None
    assert thin.geometry is not None
    assert five.geometry.shape == (28, 512, 512)
    np.testing.assert_allclose(five.geometry.normal_spacing_mm, 5.0, atol=1e-6)
    assert five.geometry.tilt_deg == pytest.approx(0, abs=1e-6)
    assert thin.geometry.shape == (58, 512, 512)
    np.testing.assert_allclose(thin.geometry.normal_spacing_mm, 2.397, atol=0.001)
    assert thin.geometry.tilt_deg == pytest.approx(16.5, abs=0.01)
    assert five.analysable
    assert thin.analysable
    (localizer,) = series_number(report, 100)
    assert (localizer.kind, localizer.reasons[0].code) == ("refused", "dicom.localizer")
    assert "localizer" in localizer.reasons[0].message
    aside = {series.reasons[0].code: len(series.instances) for series in series_number(report, 401)}
    assert aside == {"dicom.derived_page": 3, "dicom.secondary_capture": 2, "dicom.dose_page": 1}
    assert {series.kind for series in series_number(report, 401)} == {"refused"}
    assert len({series.instance_uid for series in report.series}) == len(report.series)
    assert len({series.dicom_series_uid for series in series_number(report, 401)}) == 1
    skipped = {Path(skipped.path).name: skipped.code for skipped in report.skipped}
    assert skipped == {"DIRFILE": "dicom.dicomdir", "LICENSE": "dicom.not_dicom"}


def test_philips_values_equal_pydicom(shared_data: Path) -> None:
    (series,) = series_number(scan([shared_data / "head_phantom_philips" / "S21570"]), 201)
    volume = read_series(series)
    for k in (0, 13, 27):
        dataset = pydicom.dcmread(series.instances[k].source.path)
        np.testing.assert_array_equal(volume.voxels[k], dataset.pixel_array.astype(int) - 1024)


def test_head_that_is_not_in_hounsfield_units_opens_and_is_refused_for_analysis(shared_data: Path) -> None:
    series = only(scan([shared_data / "head_small_not_hu"]))
    volume = read_series(series)
    assert series.kind == "volume"
    assert volume.units == "unknown"
    assert (volume.voxels.min(), volume.voxels.max()) == (0, 3926)
    assert "scope.not_hu" in {reason.code for reason in series.scope_reasons}
    with pytest.raises(DicomError) as caught:
        require_analysable(series)
    assert caught.value.kind == "scope"
    assert "not Hounsfield units" in caught.value.message


def test_refused_series_is_refused_with_its_reason(shared_data: Path) -> None:
    series = only(scan([shared_data / "head_phantom_philips" / "S21570" / "S1000" / "I10"]))
    for refuse in (read_series, require_analysable):
        with pytest.raises(DicomError) as caught:
            refuse(series)
        assert (caught.value.kind, caught.value.code) == ("input", "dicom.localizer")


def test_report_is_plain_json_without_patient_data(shared_data: Path) -> None:
    report = scan([shared_data / "head_small_not_hu", shared_data / "head_ct_ge_tilt"])
    text = json.dumps(report.to_json())
    for series in report.series:
        assert series.patient.id
        for value in (series.patient.name, series.patient.id, series.patient.birth_date):
            assert not value or value not in text
    found = {series["n_images"]: series for series in json.loads(text)["series"]}
    assert found[28]["geometry"]["tilt_deg"] == pytest.approx(18.5, abs=0.01)
    assert len(found[28]["geometry"]["normal_spacing_mm"]) == 27
    assert not found[93]["analysable"]
    assert "1 skipped" in report.closing_text()


def test_patient_and_study_come_from_the_headers(shared_data: Path) -> None:
    series = only(scan([shared_data / "head_small_not_hu"]))
    assert series.patient.age_years == pytest.approx(3.0, abs=0.1)
    assert series.study.date == "20090102"
    assert "scope.age" in {reason.code for reason in series.scope_reasons}
