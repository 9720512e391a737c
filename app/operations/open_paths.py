"""Find the series in what the user opened, and list them in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.dicom.series import NO_IMAGE_CODES, Series, preference
from engine.errors import DicomError
from engine.progress import NULL_CONTEXT, Context

if TYPE_CHECKING:
    from engine.dicom.scan import ScanReport
    from engine.store.records import SeriesRecord, StudyRecord
    from engine.store.repository import Store


def open_paths(paths: Sequence[Path], context: Context = NULL_CONTEXT) -> ScanReport:
    """Scan folders, files, archives.

    Raises
    ------
    DicomError
        If a path does not exist.
    """
    from engine.dicom.scan import scan

    for path in paths:
        if not path.exists():
            raise DicomError(f"{path} does not exist.", hint="Check the path.", code="dicom.not_found")
    return scan(paths, context)


def input_files(report: ScanReport) -> set[Path]:
    """Return the files that a scan found to belong to a study: of its series, and images that were set aside."""
    used = {instance.source.path for series in report.series for instance in series.instances}
    return used | {Path(item.path) for item in report.skipped if item.code not in NO_IMAGE_CODES}


def register_series(store: Store, series: Sequence[Series]) -> None:
    """List every series in the store, in one transaction; known ones are brought up to date.

    Raises
    ------
    StoreError
        If the store cannot be written, or a series is there already under another study; then none is listed.
    """
    store.register([(study_record(item), series_record(item)) for item in series])


def study_record(series: Series) -> StudyRecord:
    """Return what the store keeps of a study."""
    from engine.store.records import StudyRecord

    return StudyRecord(
        study_uid=series.study.instance_uid,
        patient_id=series.patient.id,
        patient_name=series.patient.display_name,
        study_date=series.study.date,
        study_description=series.study.description,
        accession_number=series.study.accession_number,
        patient_birth_date=series.patient.birth_date,
        patient_sex=series.patient.sex,
    )


def series_record(series: Series) -> SeriesRecord:
    """Return what the store keeps of a series."""
    from engine.store.records import SeriesRecord

    return SeriesRecord(
        series_uid=series.instance_uid,
        study_uid=series.study.instance_uid,
        description=series.description,
        kind=series.kind,
        n_slices=series.n_slices,
        reasons=refusal_reasons(series),
        source_path=str(series.source),
        number=series.number,
        modality=series.modality,
        manufacturer=series.manufacturer,
    )


def refusal_reasons(series: Series) -> tuple[str, ...]:
    """Say why the series is no volume, or why the classifier does not take it."""
    return tuple(reason.message for reason in (*series.reasons, *series.scope_reasons))


def choose_series(report: ScanReport, source: Path, series_uid: str | None = None) -> Series:
    """Choose the series to work on: the one named, else the analysable one with most slices, else what comes closest.

    Raises
    ------
    DicomError
        If there is none, or none of that name.
    """
    if series_uid is not None:
        return _named(report, source, series_uid)
    if not report.series:
        skipped = "; ".join(f"{item.path}: {item.reason}" for item in report.skipped[:3])
        raise DicomError(
            f"{source} holds no image series that can be read ({report.n_files} files seen). {skipped}".rstrip(),
            hint="Give a folder, file or ZIP of DICOM CT images, or a NIfTI file.",
            code="dicom.no_series",
        )
    return max(report.series, key=preference)


def _named(report: ScanReport, source: Path, series_uid: str) -> Series:
    for series in report.series:
        if series.instance_uid == series_uid:
            return series
    found = ", ".join(series.instance_uid for series in report.series) or "none"
    raise DicomError(
        f"{source} holds no series {series_uid}; found: {found}.",
        hint="Choose one of the series found (inspect lists them).",
        code="dicom.series.not_found",
    )
