"""Judges what a series is and whether the classifier was made for it, with reasons that a person can act on."""

from __future__ import annotations

import re
from datetime import date

import numpy as np

from engine.dicom import tags
from engine.dicom.header import Header
from engine.dicom.series import Reason
from engine.geometry import VolumeGeometry

LEAST_SLICES = 10
LEAST_COVERAGE_MM = 80.0
MOST_OBLIQUE_DEG = 35.0
GAP_RATIO = 1.5
LONGEST_GAP_RUN = 3
ADULT_YEARS = 18.0
USUAL_KVP = (70.0, 150.0)
TILT_CHANGE_DEG = 2.0

_LOCALIZER = ("LOCALIZER", "SCOUT", "SURVIEW", "TOPOGRAM")
_PROJECTIONS = ("MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE")
_HEAD_WORDS = ("HEAD", "BRAIN", "SKULL", "CRAN", "CEREB", "NEURO", "ENCEPH", "STROKE", "KOPF", "SCHAEDEL", "TETE")
_NO_CONTRAST = frozenset(
    ("", "NO", "NONE", "NON", "NATIVE", "WITHOUT", "N", "NO CONTRAST", "NONCONTRAST", "UNENHANCED")
)
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_BONE_KERNEL = re.compile(r"BONE|EDGE|LUNG|SHARP|^FC(3[0-9]|8[0-9])|^[BHJ][A-Z]{0,2}([6-9][0-9])|^Y[A-D]$")


def set_aside(header: Header) -> Reason | None:
    """Name what an image is if it is no slice: localizer, dose page, derived page, secondary capture; else None."""
    kinds = tuple(value.upper() for value in header.texts(tags.IMAGE_TYPE))
    sop_class = header.text(tags.SOP_CLASS_UID)
    secondary = sop_class == tags.SECONDARY_CAPTURE_PREFIX or sop_class.startswith(tags.SECONDARY_CAPTURE_PREFIX + ".")
    derived = secondary or "DERIVED" in kinds[:1]
    description = header.text(tags.SERIES_DESCRIPTION).upper()
    if any("DOSE" in kind for kind in kinds) or (derived and "DOSE" in description):
        return Reason("dicom.dose_page", "It is a dose page, a picture of text; it is set aside.")
    if any(word in kind for kind in kinds for word in _LOCALIZER):
        if secondary:
            return Reason("dicom.derived_page", "It is a derived page that shows a localizer; it is set aside.")
        return Reason(
            "dicom.localizer", "It is a localizer, the overview that the scan is planned on; it is set aside."
        )
    if secondary:
        return Reason(
            "dicom.secondary_capture", "It is a derived summary page (secondary capture), no slice; it is set aside."
        )
    return None


def header_scope(header: Header, age_years: float | None) -> tuple[list[Reason], list[Reason]]:
    """Judge by the tags alone. Returns scope reasons and warnings."""
    scope: list[Reason] = []
    modality = header.text(tags.MODALITY)
    if modality != "CT":
        shown = (modality if _is_code_string(modality) else "no DICOM code") if modality else "not given"
        scope.append(Reason("scope.modality", f"The modality is {shown}; the classifier knows CT only."))
    if age_years is not None and age_years < ADULT_YEARS:
        scope.append(
            Reason("scope.age", "The patient is younger than 18 years; the classifier was made for adults only.")
        )
    part = header.text(tags.BODY_PART_EXAMINED)
    if part and not any(word in part.upper() for word in _HEAD_WORDS):
        shown = part if _is_code_string(part) else "not the head (no DICOM code, so it is not repeated here)"
        scope.append(
            Reason("scope.body_part", f"The body part examined is {shown}; the classifier knows the head only.")
        )
    if header.text(tags.CONTRAST_BOLUS_AGENT).upper().strip(".-") not in _NO_CONTRAST:
        scope.append(
            Reason("scope.contrast", "The header names a contrast agent; the classifier was made for non-contrast CT.")
        )
    kinds = tuple(value.upper() for value in header.texts(tags.IMAGE_TYPE))
    projection = next((kind for kind in kinds[2:] if kind in _PROJECTIONS), None)
    if projection:
        scope.append(
            Reason(
                "scope.projection", f"The images are projections ({projection}), whose values are not those of tissue."
            )
        )
    return scope, _header_warnings(header)


def _header_warnings(header: Header) -> list[Reason]:
    warnings: list[Reason] = []
    kernel = header.text(tags.CONVOLUTION_KERNEL).upper()
    if _BONE_KERNEL.search(kernel):
        warnings.append(
            Reason(
                "scope.kernel",
                f"The convolution kernel {_code(kernel)} is a sharp one for bone; noise lowers what the classifier can "
                "tell of the brain. Choose the soft tissue reconstruction if there is one.",
            )
        )
    kvp = header.number(tags.KVP)
    if kvp is not None and kvp > 0 and not USUAL_KVP[0] <= kvp <= USUAL_KVP[1]:
        warnings.append(Reason("scope.kvp", f"The tube voltage of {kvp:g} kV is unusual; HU of blood and bone shift."))
    return warnings


