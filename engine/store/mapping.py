"""Between database rows and the frozen values that leave the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from engine.analysis import ModelIdentity
from engine.store.locations import Location
from engine.store.records import (
    CorrectionRow,
    FeedbackRecord,
    Laterality,
    ReadingMode,
    SeriesKind,
    SeriesRecord,
    SeriesRow,
    SeriesState,
    StatementRole,
    StudyRecord,
    Verdict,
)
from engine.store.tables import AnalysisTable, FeedbackTable, SeriesTable, StudyTable
from engine.store.text import search_form, storable


def fill_study(row: StudyTable, study: StudyRecord) -> None:
    """Write a study's details into its row."""
    row.patient_id = storable(study.patient_id)
    row.patient_name = storable(study.patient_name)
    row.patient_birth_date = storable(study.patient_birth_date)
    row.patient_sex = storable(study.patient_sex)
    row.study_date = storable(study.study_date)
    row.study_description = storable(study.study_description)
    row.accession_number = storable(study.accession_number)
    row.search_text = search_form(
        study.patient_name, study.patient_id, study.study_date, study.study_description, study.accession_number
    )


def fill_series(row: SeriesTable, series: SeriesRecord) -> None:
    """Write a series into its row; one that was taken off the list comes back."""
    row.number = series.number
    row.description = storable(series.description)
    row.modality = storable(series.modality)
    row.manufacturer = storable(series.manufacturer)
    row.kind = series.kind
    row.n_slices = series.n_slices
    row.reasons = [storable(reason) for reason in series.reasons]
    row.source_path = storable(series.source_path)
    row.search_text = search_form(series.description, series.modality, series.manufacturer)
    row.removed_utc = None


def series_query(conditions: Sequence[ColumnElement[bool]]) -> Select[*tuple[Any, ...]]:
    """Select the study list: series, study, and the newest analysis of each."""
    other = aliased(AnalysisTable)
    newest = select(func.max(other.id)).where(other.series_uid == SeriesTable.series_uid).correlate(SeriesTable)
    return (
        select(
            SeriesTable,
            StudyTable,
            AnalysisTable.model_name,
            AnalysisTable.model_digest,
            AnalysisTable.created_utc,
            AnalysisTable.positive_keys,
        )
        .join(StudyTable, StudyTable.study_uid == SeriesTable.study_uid)
        .outerjoin(AnalysisTable, AnalysisTable.id == newest.scalar_subquery())
        .where(*conditions)
        .order_by(StudyTable.id.desc(), SeriesTable.number, SeriesTable.id)
    )


def series_row(row: Any) -> SeriesRow:
    """Turn one row of `series_query` into a line of the list."""
    series: SeriesTable = row[0]
    study: StudyTable = row[1]
    model_name, model_digest, analysed_utc, positive_keys = row[2:]
    return SeriesRow(
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        study_date=study.study_date,
        study_description=study.study_description,
        description=series.description,
        number=series.number,
        modality=series.modality,
        manufacturer=series.manufacturer,
        kind=cast(SeriesKind, series.kind),
        n_slices=series.n_slices,
        reasons=tuple(series.reasons),
        source_path=series.source_path,
        state=cast(SeriesState, series.state),
        state_message=series.state_message,
        model_name=model_name,
        model_digest=model_digest,
        analysed_utc=analysed_utc,
        positive_keys=tuple(positive_keys or ()),
    )


def study_record(row: StudyTable) -> StudyRecord:
    """Turn a row into a study."""
    return StudyRecord(
        study_uid=row.study_uid,
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        study_date=row.study_date,
        study_description=row.study_description,
        accession_number=row.accession_number,
        patient_birth_date=row.patient_birth_date,
        patient_sex=row.patient_sex,
    )


def feedback_rows(session: Session, *conditions: ColumnElement[bool]) -> tuple[FeedbackRecord, ...]:
    """Read statements, oldest first."""
    rows = session.scalars(select(FeedbackTable).where(*conditions).order_by(FeedbackTable.id))
    return tuple(feedback_record(row) for row in rows)


def feedback_record(row: FeedbackTable) -> FeedbackRecord:
    """Turn a row into a statement."""
    return FeedbackRecord(
        id=row.id,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        finding_key=row.finding_key,
        verdict=cast(Verdict, row.verdict),
        present=row.present,
        reader=row.reader,
        mode=cast(ReadingMode, row.mode),
        model_digest=row.model_digest,
        probability=row.probability,
        sop_instance_uids=tuple(row.sop_instance_uids),
        reason=row.reason,
        comment=row.comment,
        reason_code=row.reason_code,
        locations=tuple(Location.from_json(item) for item in row.locations),
        laterality=cast("Laterality | None", row.laterality),
        certainty=row.certainty,
        key_images=tuple(row.key_images),
        model_name=row.model_name,
        model_notice=row.model_notice,
        role=cast(StatementRole, row.role),
        session_id=row.session_id,
        after_reveal=row.after_reveal,
        created_utc=row.created_utc,
        supersedes_id=row.supersedes_id,
    )


def correction(row: FeedbackRecord, model: ModelIdentity | None, *, superseded: bool) -> CorrectionRow:
    """Turn a statement and the model that it answers to, if known, into a line for export, which names no patient.

    What was on the screen goes before what is stored now.
    """
    shown = (row.model_name, row.model_notice)
    now = (None, "") if model is None else (model.name, model.notice)
    model_name, model_notice = (now[0] if shown[0] is None else shown[0]), (now[1] if shown[1] is None else shown[1])
    return CorrectionRow(
        feedback_id=row.id,
        series_uid=row.series_uid,
        study_uid=row.study_uid,
        finding_key=row.finding_key,
        verdict=row.verdict,
        present=row.present,
        reason=row.reason,
        comment=row.comment,
        probability=row.probability,
        model_name=model_name,
        model_digest=row.model_digest,
        model_notice=model_notice,
        reader=row.reader,
        created_utc=row.created_utc,
        mode=row.mode,
        sop_instance_uids=row.sop_instance_uids,
        superseded=superseded,
        reason_code=row.reason_code,
        locations=row.locations,
        laterality=row.laterality,
        certainty=row.certainty,
        key_images=row.key_images,
        role=row.role,
        after_reveal=row.after_reveal,
    )
