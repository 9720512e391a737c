"""From what the store and the engine say to what the view-models show."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from app.operations.feedback import Sheet
from app.operations.open_paths import refusal_reasons
from app.viewmodels.library import ModelRow
from app.viewmodels.statements import FeedbackView, answer_of
from app.viewmodels.viewer import SeriesInfo
from app.viewmodels.worklist import SeriesItem
from engine.dicom.series import Series
from engine.findings.catalogue import URGENCY_ORDER, Catalogue, Urgency
from engine.store.records import SeriesRow

if TYPE_CHECKING:
    from app.operations.backbones import BackboneNeed
    from engine.models.library import LibraryEntry

NO_NAME = "(no name)"


def series_item(row: SeriesRow, catalogue: Catalogue) -> SeriesItem:
    """Return a series as the worklist shows it below its study."""
    analysed = row.model_digest is not None
    return SeriesItem(
        series_uid=row.series_uid,
        study_uid=row.study_uid,
        number=row.number,
        description=row.description,
        n_slices=row.n_slices,
        kind=row.kind,
        state=row.state,
        state_text=row.state_message or " ".join(row.reasons),
        n_positive=len(row.positive_keys) if analysed else None,
        urgency=most_urgent(row.positive_keys, catalogue),
    )


def most_urgent(keys: tuple[str, ...], catalogue: Catalogue) -> Urgency | None:
    """Return the highest urgency among findings; None without any."""
    urgencies = [catalogue[key].urgency for key in keys if key in catalogue]
    return min(urgencies, key=URGENCY_ORDER.__getitem__, default=None)


def display_date(dicom_date: str) -> str:
    """Turn ``YYYYMMDD`` into ``YYYY-MM-DD``; anything else stays as it is."""
    if len(dicom_date) == 8 and dicom_date.isdigit():
        return f"{dicom_date[:4]}-{dicom_date[4:6]}-{dicom_date[6:]}"
    return dicom_date


def series_info(series: Series) -> SeriesInfo:
    """Return what the viewer writes beside the picture."""
    return SeriesInfo(
        series_uid=series.instance_uid,
        title=series.patient.display_name or series.patient.id or NO_NAME,
        description=" · ".join(part for part in (series.study.description, series.description) if part),
        banner=" ".join(refusal_reasons(series)),
        slice_thickness_mm=tuple(instance.slice_thickness_mm for instance in series.instances),
    )


def feedback_views(sheet: Sheet) -> dict[str, FeedbackView]:
    """Return what stands on a series, for display."""
    return {
        key: FeedbackView(
            answer=answer_of(record.present),
            reason_code=record.reason_code,
            comment=record.comment,
            reader=record.reader,
            time_text=short_time(record.created_utc),
            laterality=record.laterality,
            certainty=record.certainty,
            key_images=record.key_images,
            locations=record.locations,
            mode=record.mode,
            before=sheet.before.get(key),
            after_reveal=record.after_reveal,
        )
        for key, record in sheet.standing.items()
    }


def short_time(utc: datetime) -> str:
    """Return a time in the reader's own zone, without the date where that is today."""
    local = utc.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def local_time(utc: datetime) -> str:
    """Return a time in the reader's own zone, to the minute."""
    return utc.astimezone().strftime("%Y-%m-%d %H:%M")


def model_row(entry: LibraryEntry, damage: str, need: BackboneNeed) -> ModelRow:
    """Return a line of the model list; `damage` says why the package was refused, empty where it is whole."""
    return ModelRow(
        name=entry.name,
        digest=entry.digest,
        notice=entry.notice,
        active=entry.active,
        bundled=entry.bundled,
        created=local_time(entry.created),
        n_findings=entry.n_findings,
        verify_state="failed" if damage else "verified",
        message=damage,
        backbone=need.display_name,
        weights_here=need.present,
    )
