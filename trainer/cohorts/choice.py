"""From the files of a study to the one series that is used, or to the reason why there is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.dicom.scan import ScanReport, scan
from engine.dicom.series import NO_IMAGE_CODES, Reason, Series, preference
from engine.progress import NULL_CONTEXT, CancelOnly, Context

ONLY = "series.only"
BEST_PLAIN = "series.plain_most_slices"
SHARP_ONLY = "series.sharp_only"
_WHY = {
    ONLY: "the only series that the classifier takes",
    BEST_PLAIN: "of the plain soft-tissue series the one with most slices: preparing thin slices averages them",
    SHARP_ONLY: "there is no soft-tissue reconstruction; of the bone ones the one with most slices",
}
_PLAIN = re.compile(r"PLAIN|NCCT|(PRE|NON)[ _-]*(C\b|CONTRAST)|WITHOUT|W/?O\b|UNENHANCED|NATIVE")
_CONTRAST = re.compile(r"POST|CONTRAST|CECT|ENHANCED|\bC\+|\d *CC\b|ANGIO|\bCTA\b|VENOGR|PERFUSION")
_BONE = re.compile(r"\bBONE|OSSEOUS")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The series that is used, why, and what else lay with it."""

    series: Series
    code: str
    n_others: int
    n_unreadable: int

    @property
    def reason(self) -> str:
        """The sentence for a report."""
        return _WHY[self.code]


@dataclass(frozen=True)
class Rejected:
    """Why a study has no series that can be used; names no patient and no file."""

    code: str
    reason: str


def choose(paths: Sequence[Path], folder_names: bool = False, context: Context = NULL_CONTEXT) -> Chosen | Rejected:
    """Look at a study's files and choose.

    Only series that the classifier takes come into question. Of these, what its description calls contrast-enhanced is
    left out, bone reconstructions are taken only where there is nothing else, and the one with most slices wins.

    Parameters
    ----------
    paths
        Files and folders; ones that are not there are counted as missing.
    folder_names
        Whether the name of a series' folder describes it, as where headers were emptied.

    Raises
    ------
    Cancelled
        Between two files.
    """
    there = [path for path in paths if path.exists()]
    if not there:
        return Rejected("cohort.source_missing", "there are no images where the cohort has them")
    found = scan(there, CancelOnly(context))
    usable = [series for series in found.series if series.analysable]
    if not usable:
        return _rejected(found)
    plain = [series for series in usable if not _says(series, folder_names, _CONTRAST, _PLAIN)]
    if not plain:
        return Rejected("scope.contrast", "every series that could be used is described as contrast-enhanced")
    soft = [series for series in plain if not _sharp(series, folder_names)]
    chosen = max(soft or plain, key=lambda series: (series.n_slices, series.instance_uid))
    code = SHARP_ONLY if not soft else ONLY if len(usable) == 1 else BEST_PLAIN
    unreadable = [item for item in found.skipped if item.code not in NO_IMAGE_CODES]
    return Chosen(chosen, code, len(found.series) - 1, len(unreadable) + len(paths) - len(there))


def _says(series: Series, folder_names: bool, what: re.Pattern[str], unless: re.Pattern[str] | None = None) -> bool:
    words = f"{series.description} {series.source.name if folder_names else ''}".upper()
    return what.search(words) is not None and (unless is None or unless.search(words) is None)


def _sharp(series: Series, folder_names: bool) -> bool:
    return _says(series, folder_names, _BONE) or any(item.code == "scope.kernel" for item in series.warnings)


def _rejected(found: ScanReport) -> Rejected:
    if not found.series:
        codes = Counter(item.code for item in found.skipped).most_common(3)
        why = ", ".join(f"{n} × {code}" for code, n in codes)
        return Rejected("cohort.no_image", f"none of its {found.n_files} files is an image that can be read ({why})")
    nearest = max(found.series, key=preference)
    reasons = (*nearest.scope_reasons, *nearest.reasons) or (Reason("cohort.no_image", ""),)
    first = {reason.code: reason for reason in reversed(reasons)}
    texts = [_safe(reason) for reason in reasons if first[reason.code] is reason]
    return Rejected(reasons[0].code, " ".join(texts))


def _safe(reason: Reason) -> str:
    """Return a reason's sentence where it cannot name a file, else its code alone."""
    return reason.message if reason.code.startswith("scope.") else f"[{reason.code}]"
