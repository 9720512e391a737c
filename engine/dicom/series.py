"""What a scan finds: patients, studies, series and their instances, each series judged. Plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import DicomError
from engine.geometry import VolumeGeometry

SeriesKind = Literal["volume", "stack", "refused"]
PART_SEPARATOR = "#"
NO_IMAGE_CODES = frozenset({"dicom.not_dicom", "dicom.empty", "dicom.not_a_file"})
"""Codes of skipped files that never were pictures: a folder may hold any number of them without being damaged."""


@dataclass(frozen=True)
class Reason:
    """Why something is refused, set aside or doubtful: a stable slug and a sentence for a person."""

    code: str
    message: str


@dataclass(frozen=True)
class Patient:
    """The patient as the headers say; empty strings where they say nothing. Never in a log or a message.

    Attributes
    ----------
    name
        DICOM's own form, ``Family^Given^Middle^Prefix^Suffix``.
    birth_date
        ``YYYYMMDD``.
    age_years
        PatientAge in years, else the age at the study date; None where neither is known.
    """

    name: str = ""
    id: str = ""
    birth_date: str = ""
    sex: str = ""
    age_years: float | None = None

    @property
    def display_name(self) -> str:
        """The name for a person to read: ``Family, Given Middle``."""
        family, _, rest = self.name.partition("=")[0].partition("^")
        given = " ".join(part for part in rest.split("^")[:2] if part)
        return ", ".join(part for part in (family.strip(), given.strip()) if part)


@dataclass(frozen=True)
class Study:
    """The study as the headers say; empty strings where they say nothing. `date` is ``YYYYMMDD``."""

    instance_uid: str = ""
    date: str = ""
    time: str = ""
    description: str = ""
    accession_number: str = ""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Where bytes come from: a file, or a member of a ZIP archive that is read in memory."""

    path: Path
    member: str | None = None

    @property
    def label(self) -> str:
        """The name that messages use."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"

    @property
    def folder(self) -> str:
        """The folder, inside the archive where there is one."""
        if self.member is None:
            return str(self.path.parent)
        return f"{self.path}!{self.member.rpartition('/')[0]}"


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How the pixels of a file are stored.

    Attributes
    ----------
    offset, length
        First byte and number of bytes of the value of PixelData, in the file or, if `inflated`, in the inflated data
        set. `length` counts to the end of the file where `encapsulated`.
    n_frames
        Frames in the file, 1 where NumberOfFrames is absent.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    transfer_syntax: str
    offset: int
    length: int
    n_frames: int
    encapsulated: bool
    inflated: bool
    big_endian: bool
    inverted: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * (self.bits_allocated // 8)


@dataclass(frozen=True, slots=True)
class Instance:
    """One slice: a frame of a file, with its place and its rescale.

    Attributes
    ----------
    position_lps_mm
        ImagePositionPatient; None where absent or not three numbers.
    slope, intercept
        RescaleSlope and RescaleIntercept; 1 and 0 where `has_rescale` is False.
    padding_value
        The stored PixelPaddingValue.
    slice_thickness_mm
        SliceThickness, to show only: places come from positions. None where absent, not positive, or in an
        enhanced object.
    """

    source: FileSource
    sop_instance_uid: str
    frame: int
    instance_number: int | None
    position_lps_mm: tuple[float, float, float] | None
    slope: float
    intercept: float
    has_rescale: bool
    padding_value: int | None
    layout: PixelLayout | None
    slice_thickness_mm: float | None = None


@dataclass(frozen=True, eq=False)
class Series:
    """Instances that belong together, in slice order, and what may be done with them.

    Attributes
    ----------
    instance_uid
        SeriesInstanceUID. Where one DICOM series had to be split, the largest part keeps it and the others carry
        ``#2``, ``#3`` … after it, so that it names one series only; `dicom_series_uid` is the plain one.
    kind
        ``volume``: parallel slices with a place in space. ``stack``: pictures without one. ``refused``: not opened.
    reasons
        Why `kind` is not ``volume``.
    scope_reasons
        Why the classifier must not run although the series can be viewed.
    warnings
        What a reader should know; refuses nothing.
    hu
        Whether voxels are Hounsfield units, as far as tags and sampled values tell.
    geometry
        Of a volume; None otherwise.
    """

    patient: Patient
    study: Study
    instance_uid: str
    number: int | None
    description: str
    modality: str
    manufacturer: str
    convolution_kernel: str
    instances: tuple[Instance, ...]
    kind: SeriesKind
    reasons: tuple[Reason, ...]
    scope_reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    source: Path
    geometry: VolumeGeometry | None
    hu: bool = False

    @property
    def analysable(self) -> bool:
        """Whether the classifier may run."""
        return self.kind == "volume" and not self.scope_reasons

    @property
    def n_slices(self) -> int:
        """Number of slices or pictures."""
        return len(self.instances)

    @property
    def dicom_series_uid(self) -> str:
        """SeriesInstanceUID as the files have it, without the mark of a part."""
        return self.instance_uid.partition(PART_SEPARATOR)[0]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``inspect --json``.

        They hold no patient name, ID, birth date or study date of the header. ``series_description``, ``manufacturer``
        and ``convolution_kernel`` are what the scanner or a person wrote there, and ``source`` is the user's own path:
        free text, which may name anybody.
        """
        return {
            "study_instance_uid": self.study.instance_uid,
            "series_instance_uid": self.instance_uid,
            "series_number": self.number,
            "series_description": self.description,
            "modality": self.modality,
            "manufacturer": self.manufacturer,
            "convolution_kernel": self.convolution_kernel,
            "kind": self.kind,
            "analysable": self.analysable,
            "units": "HU" if self.hu else "unknown",
            "n_images": len(self.instances),
            "source": str(self.source),
            "reasons": [reason_json(reason) for reason in self.reasons],
            "scope_reasons": [reason_json(reason) for reason in self.scope_reasons],
            "warnings": [reason_json(reason) for reason in self.warnings],
            "geometry": None if self.geometry is None else geometry_json(self.geometry),
        }


