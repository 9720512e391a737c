"""Scans folders, files and archives, and judges every series found: volume, 2D stack, or refused, with the reasons."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.dicom import tags
from engine.dicom.archive import Opener, is_zip, members
from engine.dicom.found import Found, read_found
from engine.dicom.header import Header, HeaderError
from engine.dicom.hounsfield import judge_units
from engine.dicom.nifti import is_nifti, scan_nifti, uid_from
from engine.dicom.scope import age_at, geometry_scope, header_scope
from engine.dicom.series import PART_SEPARATOR, FileSource, Patient, Reason, Series, SeriesKind, Study
from engine.dicom.series_sort import Group, group_slices
from engine.dicom.source import unreadable
from engine.errors import DicomError
from engine.progress import NULL_CONTEXT, Context

KINDS_IN_CLOSING_TEXT = 6


@dataclass(frozen=True)
class SkippedFile:
    """A file that gave no image: its path (``archive!member`` in a ZIP), a slug, and the reason for a person."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True)
class ScanReport:
    """Everything that a scan found.

    Attributes
    ----------
    series
        Ordered by study, then series number.
    skipped
        Files that gave no image, in the order in which they were met.
    n_files
        Files looked at, members of archives counted one by one.
    """

    series: tuple[Series, ...]
    skipped: tuple[SkippedFile, ...]
    n_files: int

    def closing_text(self) -> str:
        """Sum up in one line: how many files were read, how many skipped, and why."""
        text = (
            f"{self.n_files - len(self.skipped)} files read in {len(self.series)} series, {len(self.skipped)} skipped"
        )
        counts = Counter(skipped.code for skipped in self.skipped)
        why = {skipped.code: skipped.reason for skipped in reversed(self.skipped)}
        parts = [f"{count} × {why[code]}" for code, count in counts.most_common(KINDS_IN_CLOSING_TEXT)]
        if len(counts) > KINDS_IN_CLOSING_TEXT:
            parts.append(f"and {len(counts) - KINDS_IN_CLOSING_TEXT} more reasons")
        return f"{text}: {' '.join(parts)}" if parts else f"{text}."

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``inspect --json``; see `Series.to_json` for what they hold of the patient."""
        return {
            "n_files": self.n_files,
            "series": [series.to_json() for series in self.series],
            "skipped": [{"path": s.path, "code": s.code, "reason": s.reason} for s in self.skipped],
            "summary": self.closing_text(),
        }


class _Scan:
    """The state of one scan."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.opener = Opener()
        self.found: list[Found] = []
        self.series: list[Series] = []
        self.skipped: list[SkippedFile] = []
        self.n_files = 0

    def skip(self, label: str, reason: Reason) -> None:
        self.skipped.append(SkippedFile(label, reason.code, reason.message))

    def add_file(self, path: Path) -> None:
        source = FileSource(path)
        try:
            reader = self.opener.open(source)
            try:
                if is_zip(reader.read_at(0, 4)):
                    self._add_archive(path)
                    return
                self.n_files += 1
                if is_nifti(path.name):
                    self.series.append(scan_nifti(source, self.opener))
                else:
                    self.found += read_found(source, reader)
            finally:
                reader.close()
        except HeaderError as error:
            self.skip(source.label, error.reason)
        except DicomError as error:
            self.n_files += 1
            self.skip(source.label, Reason(error.code, error.message))
        except OSError as error:
            self.skip(source.label, Reason("dicom.unreadable", unreadable(source, error).message))

    def _add_archive(self, path: Path) -> None:
        for source, refused in members(self.opener.archive(path), path):
            self.context.raise_if_cancelled()
            self.n_files += 1
            if refused is not None:
                self.skip(source.label, refused)
            else:
                self._add_member(source)

    def _add_member(self, source: FileSource) -> None:
        try:
            if is_nifti(source.member or ""):
                self.series.append(scan_nifti(source, self.opener))
                return
            reader = self.opener.open(source)
            if is_zip(reader.read_at(0, 4)):
                raise HeaderError("dicom.zip.nested", "It is an archive inside an archive; unpack the outer one first.")
            self.found += read_found(source, reader)
        except HeaderError as error:
            self.skip(source.label, error.reason)
        except DicomError as error:
            self.skip(source.label, Reason(error.code, error.message))


def scan(paths: Sequence[Path], context: Context = NULL_CONTEXT) -> ScanReport:
    """Scan folders (with all folders below), files and ZIP archives.

    Parameters
    ----------
    paths
        Folders, DICOM files, ZIP archives of DICOM (read in memory), NIfTI files.
    context
        Told of every file; asked for cancellation before every file.

    Returns
    -------
    ScanReport
        Every file is either in a series or among the skipped ones, with the reason.

    Raises
    ------
    DicomError
        If one of `paths` does not exist.
    """
    state = _Scan(context)
    files = _files(paths, state)
    try:
        for index, path in enumerate(files):
            context.raise_if_cancelled()
            state.add_file(path)
            context.progress(index + 1, len(files), "Reading headers")
    finally:
        state.opener.__exit__()
    series = state.series + [one for parts in group_slices(state.found) for one in _judge_parts(parts)]
    series.sort(key=_order)
    return ScanReport(tuple(series), tuple(state.skipped), state.n_files)


def _order(series: Series) -> tuple[str, str, str, float, str, str]:
    study = series.study
    number = float("inf") if series.number is None else float(series.number)
    base, _, part = series.instance_uid.partition(PART_SEPARATOR)
    return study.date, study.time, study.instance_uid, number, base, part.zfill(6)


