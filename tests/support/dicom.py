"""Small DICOM files for tests: a CT slice with every tag that the reader looks at, changed one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

ROWS, COLUMNS = 12, 16
N_SLICES = 20
SPACING_MM = 5.0
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES_UID = "1.2.826.0.1.3680043.10.1.2"


def head_pixels(index: int, rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.int16]:
    """Stored values (HU + 1024): air around, tissue inside, and the slice's number in a corner."""
    pixels = np.full((rows, columns), 24, dtype=np.int16)
    pixels[2:-2, 3:-3] = 1064
    pixels[0, 0] = 100 + index
    return pixels


def ct_slice(index: int = 0, pixels: NDArray[Any] | None = None, **changes: Any) -> Dataset:
    """Build one slice of a 20-slice series; keyword arguments set attributes, None removes one."""
    pixels = head_pixels(index) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{SERIES_UID}.{index + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    values: dict[str, Any] = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{SERIES_UID}.{index + 1}",
        "StudyDate": "20240301",
        "Modality": "CT",
        "Manufacturer": "Builder",
        "PatientName": "Doe^Jane",
        "PatientID": "P-1",
        "PatientAge": "061Y",
        "BodyPartExamined": "HEAD",
        "ConvolutionKernel": "STANDARD",
        "StudyInstanceUID": "1.2.826.0.1.3680043.10.1.1",
        "SeriesInstanceUID": SERIES_UID,
        "SeriesNumber": "3",
        "InstanceNumber": str(index + 1),
        "ImagePositionPatient": [-120.0, -110.0, index * SPACING_MM],
        "ImageOrientationPatient": list(AXIAL),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [0.5, 0.5],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
    }
    for name, value in {**values, **changes}.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.PixelData = pixels.tobytes()
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Write one file as DICOM Part 10."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path, n_slices: int = N_SLICES, change: Callable[[Dataset, int], None] | None = None, **changes: Any
) -> list[Path]:
    """Write a series; `change` may alter every slice, `changes` are set on all of them."""
    paths = []
    for index in range(n_slices):
        dataset = ct_slice(index, **changes)
        if change is not None:
            change(dataset, index)
        paths.append(save(dataset, folder / f"{index + 1:03d}.dcm"))
    return paths


def enhanced_ct(order: Sequence[int]) -> Dataset:
    """Build an enhanced multi-frame CT whose frames are stored in `order`."""
    dataset = ct_slice(0, pixels=np.stack([head_pixels(index) for index in order]))
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, name)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2.1")
    dataset.NumberOfFrames = str(len(order))
    values = item(RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU")
    dataset.SharedFunctionalGroupsSequence = DicomSequence(
        [
            item(
                PlaneOrientationSequence=DicomSequence([item(ImageOrientationPatient=list(AXIAL))]),
                PixelMeasuresSequence=DicomSequence([item(PixelSpacing=[0.5, 0.5])]),
                PixelValueTransformationSequence=DicomSequence([values]),
            )
        ]
    )
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(
        [
            item(PlanePositionSequence=DicomSequence([item(ImagePositionPatient=[-120.0, -110.0, index * SPACING_MM])]))
            for index in order
        ]
    )
    return dataset


def item(**values: Any) -> Dataset:
    """Build a sequence item."""
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset
