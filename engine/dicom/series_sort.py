"""Groups slices into series, splits what does not belong together, drops duplicates, sorts by geometry.

Slices are sorted and measured by ImagePositionPatient along the normal, never by InstanceNumber or SliceThickness.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.dicom import tags
from engine.dicom.archive import Opener
from engine.dicom.found import Found
from engine.dicom.series import FileSource, Reason
from engine.errors import DicomError, GeometryError
from engine.geometry import FloatArray, VolumeGeometry

ORIENTATION_TOLERANCE = 1e-3
SAME_POSITION_MM = 0.01
COSINE_TOLERANCE = 0.01


@dataclass(eq=False)
class Group:
    """Slices that make one series, in slice order, and what was met on the way."""

    slices: list[Found]
    aside: Reason | None = None
    geometry: VolumeGeometry | None = None
    reasons: list[Reason] = field(default_factory=list)
    warnings: list[Reason] = field(default_factory=list)


def series_key(found: Found) -> tuple[str, str, str]:
    """Return what slices of one DICOM series share; the folder stands in for missing UIDs."""
    study = found.header.text(tags.STUDY_INSTANCE_UID)
    series = found.series_uid
    return study, series, "" if series else found.instance.source.folder


def group_slices(found: Iterable[Found]) -> list[list[Group]]:
    """Group slices into series and each series into the parts that can be one stack of pictures.

    Returns
    -------
    list
        One list of parts for every DICOM series, the part with most slices first, images before what is set aside.
    """
    by_series: dict[tuple[str, str, str], list[Found]] = defaultdict(list)
    for one in found:
        by_series[series_key(one)].append(one)
    return [_parts(slices) for slices in by_series.values()]


def _parts(slices: list[Found]) -> list[Group]:
    images = [one for one in slices if one.aside is None]
    asides = [one for one in slices if one.aside is not None]
    parts: list[Group] = []
    with Opener() as opener:
        kept, dropped = drop_duplicates(images, opener)
    for similar in _alike(kept):
        parts += _place(similar)
    if dropped and parts:
        message = f"{dropped} exact duplicate(s) of images were dropped."
        parts[0].warnings.append(Reason("dicom.duplicates.dropped", message))
    parts.sort(key=lambda part: (part.geometry is None, -len(part.slices)))
    for code in dict.fromkeys(one.aside.code for one in asides if one.aside):
        members = [one for one in asides if one.aside and one.aside.code == code]
        parts.append(Group(members, aside=members[0].aside))
    return parts


def drop_duplicates(slices: list[Found], opener: Opener) -> tuple[list[Found], int]:
    """Drop slices that have the SOP Instance UID, frame and pixels of another. Returns the rest and their number."""
    counts = Counter((one.instance.sop_instance_uid, one.instance.frame) for one in slices)
    digests: dict[FileSource, bytes] = {}
    seen: set[tuple[str, int, bytes]] = set()
    kept: list[Found] = []
    for one in slices:
        uid, frame, source = one.instance.sop_instance_uid, one.instance.frame, one.instance.source
        if uid and counts[uid, frame] > 1:
            if source not in digests:
                digests[source] = _pixel_digest(one, opener)
            key = uid, frame, digests[source]
            if key[2] and key in seen:
                continue
            seen.add(key)
        kept.append(one)
    return kept, len(slices) - len(kept)


def _pixel_digest(found: Found, opener: Opener) -> bytes:
    """Return a digest of the pixels as stored; empty if they cannot be read any more."""
    layout = found.instance.layout
    if layout is None:
        return b""
    try:
        reader = opener.open(found.instance.source)
    except DicomError:
        return b""
    try:
        offset, length = (0, reader.size) if layout.inflated else (layout.offset, layout.length)
        return hashlib.sha256(reader.read_at(offset, length)).digest()
    except OSError:
        return b""
    finally:
        reader.close()


def _alike(slices: list[Found]) -> list[list[Found]]:
    """Split by what one volume must share: matrix, spacing, rescale or none, place or none, orientation."""
    groups: list[tuple[Hashable, tuple[float, ...] | None, list[Found]]] = []
    for one in slices:
        layout = one.instance.layout
        spacing = one.pixel_spacing_mm
        key = (
            one.header.text(tags.MODALITY),
            None if layout is None else (layout.rows, layout.columns),
            None if spacing is None else tuple(round(value, 4) for value in spacing),
            one.instance.has_rescale,
            one.instance.position_lps_mm is None,
        )
        for other, orientation, members in groups:
            if other == key and _parallel(orientation, one.orientation):
                members.append(one)
                break
        else:
            groups.append((key, one.orientation, [one]))
    return [members for _, _, members in groups]


def _parallel(first: tuple[float, ...] | None, second: tuple[float, ...] | None) -> bool:
    if first is None or second is None:
        return first is second
    return first == second or max(abs(a - b) for a, b in zip(first, second, strict=True)) <= ORIENTATION_TOLERANCE


def _place(slices: list[Found]) -> list[Group]:
    """Sort slices that are alike into volumes; what has no place in space becomes a stack, with the reason."""
    missing = _missing_place(slices[0])
    if missing is not None:
        return [_stack(slices, missing)]
    cosines = orthonormal(slices[0].orientation or ())
    if cosines is None:
        reason = "ImageOrientationPatient does not hold two orthogonal unit vectors, so nothing can be measured in mm."
        return [_stack(slices, Reason("dicom.orientation.invalid", reason))]
    if len(slices) == 1:
        return [_stack(slices, Reason("dicom.single_slice", "It is a single slice, which makes no volume."))]
    positions = _positions(slices, cosines)
    if np.ptp(positions) < SAME_POSITION_MM:
        reason = f"All {len(slices)} images lie at one position, so they make no volume."
        return [_stack(slices, Reason("dicom.one_position", reason))]
    if _most_at_one_place(positions) == 1:
        return [_volume(slices, cosines)]
    return _split_repeats(slices, cosines)


def _missing_place(found: Found) -> Reason | None:
    names = {
        "ImagePositionPatient": found.instance.position_lps_mm,
        "ImageOrientationPatient": found.orientation,
        "PixelSpacing": found.pixel_spacing_mm,
    }
    missing = [name for name, value in names.items() if value is None]
    if not missing:
        return None
    return Reason("dicom.no_place", f"{', '.join(missing)} missing, so nothing can be measured in mm.")


def orthonormal(orientation: Sequence[float]) -> tuple[FloatArray, FloatArray] | None:
    """Return row and column cosines made exactly orthonormal; None where the tag is off by more than 1 %.

    Six decimals in a header leave cosines that are unit vectors only to 1e-4; that rounding is taken out.
    """
    cosines = np.asarray(orientation, dtype=np.float64).reshape(-1, 3)
    if cosines.shape != (2, 3) or not np.isfinite(cosines).all():
        return None
    if np.abs(cosines @ cosines.T - np.eye(2)).max() > COSINE_TOLERANCE:
        return None
    row = cosines[0] / np.linalg.norm(cosines[0])
    column = cosines[1] - (cosines[1] @ row) * row
    return row, column / np.linalg.norm(column)


def _positions(slices: Sequence[Found], cosines: tuple[FloatArray, FloatArray]) -> FloatArray:
    origins = np.array([one.instance.position_lps_mm for one in slices], dtype=np.float64)
    return np.asarray(origins @ np.cross(*cosines), dtype=np.float64)


def _most_at_one_place(positions_mm: FloatArray) -> int:
    """Return how many slices share one position at most."""
    steps = np.diff(np.sort(positions_mm)) >= SAME_POSITION_MM
    ends = np.flatnonzero(np.concatenate(([True], steps, [True])))
    return int(np.diff(ends).max())


def _volume(slices: list[Found], cosines: tuple[FloatArray, FloatArray]) -> Group:
    order = np.argsort(_positions(slices, cosines), kind="stable")
    ordered = [slices[i] for i in order]
    first = ordered[0]
    layout = first.instance.layout
    assert layout is not None
    assert first.pixel_spacing_mm is not None
    try:
        geometry = VolumeGeometry(
            row_cosine_lps=cosines[0],
            column_cosine_lps=cosines[1],
            pixel_spacing_mm=(first.pixel_spacing_mm[0], first.pixel_spacing_mm[1]),
            origins_lps_mm=np.array([one.instance.position_lps_mm for one in ordered], dtype=np.float64),
            rows=layout.rows,
            columns=layout.columns,
        )
    except GeometryError as error:
        return _stack(slices, Reason(error.code, error.message))
    return Group(ordered, geometry=geometry)


def _stack(slices: list[Found], reason: Reason) -> Group:
    ordered = sorted(
        slices,
        key=lambda one: (one.instance.instance_number or 0, one.instance.source.label, one.instance.frame),
    )
    return Group(ordered, reasons=[reason])


def _split_repeats(slices: list[Found], cosines: tuple[FloatArray, FloatArray]) -> list[Group]:
    """Split a series that visits positions more than once by the first tag that tells its passes apart."""
    repeats = _most_at_one_place(_positions(slices, cosines))
    for name, value_of in _PASS_TAGS:
        passes: dict[Hashable, list[Found]] = defaultdict(list)
        for one in slices:
            passes[value_of(one)].append(one)
        if not 2 <= len(passes) <= repeats:
            continue
        if all(_most_at_one_place(_positions(members, cosines)) == 1 for members in passes.values()):
            groups = [group for members in passes.values() for group in _place(members)]
            message = f"The series passes {repeats} times over the same positions; it was split by {name}."
            for group in groups:
                group.warnings.append(Reason("dicom.split.repeats", message))
            return groups
    reason = (
        f"Up to {repeats} images lie at one position and neither acquisition, time nor kernel tells them apart, "
        "so they make no volume."
    )
    return [_stack(slices, Reason("dicom.repeated_positions", reason))]


_PASS_TAGS: tuple[tuple[str, Callable[[Found], Hashable]], ...] = (
    ("acquisition number", lambda one: one.header.text(tags.ACQUISITION_NUMBER)),
    ("convolution kernel", lambda one: one.header.text(tags.CONVOLUTION_KERNEL)),
    ("acquisition time", lambda one: one.header.text(tags.ACQUISITION_TIME)),
    ("content time", lambda one: one.header.text(tags.CONTENT_TIME)),
    ("image type", lambda one: one.header.text(tags.IMAGE_TYPE)),
    ("file", lambda one: (one.instance.source.path, one.instance.source.member) if one.instance.frame else None),
)
