"""The tables as SQLAlchemy maps them. Rows of these classes never leave the package.

The migrations create the schema; a test compares them with this module.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept as UTC. SQLite has no zones: what it holds is UTC by this type's contract."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert to UTC; a naive time is a bug."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        stored: datetime = value
        return stored.replace(tzinfo=UTC) if stored.tzinfo is None else stored.astimezone(UTC)


class Base(DeclarativeBase):
    """The declarative base."""

    type_annotation_map = {datetime: UtcDateTime, str: Text(), float: Double(), list[str]: JSON()}


class StudyTable(Base):
    """A study and the patient that it belongs to."""

    __tablename__ = "studies"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(String(64), unique=True)
    patient_id: Mapped[str]
    patient_name: Mapped[str]
    patient_birth_date: Mapped[str]
    patient_sex: Mapped[str]
    study_date: Mapped[str]
    study_description: Mapped[str]
    accession_number: Mapped[str]
    search_text: Mapped[str]
    added_utc: Mapped[datetime]


class SeriesTable(Base):
    """A series, where it was read from, and how far its analysis is."""

    __tablename__ = "series"
    __table_args__ = (
        CheckConstraint("kind IN ('volume', 'stack', 'refused')", name="ck_series_kind"),
        CheckConstraint("state IN ('new', 'analysing', 'analysed', 'failed')", name="ck_series_state"),
        Index("ix_series_study", "study_uid"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_uid: Mapped[str] = mapped_column(String(64), unique=True)
    study_uid: Mapped[str] = mapped_column(String(64), ForeignKey("studies.study_uid", name="fk_series_study"))
    number: Mapped[int | None]
    description: Mapped[str]
    modality: Mapped[str]
    manufacturer: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16))
    n_slices: Mapped[int]
    reasons: Mapped[list[str]]
    source_path: Mapped[str]
    search_text: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    state_message: Mapped[str]
    state_utc: Mapped[datetime]
    added_utc: Mapped[datetime]
    removed_utc: Mapped[datetime | None]


class AnalysisTable(Base):
    """One run of one model on one series. Runs are kept; the newest one counts."""

    __tablename__ = "analyses"
    __table_args__ = (
        Index("ix_analyses_series_model", "series_uid", "model_digest", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_uid: Mapped[str] = mapped_column(String(64), ForeignKey("series.series_uid", name="fk_analyses_series"))
    model_name: Mapped[str]
    model_digest: Mapped[str] = mapped_column(String(64))
    document: Mapped[str]
    arrays: Mapped[bytes] = mapped_column(LargeBinary)
    positive_keys: Mapped[list[str]]
    created_utc: Mapped[datetime]


class FeedbackTable(Base):
    """Readers' statements: rows are only ever added, and triggers of the migration keep it so.

    The columns after `supersedes_id` came with revision 0002. What earlier rows cannot know is NULL in them.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("verdict IN ('agree', 'disagree', 'unsure', 'withdrawn')", name="ck_feedback_verdict"),
        CheckConstraint("mode IN ('blind', 'ai_seen')", name="ck_feedback_mode"),
        CheckConstraint("probability >= 0 AND probability <= 1", name="ck_feedback_probability"),
        CheckConstraint("(verdict IN ('agree', 'disagree')) = (present IS NOT NULL)", name="ck_feedback_present"),
        CheckConstraint("verdict <> 'withdrawn' OR supersedes_id IS NOT NULL", name="ck_feedback_withdrawn"),
        CheckConstraint("role IN ('reading', 'adjudication')", name="ck_feedback_role"),
        CheckConstraint(
            "laterality IN ('left', 'right', 'bilateral', 'midline', 'not_applicable')", name="ck_feedback_laterality"
        ),
        CheckConstraint("certainty >= 0 AND certainty <= 100", name="ck_feedback_certainty"),
        Index("ix_feedback_series_key", "series_uid", "finding_key", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(String(64))
    series_uid: Mapped[str] = mapped_column(String(64), ForeignKey("series.series_uid", name="fk_feedback_series"))
    finding_key: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[str] = mapped_column(String(16))
    present: Mapped[bool | None]
    reader: Mapped[str]
    mode: Mapped[str] = mapped_column(String(16))
    model_digest: Mapped[str | None] = mapped_column(String(64))
    probability: Mapped[float | None]
    sop_instance_uids: Mapped[list[str]]
    reason: Mapped[str]
    comment: Mapped[str]
    created_utc: Mapped[datetime]
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("feedback.id", name="fk_feedback_supersedes"))
    role: Mapped[str] = mapped_column(String(16), server_default="reading")
    reason_code: Mapped[str] = mapped_column(Text(), server_default="")
    laterality: Mapped[str | None] = mapped_column(String(16))
    certainty: Mapped[int | None]
    locations: Mapped[list[Any]] = mapped_column(JSON(), server_default="[]")
    key_images: Mapped[list[str]] = mapped_column(JSON(), server_default="[]")
    model_name: Mapped[str | None]
    model_notice: Mapped[str | None]
    session_id: Mapped[int | None] = mapped_column(ForeignKey("read_sessions.id", name="fk_feedback_session"))
    after_reveal: Mapped[bool | None]


