"""The migrations of a release to come."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.store import migrate

NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("series", sa.Column("note", sa.Text()))
    op.execute("UPDATE series SET note = description")
    {then}
"""


def scripts_with(folder: Path, then: str = "") -> Path:
    """Our migrations and one more."""
    scripts = folder / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "0003_next.py").write_text(NEXT_REVISION.format(then=then), encoding="utf-8")
    return scripts
