"""The functional groups of enhanced multi-frame objects: where every frame lies, in whatever order it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from engine.dicom.header import PYDICOM_ERRORS, HeaderError, quiet


@dataclass(frozen=True, slots=True)
class FramePlace:
    """One frame's place and rescale; None where the functional groups do not say."""

    position_lps_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    frame_type: tuple[str, ...]


def frame_places(dataset: Dataset, n_frames: int) -> tuple[FramePlace, ...]:
    """Read the functional groups of an enhanced object.

    Parameters
    ----------
    dataset
        With its functional groups.
    n_frames
        NumberOfFrames, already checked against the pixels.

    Raises
    ------
    HeaderError
        If there is not one per-frame group for every frame, or the groups are damaged.
    """
    try:
        with quiet():
            shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]))
            per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
            if len(per_frame) != n_frames:
                raise HeaderError(
                    "dicom.frames.groups",
                    f"The object has {n_frames} frames, but {len(per_frame)} groups that place them.",
                )
            return tuple(_place(shared, own) for own in per_frame)
    except PYDICOM_ERRORS as error:
        raise HeaderError("dicom.frames.groups", "The functional groups of the frames are damaged.") from error


def _place(shared: Dataset, own: Dataset) -> FramePlace:
    measures = _macro(shared, own, "PixelMeasuresSequence")
    values = _macro(shared, own, "PixelValueTransformationSequence")
    kind = _macro(shared, own, "CTImageFrameTypeSequence")
    return FramePlace(
        position_lps_mm=_numbers(_macro(shared, own, "PlanePositionSequence").get("ImagePositionPatient")),
        orientation=_numbers(_macro(shared, own, "PlaneOrientationSequence").get("ImageOrientationPatient")),
        pixel_spacing_mm=_numbers(measures.get("PixelSpacing")),
        slope=_number(values.get("RescaleSlope")),
        intercept=_number(values.get("RescaleIntercept")),
        rescale_type=str(values.get("RescaleType") or ""),
        frame_type=tuple(str(value) for value in kind.get("FrameType") or ()),
    )


def _macro(shared: Dataset, own: Dataset, keyword: str) -> Dataset:
    """Return a functional group's item: the frame's own before the shared one."""
    for group in (own, shared):
        sequence = group.get(keyword)
        if sequence:
            item: Dataset = sequence[0]
            return item
    return Dataset()


def _numbers(value: Any) -> tuple[float, ...] | None:
    return None if value is None or value == "" else tuple(float(number) for number in value)


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)
