"""From one file to the slices in it, each still with its header: what the sorting into series works on."""

from __future__ import annotations

from dataclasses import dataclass

from engine.dicom import tags
from engine.dicom.header import Header, HeaderError, read_header
from engine.dicom.multiframe import FramePlace, frame_places
from engine.dicom.pixels import read_layout
from engine.dicom.scope import set_aside
from engine.dicom.series import FileSource, Instance, PixelLayout, Reason
from engine.dicom.source import ByteReader


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A slice as found.

    Attributes
    ----------
    orientation
        ImageOrientationPatient, six numbers; None where absent.
    pixel_spacing_mm
        PixelSpacing: between rows, between columns; None where absent.
    aside
        Why it is no slice at all; None for a slice.
    """

    header: Header
    instance: Instance
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    rescale_type: str
    aside: Reason | None

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; empty where the file has none."""
        return self.header.text(tags.SERIES_INSTANCE_UID)


def read_found(source: FileSource, reader: ByteReader) -> list[Found]:
    """Read one file's header and return its slices, one a frame.

    Raises
    ------
    HeaderError
        If the file is no DICOM image, or not one that can be read; the reason names the cause.
    OSError
        If the file cannot be read.
    """
    header = read_header(reader)
    sop_class = header.text(tags.SOP_CLASS_UID)
    if tags.MEDIA_STORAGE_DIRECTORY in (sop_class, header.media_storage_sop_class):
        raise HeaderError("dicom.dicomdir", "It is a DICOMDIR, the table of contents of a medium; it holds no image.")
    _note_sop_class(header, sop_class)
    aside = set_aside(header) if header.pixel_offset is not None else None
    if aside is not None:
        return [_found(header, source, 0, None, None, aside)]
    layout = read_layout(header, reader)
    header.inflated = None  # a scan keeps headers, never pixels
    if sop_class in tags.ENHANCED_CT_IMAGES or (layout.n_frames > 1 and header.has_frame_groups):
        places = frame_places(read_header(reader, tags.FUNCTIONAL_GROUPS, longest_value=None).dataset, layout.n_frames)
        return [_found(header, source, frame, layout, place, None) for frame, place in enumerate(places)]
    return [_found(header, source, frame, layout, None, None) for frame in range(layout.n_frames)]


def _note_sop_class(header: Header, sop_class: str) -> None:
    meta = header.media_storage_sop_class
    if meta and sop_class and meta != sop_class:
        header.notes.append(
            Reason(
                "dicom.sop_class.mismatch",
                "The file meta information names another SOP class than the data set; the data set is believed.",
            )
        )


def _found(
    header: Header,
    source: FileSource,
    frame: int,
    layout: PixelLayout | None,
    place: FramePlace | None,
    aside: Reason | None,
) -> Found:
    position = header.floats(tags.IMAGE_POSITION_PATIENT, 3) if place is None else place.position_lps_mm
    slope = header.number(tags.RESCALE_SLOPE) if place is None else place.slope
    intercept = header.number(tags.RESCALE_INTERCEPT) if place is None else place.intercept
    thickness = header.number(tags.SLICE_THICKNESS) if place is None else None
    if place is None and layout is not None and layout.n_frames > 1:
        position = None  # one position cannot place many frames
    has_rescale = slope is not None and intercept is not None and slope != 0.0
    instance = Instance(
        source=source,
        sop_instance_uid=header.text(tags.SOP_INSTANCE_UID),
        frame=frame,
        instance_number=header.integer(tags.INSTANCE_NUMBER),
        position_lps_mm=None if position is None or len(position) != 3 else (position[0], position[1], position[2]),
        slope=slope if slope is not None and has_rescale else 1.0,
        intercept=intercept if intercept is not None and has_rescale else 0.0,
        has_rescale=has_rescale,
        padding_value=_padding(header, layout),
        layout=layout,
        slice_thickness_mm=thickness if thickness is not None and thickness > 0 else None,
    )
    return Found(
        header=header,
        instance=instance,
        orientation=_six(header.floats(tags.IMAGE_ORIENTATION_PATIENT, 6) if place is None else place.orientation),
        pixel_spacing_mm=_positive(header.floats(tags.PIXEL_SPACING, 2) if place is None else place.pixel_spacing_mm),
        rescale_type=header.text(tags.RESCALE_TYPE) if place is None else place.rescale_type,
        aside=aside,
    )


def _padding(header: Header, layout: PixelLayout | None) -> int | None:
    if layout is None:
        return None
    return header.signed(tags.PIXEL_PADDING_VALUE) if layout.signed else header.unsigned(tags.PIXEL_PADDING_VALUE)


def _six(orientation: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return orientation if orientation is not None and len(orientation) == 6 else None


def _positive(spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return spacing if spacing is not None and len(spacing) == 2 and min(spacing) > 0 else None
