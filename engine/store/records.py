"""What goes into the store and comes out of it: frozen values, no database rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.store.locations import Location

SeriesState = Literal["new", "analysing", "analysed", "failed"]
SeriesKind = Literal["volume", "stack", "refused"]
ReadingMode = Literal["blind", "ai_seen"]
GivenVerdict = Literal["agree", "disagree", "unsure"]
Verdict = Literal["agree", "disagree", "unsure", "withdrawn"]
StatementRole = Literal["reading", "adjudication"]
Laterality = Literal["left", "right", "bilateral", "midline", "not_applicable"]


@dataclass(frozen=True)
class StudyRecord:
    """A study as the list shows it. Holds patient identity: it stays in the store and is never exported."""

    study_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_description: str
    accession_number: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""


@dataclass(frozen=True)
class SeriesRecord:
    """A series as it was scanned.

    Attributes
    ----------
    reasons
        Why it is no volume, or why the classifier does not take it; empty where nothing is against it.
    source_path
        The folder, file or archive that it was read from.
    """

    series_uid: str
    study_uid: str
    description: str
    kind: SeriesKind
    n_slices: int
    reasons: tuple[str, ...]
    source_path: str
    number: int | None = None
    modality: str = "CT"
    manufacturer: str = ""


@dataclass(frozen=True)
class SeriesRow:
    """One line of the study list: series, study and newest analysis.

    Attributes
    ----------
    state_message
        Why the state is what it is: the failure, or the note that an analysis was interrupted.
    model_name, model_digest, analysed_utc
        Of the newest analysis; None where there is none.
    positive_keys
        Findings above their operating point in the newest analysis, in catalogue order.
    """

    series_uid: str
    study_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_description: str
    description: str
    number: int | None
    modality: str
    manufacturer: str
    kind: SeriesKind
    n_slices: int
    reasons: tuple[str, ...]
    source_path: str
    state: SeriesState
    state_message: str
    model_name: str | None
    model_digest: str | None
    analysed_utc: datetime | None
    positive_keys: tuple[str, ...]


@dataclass(frozen=True)
class NewFeedback:
    """A reader's statement about one finding of one series, not yet stored.

    Attributes
    ----------
    verdict
        What the reader answered to the model.
    present
        The reader's own statement, needed with agree and disagree, None with unsure. Retraining uses this
        alone, so that it never depends on what a model said.
    model_digest, probability
        The model that was asked and the probability that it gave; None where no analysis was there.
    sop_instance_uids
        The acquired slices that the statement refers to.
    mode
        Whether the reader had seen the model's answer.
    reason_code
        From the list in `engine.store.reasons` that fits the statement, or empty; `reason` is free text.
    locations
        The reader's marks on slices.
    laterality, certainty
        The reader's own; certainty in percent, 0 to 100. None where not said.
    key_images
        SOP Instance UIDs of the slices that the reader would show to others.
    model_name, model_notice
        The model and its notice as they stood on the screen; None lets the store take them from the analysis by
        `model_digest`.
    role
        An adjudication decides between readers. It supersedes no reader's statement.
    """

    series_uid: str
    finding_key: str
    verdict: GivenVerdict
    present: bool | None
    reader: str
    mode: ReadingMode
    model_digest: str | None = None
    probability: float | None = None
    sop_instance_uids: tuple[str, ...] = ()
    reason: str = ""
    comment: str = ""
    reason_code: str = ""
    locations: tuple[Location, ...] = ()
    laterality: Laterality | None = None
    certainty: int | None = None
    key_images: tuple[str, ...] = ()
    model_name: str | None = None
    model_notice: str | None = None
    role: StatementRole = "reading"


@dataclass(frozen=True)
class FeedbackRecord:
    """A stored statement. It is never changed or deleted; a later row may supersede it through `supersedes_id`.

    Attributes
    ----------
    session_id, after_reveal
        The reader's session on the series, and whether the model's output had been revealed in it; None where the
        statement was made outside a session.
    """

    id: int
    study_uid: str
    series_uid: str
    finding_key: str
    verdict: Verdict
    present: bool | None
    reader: str
    mode: ReadingMode
    model_digest: str | None
    probability: float | None
    sop_instance_uids: tuple[str, ...]
    reason: str
    comment: str
    reason_code: str
    locations: tuple[Location, ...]
    laterality: Laterality | None
    certainty: int | None
    key_images: tuple[str, ...]
    model_name: str | None
    model_notice: str | None
    role: StatementRole
    session_id: int | None
    after_reveal: bool | None
    created_utc: datetime
    supersedes_id: int | None


@dataclass(frozen=True)
class CorrectionRow:
    """One statement for export and retraining. It has no field for patient identity; `comment` is free text.

    Attributes
    ----------
    model_notice
        What must stand beside the model's `probability`: as it was shown, or else as an analysis by that model has it;
        empty if neither is known.
    superseded
        True for every row that is not the reader's standing statement on the finding: replaced or undone rows,
        and the withdrawals themselves.
    """

    feedback_id: int
    series_uid: str
    study_uid: str
    finding_key: str
    verdict: Verdict
    present: bool | None
    reason: str
    comment: str
    probability: float | None
    model_name: str | None
    model_digest: str | None
    model_notice: str
    reader: str
    created_utc: datetime
    mode: ReadingMode
    sop_instance_uids: tuple[str, ...]
    superseded: bool
    reason_code: str = ""
    locations: tuple[Location, ...] = ()
    laterality: Laterality | None = None
    certainty: int | None = None
    key_images: tuple[str, ...] = ()
    role: StatementRole = "reading"
    after_reveal: bool | None = None


@dataclass(frozen=True, eq=False)
class StatementMatrix:
    """What each reader stated on each finding of each series, for agreement statistics.

    Attributes
    ----------
    readers
        R names.
    items
        I pairs of series UID and finding key.
    values
        int8 (R, I): 1 present, 0 absent, 2 unsure, -1 nothing said.
    """

    readers: tuple[str, ...]
    items: tuple[tuple[str, str], ...]
    values: NDArray[np.int8]


@dataclass(frozen=True)
class SimilarStudy:
    """A study whose pooled feature is near. Holds patient identity, like the study list.

    Attributes
    ----------
    series_uid
        The nearest series of the study.
    similarity
        Cosine of the angle between the pooled features, -1 to 1.
    positive_keys
        Of the newest analysis by the same model.
    stated_present
        Findings that readers state there; where an adjudication stands, it counts alone.
    """

    series_uid: str
    study_uid: str
    similarity: float
    patient_name: str
    patient_id: str
    study_date: str
    study_description: str
    positive_keys: tuple[str, ...]
    stated_present: tuple[str, ...]


@dataclass(frozen=True)
class SimilarStudies:
    """The nearest studies, most similar first, and out of how many.

    Attributes
    ----------
    n_compared, n_excluded
        Series that were compared, and series left out: those of the same study always, and those of the same
        patient unless `same_patient` asks for them.
    """

    studies: tuple[SimilarStudy, ...]
    n_compared: int
    n_excluded: int
    same_patient: bool


def stated_presence(verdict: GivenVerdict, positive: bool | None) -> bool | None:
    """Turn an answer to the model into the reader's own statement.

    Parameters
    ----------
    verdict
        The answer.
    positive
        What the model said; None where it said nothing, and then agree means that the finding is there and
        disagree that it is not.

    Returns
    -------
    bool or None
        Whether the reader holds the finding to be present; None if unsure.
    """
    if verdict == "unsure":
        return None
    model_says = True if positive is None else positive
    return model_says if verdict == "agree" else not model_says
