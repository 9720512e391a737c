"""Reading with the model: richer statements, readers, read sessions, worklist, analysis queue, pooled features.

A released migration is never edited: it says what was true then, so it imports nothing of today's tables. The worklist
is derived from the other tables; whoever opens the store fills it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
UID = sa.String(64)
WORD = sa.String(16)

# Written out, since Alembic adds no constraints to a table of SQLite that exists; both dialects take these words.
FEEDBACK_COLUMNS = (
    "role VARCHAR(16) DEFAULT 'reading' NOT NULL CONSTRAINT ck_feedback_role "
    "CHECK (role IN ('reading', 'adjudication'))",
    "reason_code TEXT DEFAULT '' NOT NULL",
    "laterality VARCHAR(16) CONSTRAINT ck_feedback_laterality "
    "CHECK (laterality IN ('left', 'right', 'bilateral', 'midline', 'not_applicable'))",
    "certainty INTEGER CONSTRAINT ck_feedback_certainty CHECK (certainty >= 0 AND certainty <= 100)",
    "locations JSON DEFAULT '[]' NOT NULL",
    "key_images JSON DEFAULT '[]' NOT NULL",
    "model_name TEXT",
    "model_notice TEXT",
    "session_id INTEGER CONSTRAINT fk_feedback_session REFERENCES read_sessions (id)",
    "after_reveal BOOLEAN",
)
LOGS = ("read_sessions", "read_events")


def upgrade() -> None:
    _readers()
    _read_sessions()
    for column in FEEDBACK_COLUMNS:
        op.execute(f"ALTER TABLE feedback ADD COLUMN {column}")
    _features()
    _worklist()
    _queue()
    dialect = context.get_context().dialect.name
    for table in LOGS:
        for statement in {"sqlite": _sqlite_guard, "postgresql": _postgresql_guard}[dialect](table):
            op.execute(statement)


def _readers() -> None:
    op.create_table(
        "readers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("role", WORD, nullable=False),
        sa.Column("initials", WORD, nullable=False),
        sa.Column("created_utc", TIME, nullable=False),
        sa.Column("deactivated_utc", TIME),
        sa.CheckConstraint(
            "role IN ('radiologist', 'resident', 'researcher', 'adjudicator', 'other')", name="ck_readers_role"
        ),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO readers (name, role, initials, created_utc) "
        "SELECT reader, 'other', '', min(created_utc) FROM feedback GROUP BY reader ORDER BY min(id)"
    )


def _read_sessions() -> None:
    op.create_table(
        "read_sessions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "series_uid", UID, sa.ForeignKey("series.series_uid", name="fk_read_sessions_series"), nullable=False
        ),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("mode", WORD, nullable=False),
        sa.Column("created_utc", TIME, nullable=False),
        sa.CheckConstraint("mode IN ('blind', 'ai_seen')", name="ck_read_sessions_mode"),
        sa.UniqueConstraint("series_uid", "reader", name="uq_read_sessions_series_reader"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "read_events",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "session_id", sa.Integer(), sa.ForeignKey("read_sessions.id", name="fk_read_events_session"), nullable=False
        ),
        sa.Column("event", WORD, nullable=False),
        sa.Column("created_utc", TIME, nullable=False),
        sa.CheckConstraint(
            "event IN ('started', 'committed', 'revealed', 'blind_off', 'finished', 'reopened')",
            name="ck_read_events_event",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_read_events_session", "read_events", ["session_id", "id"])


def _features() -> None:
    op.create_table(
        "features",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("series_uid", UID, sa.ForeignKey("series.series_uid", name="fk_features_series"), nullable=False),
        sa.Column("model_digest", UID, nullable=False),
        sa.Column(
            "analysis_id", sa.Integer(), sa.ForeignKey("analyses.id", name="fk_features_analysis"), nullable=False
        ),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("series_uid", "model_digest", name="uq_features_series_model"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_features_model", "features", ["model_digest", "id"])


def _worklist() -> None:
    op.create_table(
        "worklist",
        sa.Column("id", sa.Integer(), sa.ForeignKey("studies.id", name="fk_worklist_study"), primary_key=True),
        sa.Column("state", WORD, nullable=False),
        sa.Column("state_rank", sa.Integer(), nullable=False),
        sa.Column("state_message", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("urgency", sa.Integer()),
        sa.Column("n_positive", sa.Integer()),
        sa.Column("positive_keys", sa.JSON(), nullable=False),
        sa.Column("n_series", sa.Integer(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("patient_order", sa.Text(), nullable=False),
        sa.Column("description_order", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
    )
    op.create_index("ix_worklist_priority", "worklist", ["priority", "study_date", "id"])
    op.create_index("ix_worklist_date", "worklist", ["study_date", "id"])
    op.create_index("ix_worklist_patient", "worklist", ["patient_order", "id"])
    op.create_index("ix_worklist_description", "worklist", ["description_order", "id"])
    op.create_index("ix_worklist_state", "worklist", ["state_rank", "priority", "study_date", "id"])
    op.create_index("ix_series_study", "series", ["study_uid"])
    op.create_table(
        "finding_ranks",
        sa.Column("finding_key", UID, primary_key=True),
        sa.Column("rank", sa.Integer(), nullable=False),
    )
    op.create_table(
        "saved_filters",
        sa.Column("reader", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("query", sa.JSON(), nullable=False),
    )


def _queue() -> None:
    op.create_table(
        "analysis_queue",
        sa.Column(
            "series_uid", UID, sa.ForeignKey("series.series_uid", name="fk_analysis_queue_series"), primary_key=True
        ),
        sa.Column("position", sa.Double(), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("package_digest", UID),
        sa.Column("owner", UID),
        sa.Column("requested_utc", TIME, nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'running', 'failed')", name="ck_analysis_queue_state"),
    )
    op.create_index("ix_analysis_queue_position", "analysis_queue", ["position"])


def _sqlite_guard(table: str) -> tuple[str, ...]:
    abort = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    return (
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {abort}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {abort}",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) {abort}",
    )


def _postgresql_guard(table: str) -> tuple[str, ...]:
    return (
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger AS $$ BEGIN "
        f"RAISE EXCEPTION '{table} is append-only'; END $$ LANGUAGE plpgsql",
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()",
    )


def downgrade() -> None:
    raise RuntimeError("a store is not taken back; restore the backup that was made before it was migrated")