def _files(paths: Sequence[Path], state: _Scan) -> list[Path]:
    """List all files, each once, in a stable order; what is no file is skipped with its reason."""
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files.update(dict.fromkeys(_walk(path, state)))
        elif path.exists():
            files[path] = None
        else:
            raise DicomError(
                f"{path} does not exist.", hint="Check the path; is the disk there?", code="dicom.path.missing"
            )
    return list(files)


def _walk(folder: Path, state: _Scan) -> Iterator[Path]:
    state.context.raise_if_cancelled()
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        state.skip(str(folder), Reason("dicom.unreadable", unreadable(FileSource(folder), error).message))
        state.n_files += 1
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, state)
        elif entry.is_file():
            yield path
        else:
            state.n_files += 1
            state.skip(entry.path, Reason("dicom.not_a_file", "It is a link to a folder or no regular file."))


def _judge_parts(parts: list[Group]) -> list[Series]:
    first = parts[0].slices[0]
    uid = first.series_uid
    notes: list[Reason] = []
    if not uid:
        labels = sorted(one.instance.source.label for part in parts for one in part.slices)
        uid = uid_from(hashlib.sha256("\n".join(labels).encode("utf-8", "surrogatepass")).digest(), b"series")
        notes.append(
            Reason("dicom.uid.missing", "SeriesInstanceUID is empty; the files of one folder are taken as one series.")
        )
    if len(parts) > 1:
        sizes = ", ".join(str(len(part.slices)) for part in parts)
        notes.append(
            Reason("dicom.split", f"The series was split into {len(parts)} parts of {sizes} images that do not fit.")
        )
    uids = [uid] + [f"{uid}{PART_SEPARATOR}{number}" for number in range(2, len(parts) + 1)]
    return [_judge(part, part_uid, notes) for part, part_uid in zip(parts, uids, strict=True)]


def _judge(part: Group, uid: str, notes: list[Reason]) -> Series:
    header = part.slices[0].header
    warnings = [*notes, *part.warnings, *_file_notes(part.slices)]
    reasons = list(part.reasons)
    scope: list[Reason] = []
    hu = False
    kind: SeriesKind = "refused" if part.aside is not None else "stack" if part.geometry is None else "volume"
    if part.aside is not None:
        reasons.append(part.aside)
    else:
        scope, doubts = header_scope(header, age_at(header))
        warnings += doubts
        if header.text(tags.MODALITY) == "CT":
            hu, not_hu = judge_units(part.slices)
            scope += [not_hu] if not_hu is not None else []
    if part.geometry is not None:
        found, doubts = geometry_scope(part.geometry)
        scope += found
        warnings += doubts
    return Series(
        patient=_patient(header),
        study=_study(header, part.slices[0].instance.source.folder),
        instance_uid=uid,
        number=header.integer(tags.SERIES_NUMBER),
        description=header.name(tags.SERIES_DESCRIPTION) or header.name(tags.IMAGE_COMMENTS),
        modality=header.text(tags.MODALITY)[:16],
        manufacturer=header.name(tags.MANUFACTURER),
        convolution_kernel=header.name(tags.CONVOLUTION_KERNEL),
        instances=tuple(one.instance for one in part.slices),
        kind=kind,
        reasons=tuple(reasons),
        scope_reasons=tuple(scope),
        warnings=tuple(warnings),
        source=_common_source(part.slices),
        geometry=part.geometry,
        hu=hu,
    )


def _file_notes(slices: Sequence[Found]) -> list[Reason]:
    """Fold the notes of single files: each kind once, with the first file's name and the number of files."""
    folded: dict[str, Reason] = {}
    counts: Counter[str] = Counter()
    for one in slices:
        if one.instance.frame:
            continue
        for note in one.header.notes:
            counts[note.code] += 1
            folded.setdefault(note.code, Reason(note.code, f"{one.instance.source.label}: {note.message}"))
    return [
        reason if counts[code] == 1 else Reason(code, f"{reason.message} ({counts[code]} files alike)")
        for code, reason in folded.items()
    ]


def _patient(header: Header) -> Patient:
    return Patient(
        name=header.name(tags.PATIENT_NAME),
        id=header.name(tags.PATIENT_ID),
        birth_date=header.text(tags.PATIENT_BIRTH_DATE)[:8],
        sex=header.text(tags.PATIENT_SEX)[:4],
        age_years=age_at(header),
    )


def _study(header: Header, folder: str) -> Study:
    uid = header.text(tags.STUDY_INSTANCE_UID)
    return Study(
        instance_uid=uid or uid_from(folder.encode("utf-8", "surrogatepass"), b"study"),
        date=header.text(tags.STUDY_DATE)[:10],
        time=header.text(tags.STUDY_TIME)[:16],
        description=header.name(tags.STUDY_DESCRIPTION),
        accession_number=header.name(tags.ACCESSION_NUMBER),
    )


def _common_source(slices: Sequence[Found]) -> Path:
    paths = {one.instance.source.path for one in slices}
    if len(paths) == 1:
        return paths.pop()
    parents = {path.parent for path in paths}
    if len(parents) == 1:
        return parents.pop()
    try:
        return Path(os.path.commonpath([str(parent) for parent in parents]))
    except ValueError:  # different drives, or relative and absolute paths together
        return sorted(parents)[0]
