"""The first store: studies, series, analyses, and feedback that only grows.

A released migration is never edited: it says what was true then, so it imports nothing of today's tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
UID = sa.String(64)
WORD = sa.String(16)

SQLITE_TRIGGERS = (
    "CREATE TRIGGER feedback_no_update BEFORE UPDATE ON feedback BEGIN "
    "SELECT RAISE(ABORT, 'feedback is append-only'); END",
    "CREATE TRIGGER feedback_no_delete BEFORE DELETE ON feedback BEGIN "
    "SELECT RAISE(ABORT, 'feedback is append-only'); END",
    # INSERT OR REPLACE deletes the old row without firing the trigger above.
    "CREATE TRIGGER feedback_no_replace BEFORE INSERT ON feedback "
    "WHEN EXISTS (SELECT 1 FROM feedback WHERE id = NEW.id) BEGIN "
    "SELECT RAISE(ABORT, 'feedback is append-only'); END",
)
POSTGRESQL_TRIGGERS = (
    "CREATE FUNCTION feedback_is_append_only() RETURNS trigger AS $$ BEGIN "
    "RAISE EXCEPTION 'feedback is append-only'; END $$ LANGUAGE plpgsql",
    "CREATE TRIGGER feedback_no_change BEFORE UPDATE OR DELETE ON feedback "
    "FOR EACH ROW EXECUTE FUNCTION feedback_is_append_only()",
    "CREATE TRIGGER feedback_no_truncate BEFORE TRUNCATE ON feedback "
    "FOR EACH STATEMENT EXECUTE FUNCTION feedback_is_append_only()",
)


def upgrade() -> None:
    _studies()
    _series()
    _analyses()
    _feedback()
    dialect = context.get_context().dialect.name
    for statement in {"sqlite": SQLITE_TRIGGERS, "postgresql": POSTGRESQL_TRIGGERS}[dialect]:
        op.execute(statement)


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_uid", UID, nullable=False, unique=True),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Text(), nullable=False),
        sa.Column("patient_sex", sa.Text(), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("study_description", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("added_utc", TIME, nullable=False),
        sqlite_autoincrement=True,
    )


def _series() -> None:
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("series_uid", UID, nullable=False, unique=True),
        sa.Column("study_uid", UID, sa.ForeignKey("studies.study_uid", name="fk_series_study"), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("manufacturer", sa.Text(), nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("n_slices", sa.Integer(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("source_path", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("state_message", sa.Text(), nullable=False),
        sa.Column("state_utc", TIME, nullable=False),
        sa.Column("added_utc", TIME, nullable=False),
        sa.Column("removed_utc", TIME),
        sa.CheckConstraint("kind IN ('volume', 'stack', 'refused')", name="ck_series_kind"),
        sa.CheckConstraint("state IN ('new', 'analysing', 'analysed', 'failed')", name="ck_series_state"),
        sqlite_autoincrement=True,
    )


def _analyses() -> None:
    op.create_table(
        "analyses",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("series_uid", UID, sa.ForeignKey("series.series_uid", name="fk_analyses_series"), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_digest", UID, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("arrays", sa.LargeBinary(), nullable=False),
        sa.Column("positive_keys", sa.JSON(), nullable=False),
        sa.Column("created_utc", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_analyses_series_model", "analyses", ["series_uid", "model_digest", "id"])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_uid", UID, nullable=False),
        sa.Column("series_uid", UID, sa.ForeignKey("series.series_uid", name="fk_feedback_series"), nullable=False),
        sa.Column("finding_key", UID, nullable=False),
        sa.Column("verdict", WORD, nullable=False),
        sa.Column("present", sa.Boolean()),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("mode", WORD, nullable=False),
        sa.Column("model_digest", UID),
        sa.Column("probability", sa.Double()),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_utc", TIME, nullable=False),
        sa.Column("supersedes_id", sa.Integer(), sa.ForeignKey("feedback.id", name="fk_feedback_supersedes")),
        sa.CheckConstraint("verdict IN ('agree', 'disagree', 'unsure', 'withdrawn')", name="ck_feedback_verdict"),
        sa.CheckConstraint("mode IN ('blind', 'ai_seen')", name="ck_feedback_mode"),
        sa.CheckConstraint("probability >= 0 AND probability <= 1", name="ck_feedback_probability"),
        sa.CheckConstraint("(verdict IN ('agree', 'disagree')) = (present IS NOT NULL)", name="ck_feedback_present"),
        sa.CheckConstraint("verdict <> 'withdrawn' OR supersedes_id IS NOT NULL", name="ck_feedback_withdrawn"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_feedback_series_key", "feedback", ["series_uid", "finding_key", "id"])


def downgrade() -> None:
    raise RuntimeError("the first revision has nothing before it; restore a backup instead")