def geometry_scope(geometry: VolumeGeometry) -> tuple[list[Reason], list[Reason]]:
    """Judge by the slices' places: orientation, number, coverage, gaps. Returns scope reasons and warnings."""
    scope: list[Reason] = []
    oblique = float(np.degrees(np.arccos(min(1.0, abs(float(geometry.normal_lps[2]))))))
    if oblique > MOST_OBLIQUE_DEG:
        plane = "coronal" if abs(geometry.normal_lps[1]) > abs(geometry.normal_lps[0]) else "sagittal"
        scope.append(
            Reason(
                "scope.orientation",
                f"The slices are {plane}, {oblique:.0f}° away from axial; the classifier needs axial slices.",
            )
        )
    if geometry.n_slices < LEAST_SLICES:
        scope.append(
            Reason(
                "scope.few_slices",
                f"There are {geometry.n_slices} slices; the classifier needs at least {LEAST_SLICES}.",
            )
        )
    coverage = float(geometry.positions_mm[-1] - geometry.positions_mm[0])
    if coverage < LEAST_COVERAGE_MM:
        scope.append(
            Reason(
                "scope.coverage",
                f"The slices cover {coverage:.0f} mm; a whole head needs at least {LEAST_COVERAGE_MM:.0f} mm.",
            )
        )
    scope += [_gap_reason(index, expected, found) for index, expected, found in find_gaps(geometry.normal_spacing_mm)]
    return scope, _tilt_warnings(geometry)


def find_gaps(spacing_mm: np.ndarray) -> list[tuple[int, float, float]]:
    """Find missing slices.

    A head CT often has two zones of slice spacing, so that a change of spacing is no gap. A gap is a run of at most
    three equal intervals that are at least 1.5 times as long as the intervals on both sides of the run.

    Parameters
    ----------
    spacing_mm
        Distance between neighbouring slices, shape (S - 1,).

    Returns
    -------
    list
        Index of the slice before each gap, expected and found distance in mm.
    """
    gaps: list[tuple[int, float, float]] = []
    start = 0
    while start < len(spacing_mm):
        end = start + 1
        while end < len(spacing_mm) and abs(spacing_mm[end] - spacing_mm[start]) < 0.1 * spacing_mm[start]:
            end += 1
        sides = [float(spacing_mm[i]) for i in (start - 1, end) if 0 <= i < len(spacing_mm)]
        # A run at either end has one side only, and may as well be a short zone of its own: single intervals only.
        longest = LONGEST_GAP_RUN if len(sides) == 2 else 1
        if sides and end - start <= longest and spacing_mm[start] >= GAP_RATIO * max(sides):
            gaps += [(i, max(sides), float(spacing_mm[i])) for i in range(start, end)]
        start = end
    return gaps


def _gap_reason(index: int, expected: float, found: float) -> Reason:
    return Reason(
        "scope.gap",
        f"Slices are missing: {expected:.3f} mm was expected, {found:.3f} mm found between slices {index + 1} and "
        f"{index + 2}. What lies there was never seen; load the whole series.",
    )


def _tilt_warnings(geometry: VolumeGeometry) -> list[Reason]:
    step = np.diff(geometry.origins_lps_mm, axis=0)
    if len(step) < 2:
        return []
    along = step @ geometry.normal_lps
    across = np.linalg.norm(step - along[:, None] * geometry.normal_lps, axis=1)
    tilt = np.degrees(np.arctan2(across, along))
    change = float(tilt.max() - tilt.min())
    if change <= TILT_CHANGE_DEG:
        return []
    return [
        Reason(
            "dicom.tilt.varies",
            f"The gantry tilt changes within the series, from {tilt.min():.1f}° to {tilt.max():.1f}°; every slice is "
            "placed by its own position.",
        )
    ]


def age_at(header: Header) -> float | None:
    """Return PatientAge in years, else the age at the study date; None where neither is there."""
    text = header.text(tags.PATIENT_AGE).upper()
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text)
    if match:
        return int(match[1]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[match[2]]
    born = _date(header.text(tags.PATIENT_BIRTH_DATE))
    days = (_date(header.text(tag)) for tag in (tags.STUDY_DATE, tags.ACQUISITION_DATE, tags.SERIES_DATE))
    seen = next((day for day in days if day is not None), None)
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / 365.25


def _date(text: str) -> date | None:
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text)
    if not match:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _is_code_string(text: str) -> bool:
    """Whether a value is a code string as DICOM defines it (PS3.5 6.2, CS); other text may be anything, even a name."""
    return _CODE_STRING.fullmatch(text) is not None


def _code(text: str) -> str:
    """Show a code string of a header safely: short and printable."""
    return "".join(c for c in text[:16] if c.isprintable())
