"""Transfer syntaxes, with pydicom's own files: stored values equal pydicom's, and what cannot be decoded is named."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders import JPEG2000LosslessDecoder
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.errors import DicomError
from tests.support.dicom import N_SLICES, ct_slice, head_pixels, save, write_series

FILES = Path(pydicom.__file__).parent / "data" / "test_files"

READABLE = (
    "693_J2KI.dcm",
    "CT_small.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "rtdose.dcm",
    "rtdose_rle.dcm",
)
NO_SLICES = {
    "MR_truncated.dcm": "dicom.truncated",
    "examples_rgb_color.dcm": "dicom.pixels.colour",
    "examples_palette.dcm": "dicom.photometric.unsupported",
    "liver_1frame.dcm": "dicom.bits.allocated",
    "rtplan.dcm": "dicom.no_pixels",
    "test-SR.dcm": "dicom.no_pixels",
    "dicomdirtests/DICOMDIR": "dicom.dicomdir",
    "dicomdirtests/DICOMDIR-bigEnd": "dicom.dicomdir",
    "README.txt": "dicom.not_dicom",
}


@pytest.mark.parametrize("name", READABLE)
def test_stored_values_equal_pydicom(name: str) -> None:
    (series,) = scan([FILES / name]).series
    volume = read_series(series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = np.asarray(pydicom.dcmread(FILES / name).pixel_array)
    expected = stored.reshape(-1, *stored.shape[-2:])
    assert volume.voxels.shape == expected.shape
    for voxels, instance in zip(volume.voxels, series.instances, strict=True):
        np.testing.assert_array_equal(voxels, expected[instance.frame] * instance.slope + instance.intercept)


@pytest.mark.parametrize("name", sorted(NO_SLICES))
def test_what_is_no_slice_is_skipped_by_name(name: str) -> None:
    report = scan([FILES / name])
    assert not report.series
    assert [skipped.code for skipped in report.skipped] == [NO_SLICES[name]]


def test_whole_folder_of_odd_files_is_scanned() -> None:
    report = scan([FILES])
    listed = [path for path in FILES.rglob("*") if path.is_file()]
    assert report.n_files >= len(listed)
    assert len(report.skipped) < report.n_files
    for series in report.series:
        assert series.kind == "refused" or read_series(series).voxels.size


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_series_equals_the_uncompressed_one(tmp_path: Path, syntax: UID) -> None:
    for index in range(N_SLICES):
        dataset = ct_slice(index, pixels=head_pixels(index, 32, 40))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.compress(syntax, generate_instance_uid=False)
        save(dataset, tmp_path / f"{index}.dcm")
    (series,) = scan([tmp_path]).series
    assert series.analysable
    voxels = read_series(series).voxels
    assert voxels.dtype == np.int16
    for k in range(N_SLICES):
        np.testing.assert_array_equal(voxels[k], head_pixels(k, 32, 40) - 1024)


def test_deflated_series(tmp_path: Path) -> None:
    def deflate(dataset: pydicom.Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    paths = write_series(tmp_path, change=deflate)
    (series,) = scan([tmp_path]).series
    assert series.analysable
    np.testing.assert_array_equal(read_series(series).voxels[4], head_pixels(4) - 1024)
    paths[3].write_bytes(paths[3].read_bytes()[:-20])
    assert [skipped.code for skipped in scan([tmp_path]).skipped] == ["dicom.truncated"]


def compressed_slice() -> pydicom.Dataset:
    dataset = ct_slice(0, pixels=head_pixels(0, 32, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    return dataset


def test_missing_decoder_is_named_with_its_syntax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(compressed_slice(), tmp_path / "a.dcm")
    # The state of a machine without the plugins: pydicom's decoder then knows none.
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    missing = {"pylibjpeg": ("numpy", "pylibjpeg>=2.0", "pylibjpeg-openjpeg>=2.0")}
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_unavailable", missing)
    (skipped,) = scan([tmp_path]).skipped
    assert skipped.code == "dicom.decoder.missing"
    assert "JPEG 2000" in skipped.reason
    assert "openjpeg" in skipped.reason


def test_syntax_that_nobody_decodes_is_named(tmp_path: Path) -> None:
    dataset = compressed_slice()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    save(dataset, tmp_path / "a.dcm")
    (skipped,) = scan([tmp_path]).skipped
    assert skipped.code == "dicom.decoder.unsupported"
    assert "MPEG-4" in skipped.reason


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_12_bit_jpeg_extended_is_refused_by_name_with_the_reason(tmp_path: Path, name: str) -> None:
    dataset = pydicom.dcmread(FILES / name)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    save(dataset, tmp_path / "a.dcm")
    report = scan([tmp_path])
    assert not report.series
    assert [skipped.code for skipped in report.skipped] == ["dicom.decoder.precision"]
    assert "JPEG Extended with 12 bits per pixel" in report.skipped[0].reason
    assert "gdcm and pillow take 8 bits only" in report.skipped[0].reason


def test_codestream_of_another_size_than_the_header_never_reaches_a_decoder(tmp_path: Path) -> None:
    dataset = compressed_slice()
    dataset.Rows, dataset.Columns = 60000, 60000
    save(dataset, tmp_path / "a.dcm")
    dataset.Rows, dataset.Columns = 30, 40
    save(dataset, tmp_path / "b.dcm")
    report = scan([tmp_path])
    assert [skipped.code for skipped in report.skipped] == ["dicom.pixels.too_large", "dicom.pixels.codestream"]
    assert "32 × 40 pixels, the header says 30 × 40" in report.skipped[1].reason


def test_damaged_codestream_is_an_error_with_the_name_of_file_and_syntax(tmp_path: Path) -> None:
    dataset = compressed_slice()
    stream = bytearray(next(pydicom.encaps.generate_frames(io.BytesIO(dataset.PixelData), number_of_frames=1)))
    stream[120:] = bytes(len(stream) - 120)
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].is_undefined_length = True
    save(dataset, tmp_path / "a.dcm")
    (series,) = scan([tmp_path]).series
    with pytest.raises(DicomError) as caught:
        read_series(series)
    assert caught.value.code == "dicom.pixels.decode"
    assert "a.dcm" in caught.value.message
    assert "JPEG 2000" in caught.value.message
