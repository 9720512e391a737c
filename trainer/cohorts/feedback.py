"""The readers' own studies: standing statements from the store, and the series that they were made on.

What a reader said is present or absent counts; everything else is unknown and stays masked. Silence is not agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.dicom.series import Series, require_analysable
from engine.errors import DicomError, HeadCTError, TrainingError
from engine.geometry import Volume
from engine.progress import NULL_CONTEXT, CancelOnly, Context
from engine.store.records import CorrectionRow, SeriesRow
from engine.store.repository import Store
from trainer.cohorts.keys import header_patient_key
from trainer.datasets import UNKNOWN


@dataclass(frozen=True, eq=False)
class ReviewedSeries:
    """One series with at least one statement.

    Attributes
    ----------
    patient_key
        A hash, which only serves to keep a patient's studies on one side of the split.
    sop_instance_uids
        The slices that the statements refer to.
    labels_C
        int8 (C,): 1 present, 0 absent, -1 unknown.
    """

    series_uid: str
    patient_key: str
    source_path: Path
    sop_instance_uids: frozenset[str]
    labels_C: NDArray[np.int8]

    def heldout(self, fraction: float) -> bool:
        """Whether the patient belongs to the part that is never trained on: by hash, so once and for all."""
        return int(self.patient_key[:8], 16) / 2**32 < fraction


@dataclass(frozen=True, eq=False)
class Feedback:
    """Everything that the store knows for a model, and how much of it cannot be used."""

    series: tuple[ReviewedSeries, ...]
    n_statements: int
    n_unsure: int
    n_conflicting: int
    n_not_covered: int


def read_feedback(store: str, keys: Sequence[str], readers: Sequence[str] | None = None) -> Feedback:
    """Read the standing statements of a store as labels of a model's findings.

    Raises
    ------
    TrainingError
        If there is not one usable statement in the store.
    StoreError
        If the store is not there or cannot be read.
    """
    with Store.open(store, read_only=True) as opened:
        name = opened.name  # Unlike `store` never a password.
        statements = opened.corrections()
        # A series that was taken off the list keeps what was said about it.
        uids = sorted({item.series_uid for item in statements})
        found = [opened.get_series(uid, include_removed=True) for uid in uids]
    rows = {row.series_uid: row for row in found if row is not None}
    wanted = [item for item in statements if readers is None or item.reader in readers]
    feedback = gather(wanted, rows, keys)
    if not feedback.series:
        raise TrainingError(
            f"The store {name} holds no statement to learn from: {len(wanted)} statements, "
            f"{feedback.n_unsure} unsure, {feedback.n_conflicting} contradicted, "
            f"{feedback.n_not_covered} on findings that the model does not predict.",
            hint="Review studies first: agree or disagree with findings of the model.",
            code="training.no_feedback",
        )
    return feedback


def gather(statements: Sequence[CorrectionRow], rows: Mapping[str, SeriesRow], keys: Sequence[str]) -> Feedback:
    """Turn standing statements into labels, series by series in the order of their identifiers.

    Where readers were adjudicated, the adjudication counts alone.
    """
    column = {key: index for index, key in enumerate(keys)}
    statements = _decided(statements)
    covered = [item for item in statements if item.finding_key in column]
    definite = [item for item in covered if item.present is not None]
    by_series: dict[str, list[CorrectionRow]] = {}
    for item in definite:
        by_series.setdefault(item.series_uid, []).append(item)
    n_conflicting = 0
    series: list[ReviewedSeries] = []
    for uid in sorted(by_series):
        labels_C, conflicts = _labels(by_series[uid], column)
        n_conflicting += conflicts
        if (labels_C != UNKNOWN).any():
            series.append(_reviewed(rows[uid], by_series[uid], labels_C))
    return Feedback(
        series=tuple(series),
        n_statements=len(definite),
        n_unsure=len(covered) - len(definite),
        n_conflicting=n_conflicting,
        n_not_covered=len(statements) - len(covered),
    )


def _decided(statements: Sequence[CorrectionRow]) -> list[CorrectionRow]:
    """Leave out what was decided otherwise: the newest adjudication of a finding stands for all that was said on it."""
    newest = {(item.series_uid, item.finding_key): item for item in statements if item.role == "adjudication"}
    return [item for item in statements if newest.get((item.series_uid, item.finding_key), item) is item]


def _labels(statements: Iterable[CorrectionRow], column: Mapping[str, int]) -> tuple[NDArray[np.int8], int]:
    said: dict[str, set[bool]] = {}
    for item in statements:
        said.setdefault(item.finding_key, set()).add(bool(item.present))
    labels_C = np.full(len(column), UNKNOWN, dtype=np.int8)
    n_conflicting = 0
    for key, answers in said.items():
        if len(answers) == 1:
            labels_C[column[key]] = int(answers.pop())
        else:
            n_conflicting += 1
    return labels_C, n_conflicting


def _reviewed(row: SeriesRow, statements: Iterable[CorrectionRow], labels_C: NDArray[np.int8]) -> ReviewedSeries:
    return ReviewedSeries(
        series_uid=row.series_uid,
        patient_key=header_patient_key(row.patient_id, row.study_uid),
        source_path=Path(row.source_path),
        sop_instance_uids=frozenset(uid for item in statements for uid in item.sop_instance_uids),
        labels_C=labels_C,
    )


def read_reviewed(reviewed: ReviewedSeries, context: Context = NULL_CONTEXT) -> Volume:
    """Read a reviewed series from where it was opened.

    Raises
    ------
    HeadCTError
        If it is gone, has changed since the review, or must not be analysed.
    """
    inner = CancelOnly(context)
    if not reviewed.source_path.exists():
        raise _source_error(reviewed, "is not there any more", "training.source_missing")
    series = _find(reviewed, scan([reviewed.source_path], inner).series)
    require_analysable(series)
    if not reviewed.sop_instance_uids <= {instance.sop_instance_uid for instance in series.instances}:
        raise _source_error(reviewed, "has changed: slices that were reviewed are missing", "training.source_changed")
    return read_series(series, inner)


def _find(reviewed: ReviewedSeries, found: Iterable[Series]) -> Series:
    for series in found:
        if series.instance_uid == reviewed.series_uid:
            return series
    raise _source_error(reviewed, "does not hold the reviewed series any more", "training.source_changed")


def _source_error(reviewed: ReviewedSeries, what: str, code: str) -> HeadCTError:
    return DicomError(
        f"{reviewed.source_path} {what}.",
        hint="Put the series back where it was, or open and review it again.",
        code=code,
    )
