"""Builds store_0001.sqlite, the store as revision 0001 wrote it. Run once, when that revision was released.

Usage: ``python -m tests.engine.data.build_store_0001`` from the project's root, while 0001 is the newest revision.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.findings.catalogue import load_catalogue
from engine.store.migrate import head_revision
from engine.store.repository import Store
from tests.conftest import PROJECT_ROOT
from tests.support.store_values import SERIES, STATEMENT, filled, make_analysis

TARGET = Path(__file__).with_name("store_0001.sqlite")


def build(path: Path) -> None:
    """Two series, three analyses, and feedback with a correction and an undo."""
    ticks = count()
    catalogue = load_catalogue(PROJECT_ROOT / "resources" / "findings" / "catalogue.csv")
    with Store.open(path, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=next(ticks))) as store:
        filled(store).upsert_series(
            replace(SERIES, series_uid="1.2.840.1.6", kind="refused", reasons=("not HU",), number=None)
        )
        for seed in range(3):
            store.save_analysis(make_analysis(catalogue, seed=seed))
        store.set_series_state("1.2.840.1.6", "failed", "refused: not HU")
        store.add_feedback(STATEMENT)
        store.add_feedback(replace(STATEMENT, finding_key="lipoma", verdict="unsure", present=None))
        store.add_feedback(replace(STATEMENT, verdict="agree", present=True))
        store.undo_last_feedback(SERIES.series_uid, STATEMENT.reader)


def main() -> None:
    """Write the fixture as one file, without its write-ahead log."""
    assert head_revision() == "0001", "a fixture is built with the revision that it is named after"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        build(path)
        TARGET.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as source:
            source.execute("VACUUM INTO ?", (str(TARGET),))


if __name__ == "__main__":
    main()
