"""Studies near one in the space of a model's pooled features, read in chunks so that memory does not grow."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from engine.analysis import Analysis
from engine.errors import StoreError
from engine.store.feedback import standing_present
from engine.store.mapping import feedback_rows
from engine.store.records import SimilarStudies, SimilarStudy
from engine.store.tables import AnalysisTable, FeatureTable, FeedbackTable, SeriesTable, StudyTable

# 1,024 vectors of 1,280 floats are 5 MiB.
CHUNK = 1024
_STORED = np.dtype("<f4")


def keep_feature(session: Session, analysis: Analysis, analysis_id: int) -> None:
    """Put the newest pooled feature of a series and model in the place of the one before, if any."""
    mine = (
        FeatureTable.series_uid == analysis.series_instance_uid,
        FeatureTable.model_digest == analysis.model.digest,
    )
    session.execute(delete(FeatureTable).where(*mine))
    if analysis.pooled_feature is None:
        return
    vector = np.asarray(analysis.pooled_feature, dtype=_STORED).ravel()
    session.add(
        FeatureTable(
            series_uid=analysis.series_instance_uid,
            model_digest=analysis.model.digest,
            analysis_id=analysis_id,
            dimension=vector.size,
            vector=vector.tobytes(),
        )
    )


def similar(
    session: Session, name: str, series_uid: str, package_digest: str, limit: int, *, same_patient: bool
) -> SimilarStudies:
    """Return the studies whose pooled feature points most nearly the same way (cosine)."""
    asked = _asked(session, name, series_uid, package_digest)
    study = _study_of(session, series_uid)
    search = _Search(study.study_uid, "" if same_patient else study.patient_id, limit)
    for uids, studies, patients, vectors_ND in _chunks(session, package_digest, asked.size):
        search.take(uids, studies, patients, _cosines(vectors_ND, asked))
    return SimilarStudies(
        studies=tuple(_similar_study(session, uid, package_digest, value) for uid, value in search.best()),
        n_compared=search.n_compared,
        n_excluded=search.n_excluded,
        same_patient=same_patient,
    )


@dataclass
class _Search:
    """The best series of each study so far, `limit` studies at most."""

    study_uid: str
    patient_id: str
    limit: int
    n_compared: int = 0
    n_excluded: int = 0
    found: dict[str, tuple[float, str]] = field(default_factory=dict)

    def take(self, uids: list[str], studies: list[str], patients: list[str], cosines: NDArray[np.float32]) -> None:
        others = np.array(
            [
                study != self.study_uid and not (self.patient_id and patient == self.patient_id)
                for study, patient in zip(studies, patients, strict=True)
            ]
        )
        self.n_compared += int(others.sum())
        self.n_excluded += int((~others).sum())
        for index in np.flatnonzero(others & (cosines >= self._least())):
            value, uid = float(cosines[index]), uids[index]
            if value > self.found.get(studies[index], (-np.inf, ""))[0]:
                self.found[studies[index]] = (value, uid)
        if len(self.found) > self.limit:
            self.found = dict(heapq.nlargest(self.limit, self.found.items(), key=lambda item: item[1][0]))

    def _least(self) -> float:
        return min(value for value, _ in self.found.values()) if len(self.found) >= self.limit else -np.inf

    def best(self) -> list[tuple[str, float]]:
        return [(uid, value) for value, uid in sorted(self.found.values(), reverse=True)]


def _asked(session: Session, name: str, series_uid: str, package_digest: str) -> NDArray[np.float32]:
    blob = session.scalar(
        select(FeatureTable.vector).where(
            FeatureTable.series_uid == series_uid, FeatureTable.model_digest == package_digest
        )
    )
    if blob is None:
        raise StoreError(
            f"The store {name} holds no pooled feature of series {series_uid} by the model {package_digest[:12]}, "
            "so no similar studies can be looked for.",
            hint="Analyse the series again with this model.",
            code="store.no_feature",
        )
    return np.frombuffer(blob, dtype=_STORED)


def _study_of(session: Session, series_uid: str) -> StudyTable:
    query = select(StudyTable).join(SeriesTable, SeriesTable.study_uid == StudyTable.study_uid)
    return session.scalars(query.where(SeriesTable.series_uid == series_uid)).one()


def _chunks(
    session: Session, package_digest: str, dimension: int
) -> Iterator[tuple[list[str], list[str], list[str], NDArray[np.float32]]]:
    """Yield series, studies, patients and vectors (N, D) in the order of their numbers, `CHUNK` at most."""
    query = (
        select(
            FeatureTable.id, FeatureTable.series_uid, SeriesTable.study_uid, StudyTable.patient_id, FeatureTable.vector
        )
        .join(SeriesTable, SeriesTable.series_uid == FeatureTable.series_uid)
        .join(StudyTable, StudyTable.study_uid == SeriesTable.study_uid)
        .where(FeatureTable.model_digest == package_digest, FeatureTable.dimension == dimension)
        .order_by(FeatureTable.id)
        .limit(CHUNK)
    )
    last = 0
    while rows := session.execute(query.where(FeatureTable.id > last)).all():
        last = rows[-1].id
        vectors_ND = np.frombuffer(b"".join(row.vector for row in rows), dtype=_STORED).reshape(len(rows), dimension)
        yield [row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows], vectors_ND


def _cosines(vectors_ND: NDArray[np.float32], asked_D: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths_N = np.linalg.norm(vectors_ND, axis=1) * np.linalg.norm(asked_D)
    cosines_N: NDArray[np.float32] = np.zeros(len(vectors_ND), dtype=np.float32)
    np.divide(vectors_ND @ asked_D, lengths_N, out=cosines_N, where=lengths_N > 0)
    return cosines_N


def _similar_study(session: Session, series_uid: str, package_digest: str, similarity: float) -> SimilarStudy:
    study = _study_of(session, series_uid)
    newest = select(func.max(AnalysisTable.id)).where(
        AnalysisTable.series_uid == series_uid, AnalysisTable.model_digest == package_digest
    )
    positive = session.scalar(select(AnalysisTable.positive_keys).where(AnalysisTable.id == newest.scalar_subquery()))
    return SimilarStudy(
        series_uid=series_uid,
        study_uid=study.study_uid,
        similarity=min(1.0, max(-1.0, similarity)),
        patient_name=study.patient_name,
        patient_id=study.patient_id,
        study_date=study.study_date,
        study_description=study.study_description,
        positive_keys=tuple(positive or ()),
        stated_present=standing_present(feedback_rows(session, FeedbackTable.series_uid == series_uid)),
    )