class FeatureTable(Base):
    """The pooled feature of the newest analysis of each series and model, as little-endian float32."""

    __tablename__ = "features"
    __table_args__ = (
        UniqueConstraint("series_uid", "model_digest", name="uq_features_series_model"),
        Index("ix_features_model", "model_digest", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_uid: Mapped[str] = mapped_column(String(64), ForeignKey("series.series_uid", name="fk_features_series"))
    model_digest: Mapped[str] = mapped_column(String(64))
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id", name="fk_features_analysis"))
    dimension: Mapped[int]
    vector: Mapped[bytes] = mapped_column(LargeBinary)


class ReaderTable(Base):
    """Who reads. Statements carry the name, so a reader is deactivated and never renamed or deleted."""

    __tablename__ = "readers"
    __table_args__ = (
        CheckConstraint(
            "role IN ('radiologist', 'resident', 'researcher', 'adjudicator', 'other')", name="ck_readers_role"
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text(), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    initials: Mapped[str] = mapped_column(String(16))
    created_utc: Mapped[datetime]
    deactivated_utc: Mapped[datetime | None]


class ReadSessionTable(Base):
    """One reader's first and only reading of one series; what happened in it is in `read_events`."""

    __tablename__ = "read_sessions"
    __table_args__ = (
        CheckConstraint("mode IN ('blind', 'ai_seen')", name="ck_read_sessions_mode"),
        UniqueConstraint("series_uid", "reader", name="uq_read_sessions_series_reader"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_uid: Mapped[str] = mapped_column(String(64), ForeignKey("series.series_uid", name="fk_read_sessions_series"))
    reader: Mapped[str]
    mode: Mapped[str] = mapped_column(String(16))
    created_utc: Mapped[datetime]


class ReadEventTable(Base):
    """What a reader did in a session, and when: rows are only ever added."""

    __tablename__ = "read_events"
    __table_args__ = (
        CheckConstraint(
            "event IN ('started', 'committed', 'revealed', 'blind_off', 'finished', 'reopened')",
            name="ck_read_events_event",
        ),
        Index("ix_read_events_session", "session_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("read_sessions.id", name="fk_read_events_session"))
    event: Mapped[str] = mapped_column(String(16))
    created_utc: Mapped[datetime]


class WorklistTable(Base):
    """One line of the worklist a study: derived from the other tables in the transaction that changes them.

    `patient_order`, `description_order` and `search_text` are folded: they are compared, never shown.
    """

    __tablename__ = "worklist"
    __table_args__ = (
        Index("ix_worklist_priority", "priority", "study_date", "id"),
        Index("ix_worklist_date", "study_date", "id"),
        Index("ix_worklist_patient", "patient_order", "id"),
        Index("ix_worklist_description", "description_order", "id"),
        Index("ix_worklist_state", "state_rank", "priority", "study_date", "id"),
    )

    id: Mapped[int] = mapped_column(ForeignKey("studies.id", name="fk_worklist_study"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    state_rank: Mapped[int]
    state_message: Mapped[str]
    priority: Mapped[int]
    urgency: Mapped[int | None]
    n_positive: Mapped[int | None]
    positive_keys: Mapped[list[str]]
    n_series: Mapped[int]
    series_uid: Mapped[str]
    study_date: Mapped[str]
    patient_order: Mapped[str]
    description_order: Mapped[str]
    search_text: Mapped[str]


class FindingRankTable(Base):
    """How urgent the catalogue of the application that last opened the store holds each finding to be."""

    __tablename__ = "finding_ranks"

    finding_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    rank: Mapped[int]


class QueueTable(Base):
    """Series that wait for their analysis, in order of `position`."""

    __tablename__ = "analysis_queue"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'running', 'failed')", name="ck_analysis_queue_state"),
        Index("ix_analysis_queue_position", "position"),
    )

    series_uid: Mapped[str] = mapped_column(
        String(64), ForeignKey("series.series_uid", name="fk_analysis_queue_series"), primary_key=True
    )
    position: Mapped[float]
    state: Mapped[str] = mapped_column(String(16))
    message: Mapped[str]
    attempts: Mapped[int]
    package_digest: Mapped[str | None] = mapped_column(String(64))
    owner: Mapped[str | None] = mapped_column(String(64))
    requested_utc: Mapped[datetime]


class SavedFilterTable(Base):
    """A named query of the worklist; an empty reader means everybody's."""

    __tablename__ = "saved_filters"

    reader: Mapped[str] = mapped_column(Text(), primary_key=True)
    name: Mapped[str] = mapped_column(Text(), primary_key=True)
    query: Mapped[dict[str, Any]] = mapped_column(JSON())