def preference(series: Series) -> tuple[bool, bool, bool, int]:
    """Order series by which one to work on: the analysable one with most slices is largest, else what comes closest."""
    return series.analysable, series.kind == "volume", series.kind == "stack", series.n_slices


def reason_json(reason: Reason) -> dict[str, str]:
    """Return a reason as plain values."""
    return {"code": reason.code, "message": reason.message}


def geometry_json(geometry: VolumeGeometry) -> dict[str, Any]:
    """Return the geometry in numbers; lengths in mm, the tilt in degrees."""
    return {
        "acquired_slices": geometry.n_slices,
        "tilt_deg": round(geometry.tilt_deg, 4),
        "normal_spacing_mm": [round(float(value), 4) for value in geometry.normal_spacing_mm],
        "rows": geometry.rows,
        "columns": geometry.columns,
        "pixel_spacing_mm": list(geometry.pixel_spacing_mm),
        "first_position_lps_mm": [float(value) for value in geometry.origins_lps_mm[0]],
        "row_cosine_lps": [float(value) for value in geometry.row_cosine_lps],
        "column_cosine_lps": [float(value) for value in geometry.column_cosine_lps],
    }


def require_readable(series: Series) -> None:
    """Refuse a series that cannot be opened.

    Raises
    ------
    DicomError
        Of kind ``input``, with the reasons, if the series is refused.
    """
    if series.kind != "refused":
        return
    causes = " ".join(reason.message for reason in series.reasons)
    raise DicomError(
        f"{_name(series)} cannot be opened. {causes}",
        hint="Open the original axial CT series of the study instead.",
        code=series.reasons[0].code if series.reasons else "dicom.series.refused",
    )


def require_analysable(series: Series) -> None:
    """Refuse a series that the classifier was not made for.

    Raises
    ------
    DicomError
        Of kind ``input`` if the series is refused altogether; of kind ``scope``, listing every reason, if it can be
        viewed but not analysed.
    """
    require_readable(series)
    reasons = (*series.scope_reasons, *(series.reasons if series.kind == "stack" else ()))
    if not reasons:
        return
    raise DicomError(
        f"{_name(series)} is outside the classifier's scope. {' '.join(reason.message for reason in reasons)}",
        hint="It can be viewed. For analysis choose an axial, non-contrast head CT of an adult.",
        code=reasons[0].code,
        kind="scope",
    )


def _name(series: Series) -> str:
    number = "" if series.number is None else f" {series.number}"
    return f"Series{number} in {series.source}"
