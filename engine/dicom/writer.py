"""Writes a volume as CT Image Storage: int16, Explicit VR Little Endian, one file a slice.

Only the phantom uses it: what this program writes as DICOM is synthetic, derived, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from engine.errors import DicomError
from engine.geometry import Volume, VolumeGeometry
from engine.progress import NULL_CONTEXT, Context

IMPLEMENTATION_CLASS_UID = "2.25.304166423137268926873905281187512338021"
IMPLEMENTATION_VERSION_NAME = "HEADCTREVIEW"
RESCALE_INTERCEPT_HU = -1024


@dataclass(frozen=True)
class CtHeader:
    """What a CT series says about itself beside its pixels and their place.

    UIDs are DICOM UIDs; `date` is YYYYMMDD and `time` HHMMSS; `image_type` has DICOM's three values, then the maker's;
    `window` is the centre and width, in Hounsfield units, in which the series should open; `intercept_hu` is what a
    stored 0 means; `padding_hu` is what lies outside the circle of reconstruction, None where nothing does.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    patient_name: str
    patient_id: str
    study_description: str
    series_description: str
    manufacturer: str
    model_name: str
    convolution_kernel: str
    study_id: str = "1"
    accession_number: str = ""
    patient_sex: str = "O"
    patient_age_years: int = 60
    series_number: int = 1
    date: str = "20000101"
    time: str = "120000"
    kilovolts: float = 120.0
    slice_thickness_mm: float = 5.0
    image_type: tuple[str, ...] = ("DERIVED", "PRIMARY", "AXIAL")
    patient_position: str = "HFS"
    window: tuple[float, float] = (40.0, 80.0)
    image_comments: str = ""
    intercept_hu: int = RESCALE_INTERCEPT_HU
    padding_hu: int | None = None


def write_ct_series(
    folder: Path, volume: Volume, header: CtHeader, context: Context = NULL_CONTEXT
) -> tuple[Path, ...]:
    """Write one file a slice, ``0001.dcm`` the lowest.

    Parameters
    ----------
    folder
        Made if it is missing; files of the same names are overwritten.
    volume
        int16 Hounsfield units [slice, row, column] with a geometry; its SOP Instance UIDs are used.

    Raises
    ------
    DicomError
        If the voxels are not int16 Hounsfield units from -32768 + 1024 up to 32767, or a file cannot be written.
    GeometryError
        If the volume has no geometry.
    Cancelled
        If the context asks to stop, between files.
    """
    geometry = volume.require_geometry()
    stored = _stored(volume, header.intercept_hu)
    paths = []
    for index in range(geometry.n_slices):
        context.raise_if_cancelled()
        paths.append(folder / f"{index + 1:04d}.dcm")
        dataset = _instance(volume, geometry, header, index, stored[index])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            dataset.save_as(paths[-1], enforce_file_format=True)
        except OSError as error:
            raise _error(f"{paths[-1]} cannot be written: {error.strerror}", "unwritable", "environment") from error
        context.progress(index + 1, geometry.n_slices, "DICOM files")
    return tuple(paths)


def _stored(volume: Volume, intercept_hu: int) -> NDArray[np.int16]:
    """Return the stored values: Hounsfield units less the intercept."""
    if volume.units != "HU" or volume.voxels.dtype != np.int16:
        raise _error("only int16 Hounsfield units can be written", "not_hu", "input")
    wide = volume.voxels.astype(np.int32) - intercept_hu
    if wide.max() > np.iinfo(np.int16).max or wide.min() < np.iinfo(np.int16).min:
        raise _error(f"{volume.voxels.max()} HU does not fit a stored value of 16 bits", "range", "input")
    return wide.astype(np.int16)


def _instance(
    volume: Volume, geometry: VolumeGeometry, header: CtHeader, index: int, stored: NDArray[np.int16]
) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(volume.sop_instance_uids[index])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = volume.sop_instance_uids[index]
    _describe(dataset, header)
    _place(dataset, geometry, header, index)
    _fill(dataset, geometry, header, stored)
    return dataset


def _describe(dataset: FileDataset, header: CtHeader) -> None:
    """Patient, study, series and equipment."""
    dataset.ImageType = list(header.image_type)
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{kind}Date", header.date)
        setattr(dataset, f"{kind}Time", header.time)
    dataset.AccessionNumber = header.accession_number
    dataset.Modality = "CT"
    dataset.Manufacturer = header.manufacturer
    dataset.ManufacturerModelName = header.model_name
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = header.study_description
    dataset.SeriesDescription = header.series_description
    dataset.PatientName = header.patient_name
    dataset.PatientID = header.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = header.patient_sex
    dataset.PatientAge = f"{header.patient_age_years:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic: there is no patient"
    dataset.BodyPartExamined = "HEAD"
    dataset.KVP = _decimal(header.kilovolts)
    dataset.ConvolutionKernel = header.convolution_kernel
    dataset.PatientPosition = header.patient_position
    dataset.StudyInstanceUID = header.study_instance_uid
    dataset.SeriesInstanceUID = header.series_instance_uid
    dataset.StudyID = header.study_id
    dataset.SeriesNumber = str(header.series_number)
    dataset.AcquisitionNumber = "1"
    if header.image_comments:
        dataset.ImageComments = header.image_comments


def _place(dataset: FileDataset, geometry: VolumeGeometry, header: CtHeader, index: int) -> None:
    """Frame of reference and image plane."""
    cosines = np.concatenate([geometry.row_cosine_lps, geometry.column_cosine_lps])
    dataset.InstanceNumber = str(index + 1)
    dataset.FrameOfReferenceUID = header.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = [_decimal(value) for value in geometry.origins_lps_mm[index]]
    dataset.ImageOrientationPatient = [_decimal(value) for value in cosines]
    dataset.SliceLocation = _decimal(geometry.positions_mm[index])
    dataset.SliceThickness = _decimal(header.slice_thickness_mm)
    dataset.PixelSpacing = [_decimal(value) for value in geometry.pixel_spacing_mm]


def _fill(dataset: FileDataset, geometry: VolumeGeometry, header: CtHeader, stored: NDArray[np.int16]) -> None:
    """Image pixel, rescale and window."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = geometry.rows, geometry.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    if header.padding_hu is not None:
        dataset.PixelPaddingValue = header.padding_hu - header.intercept_hu
    dataset.WindowCenter, dataset.WindowWidth = (_decimal(value) for value in header.window)
    dataset.RescaleIntercept = str(header.intercept_hu)
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.PixelData = stored.astype("<i2").tobytes()


def _decimal(value: float) -> str:
    """Return a DICOM decimal string: at most 16 characters, as many digits as fit."""
    for digits in range(12, 0, -1):
        text = f"{float(value) + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{float(value):.6g}"


def _error(reason: str, code: str, kind: str) -> DicomError:
    return DicomError(
        f"The series cannot be written as DICOM: {reason}.",
        hint="Choose a folder that can be written, on a disk with free space."
        if kind == "environment"
        else "Pass a volume of whole Hounsfield units.",
        code=f"dicom.write.{code}",
        kind="environment" if kind == "environment" else "input",
    )
