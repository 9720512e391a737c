"""What goes into and comes out of the store around the reading: readers, sessions, worklist, queue. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engine.findings.catalogue import Urgency
from engine.store.records import ReadingMode

ReaderRole = Literal["radiologist", "resident", "researcher", "adjudicator", "other"]
ReadEventKind = Literal["started", "committed", "revealed", "blind_off", "finished", "reopened"]
StudyState = Literal["new", "analysing", "analysed", "in_review", "reviewed", "failed"]
WorklistOrder = Literal["priority", "date", "patient", "description", "state", "added"]
QueueState = Literal["waiting", "running", "failed"]

STUDY_STATES: tuple[StudyState, ...] = ("new", "analysing", "failed", "analysed", "in_review", "reviewed")
READER_ROLES: tuple[ReaderRole, ...] = ("radiologist", "resident", "researcher", "adjudicator", "other")


@dataclass(frozen=True)
class Reader:
    """Who reads. Statements carry `name`; it never changes. A reader who has left is deactivated, not deleted."""

    name: str
    role: ReaderRole
    initials: str
    created_utc: datetime
    deactivated_utc: datetime | None


@dataclass(frozen=True)
class ReadEvent:
    """One entry of a session's log."""

    id: int
    session_id: int
    event: ReadEventKind
    created_utc: datetime


@dataclass(frozen=True)
class ReadSession:
    """One reader's reading of one series: there is one, since a reading can be blind only once.

    Attributes
    ----------
    mode
        How it began: ``blind``, the model's output hidden, or ``ai_seen``.
    committed_utc
        When a blind reader committed.
    revealed_utc
        Since when the reader may have seen the model's output; None while it is hidden.
    finished_utc
        When the reader said that the study is read; None while it is not, or again not.
    """

    id: int
    series_uid: str
    reader: str
    mode: ReadingMode
    started_utc: datetime
    committed_utc: datetime | None
    revealed_utc: datetime | None
    finished_utc: datetime | None

    @property
    def hidden(self) -> bool:
        """Whether the model's output must not be shown to the reader."""
        return self.revealed_utc is None


@dataclass(frozen=True)
class WorklistQuery:
    """What the worklist shows, in which order, and which part of it.

    Attributes
    ----------
    search
        Words that must all occur in patient, study or series, whatever their case, accents and width.
    states, urgencies
        Only these; empty for all. `urgencies` looks at the most urgent positive finding.
    positive_only
        Only studies with a positive finding.
    date_from, date_to
        ``YYYYMMDD``, both included; empty for no limit.
    """

    search: str = ""
    states: tuple[StudyState, ...] = ()
    urgencies: tuple[Urgency, ...] = ()
    positive_only: bool = False
    date_from: str = ""
    date_to: str = ""
    order: WorklistOrder = "priority"
    descending: bool = True
    offset: int = 0
    limit: int = 100


@dataclass(frozen=True)
class WorklistRow:
    """One study.

    Attributes
    ----------
    series_uid
        The series to open: analysed before not, volume before stack, more slices before fewer.
    state_message
        Why it failed, or what else there is to say about the state.
    priority
        Greater is more pressing: the most urgent positive finding, then how many are as urgent; 0 without one.
    urgency
        Of the most urgent positive finding; None without one.
    n_positive
        None without an analysis.
    """

    study_uid: str
    series_uid: str
    patient_name: str
    patient_id: str
    study_date: str
    study_description: str
    accession_number: str
    n_series: int
    state: StudyState
    state_message: str
    priority: int
    urgency: Urgency | None
    n_positive: int | None
    positive_keys: tuple[str, ...]
    added_utc: datetime


@dataclass(frozen=True)
class WorklistPage:
    """A part of the worklist; `total` counts all that match."""

    rows: tuple[WorklistRow, ...]
    total: int
    offset: int


@dataclass(frozen=True)
class SavedFilter:
    """A named query; `reader` is empty where it is everybody's."""

    name: str
    reader: str
    query: WorklistQuery


@dataclass(frozen=True)
class QueueItem:
    """A series that waits for its analysis, is in it, or failed.

    Attributes
    ----------
    message
        Why it failed.
    attempts
        How often it was begun.
    package_digest
        The model; None for the one that is active when its turn comes.
    mine
        Whether this opening of the store runs it.
    """

    series_uid: str
    state: QueueState
    message: str
    attempts: int
    package_digest: str | None
    requested_utc: datetime
    mine: bool
