"""Compare what several readers state, and decide between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.viewmodels.agreement import AgreementReport, Disagreement, ReaderAnswer
from app.viewmodels.statements import Answer, answer_of, presence, verdict_of
from engine.agreement import agreement
from engine.findings.catalogue import Catalogue
from engine.store.records import FeedbackRecord, NewFeedback, SeriesRow, StatementMatrix

if TYPE_CHECKING:
    from engine.store.repository import Store

ANSWERS: Mapping[int, Answer] = {0: "absent", 1: "present", 2: "unsure"}


@dataclass(frozen=True, eq=False)
class Compared:
    """What the store knows of all readers' statements; read on its lane, counted elsewhere."""

    matrix: StatementMatrix
    rows: dict[str, SeriesRow]
    comments: dict[tuple[str, str, str], str]
    consensus: dict[tuple[str, str], FeedbackRecord]
    n_hidden: int


def read_statements(store: Store, reader: str, *, blind_only: bool) -> Compared:
    """Read every reader's statements, but for series that `reader` still reads blind.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    matrix = store.statement_matrix(mode="blind" if blind_only else None)
    series = tuple(dict.fromkeys(uid for uid, _ in matrix.items))
    hidden = {uid for uid in series if reader and _hidden(store, uid, reader)}
    kept = [place for place, (uid, _) in enumerate(matrix.items) if uid not in hidden]
    shown = StatementMatrix(matrix.readers, tuple(matrix.items[place] for place in kept), matrix.values[:, kept])
    comments: dict[tuple[str, str, str], str] = {}
    consensus: dict[tuple[str, str], FeedbackRecord] = {}
    for uid in {shown.items[place][0] for place in _differing(shown)}:
        comments |= {(uid, row.finding_key, row.reader): row.comment for row in store.feedback_history(uid)}
        consensus |= {(uid, key): row for key, row in store.consensus(uid).items()}
    rows = {row.series_uid: row for row in store.list_series()} if consensus or comments else {}
    return Compared(shown, rows, comments, consensus, len(hidden))


def compare(found: Compared, catalogue: Catalogue, *, blind_only: bool, unsure_counts: bool) -> AgreementReport:
    """Count agreement, and list where two readers give different answers."""
    matrix = found.matrix
    counted = agreement(matrix.values, matrix.readers, unsure="category" if unsure_counts else "missing")
    differing = tuple(_disagreement(found, catalogue, place) for place in _differing(matrix))
    return AgreementReport(counted, differing, len(matrix.items), found.n_hidden, blind_only, unsure_counts)


def adjudicate(store: Store, series_uid: str, key: str, answer: Answer, comment: str, reader: str) -> None:
    """Save a decision between readers; it supersedes no reader's own statement.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    store.add_feedback(
        NewFeedback(
            series_uid=series_uid,
            finding_key=key,
            verdict=verdict_of(answer, None),
            present=presence(answer),
            reader=reader,
            mode="ai_seen",
            comment=comment,
            role="adjudication",
        )
    )


def _hidden(store: Store, series_uid: str, reader: str) -> bool:
    session = store.reading_session(series_uid, reader)
    return session is not None and session.hidden


def _differing(matrix: StatementMatrix) -> Iterable[int]:
    """Return the places of items to which readers gave more than one answer."""
    if not matrix.items:
        return ()
    said = np.ma.masked_less(matrix.values, 0)
    spread = np.ma.filled(said.max(axis=0) != said.min(axis=0), fill_value=False)
    return tuple(int(place) for place in np.flatnonzero(spread))


def _disagreement(found: Compared, catalogue: Catalogue, place: int) -> Disagreement:
    uid, key = found.matrix.items[place]
    row = found.rows.get(uid)
    words = () if row is None else (row.patient_name or row.patient_id, _date(row.study_date), row.study_description)
    return Disagreement(
        series_uid=uid,
        finding_key=key,
        finding_label=catalogue[key].label if key in catalogue else key,
        study_text=" · ".join(word for word in words if word) or uid,
        answers=_answers(found, place),
        consensus=_consensus(found.consensus.get((uid, key))),
    )


def _date(dicom_date: str) -> str:
    whole = len(dicom_date) == 8 and dicom_date.isdigit()
    return f"{dicom_date[:4]}-{dicom_date[4:6]}-{dicom_date[6:]}" if whole else dicom_date


def _answers(found: Compared, place: int) -> tuple[ReaderAnswer, ...]:
    uid, key = found.matrix.items[place]
    said = zip(found.matrix.readers, found.matrix.values[:, place].tolist(), strict=True)
    return tuple(
        ReaderAnswer(reader, ANSWERS[value], found.comments.get((uid, key, reader), ""))
        for reader, value in said
        if value in ANSWERS
    )


def _consensus(decided: FeedbackRecord | None) -> ReaderAnswer | None:
    if decided is None:
        return None
    return ReaderAnswer(decided.reader, answer_of(decided.present), decided.comment)
