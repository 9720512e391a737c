"""The tables as SQLAlchemy maps them. Rows of these classes never leave the package.

The migrations create the schema; a test compares them with this module.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, DateTime, Double, ForeignKey, Index, LargeBinary, String, Text
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
    """Readers' statements: rows are only ever added, and triggers of the migration keep it so."""

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("verdict IN ('agree', 'disagree', 'unsure', 'withdrawn')", name="ck_feedback_verdict"),
        CheckConstraint("mode IN ('blind', 'ai_seen')", name="ck_feedback_mode"),
        CheckConstraint("probability >= 0 AND probability <= 1", name="ck_feedback_probability"),
        CheckConstraint("(verdict IN ('agree', 'disagree')) = (present IS NOT NULL)", name="ck_feedback_present"),
        CheckConstraint("verdict <> 'withdrawn' OR supersedes_id IS NOT NULL", name="ck_feedback_withdrawn"),
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
