"""A real store with real series: phantoms written as DICOM, scanned, listed, and reviewed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.dicom.scan import scan
from engine.dicom.series import Series
from engine.phantom.cohort import write_dicom
from engine.phantom.study import PhantomStudy, generate
from engine.store.records import NewFeedback, SeriesRecord, StudyRecord
from engine.store.repository import Store
from tests.trainer.conftest import TINY_SPEC


@dataclass(frozen=True)
class Reviewed:
    """A phantom on disk and in the store."""

    study: PhantomStudy
    folder: Path
    series: Series


def add_phantom(store: Store, folder: Path, seed: int, patient_id: str = "") -> Reviewed:
    """Write a phantom as DICOM, scan it and list it; `patient_id` replaces the one in the files."""
    study = generate(seed, TINY_SPEC)
    write_dicom(study, folder)
    (series,) = scan([folder]).series
    store.upsert_study(
        StudyRecord(
            study_uid=series.study.instance_uid,
            patient_id=patient_id or series.patient.id,
            patient_name=series.patient.name,
            study_date=series.study.date,
            study_description=series.study.description,
        )
    )
    store.upsert_series(
        SeriesRecord(
            series_uid=series.instance_uid,
            study_uid=series.study.instance_uid,
            description=series.description,
            kind=series.kind,
            n_slices=len(series.instances),
            reasons=(),
            source_path=str(folder),
        )
    )
    return Reviewed(study, folder, series)


def state(store: Store, reviewed: Reviewed, said: Mapping[str, bool | None], reader: str = "A") -> None:
    """Record a reader's statements: present, absent, or None for unsure."""
    for key, present in said.items():
        store.add_feedback(
            NewFeedback(
                series_uid=reviewed.series.instance_uid,
                finding_key=key,
                verdict="unsure" if present is None else "disagree",
                present=present,
                reader=reader,
                mode="ai_seen",
                sop_instance_uids=(reviewed.series.instances[0].sop_instance_uid,),
            )
        )
