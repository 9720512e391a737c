"""Builds store_<revision>.sqlite, the store as the newest revision writes it. Run once, when that revision is released.

Usage: ``python -m tests.engine.data.build_store`` from the project's root. Older fixtures stay as they are.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.findings.catalogue import Catalogue, load_catalogue
from engine.store.migrate import head_revision
from engine.store.repository import Store
from engine.store.workflow import WorklistQuery
from tests.conftest import PROJECT_ROOT
from tests.support.store_values import MARKED, SERIES, STATEMENT, filled, make_analysis

TARGET = Path(__file__).with_name(f"store_{head_revision()}.sqlite")


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
        read(store, catalogue)


def read(store: Store, catalogue: Catalogue) -> None:
    """What came with revision 0002: a blind read, a marked statement, an adjudication, the queue and a filter."""
    store.sync_catalogue(catalogue)
    store.save_analysis(make_analysis(catalogue, seed=2, extras=True))
    store.add_reader("Dr. Berg", "adjudicator")
    reading = store.start_reading(SERIES.series_uid, "second", "blind")
    store.add_feedback(replace(MARKED, reader="second", mode="blind"))
    store.commit_reading(reading.id)
    store.add_feedback(replace(STATEMENT, reader="Dr. Berg", role="adjudication", verdict="agree", present=True))
    store.enqueue(["1.2.840.1.6"])
    store.save_filter("urgent", WorklistQuery(search="åsa", states=("analysed",), urgencies=("critical",)))


def main() -> None:
    """Write the fixture as one file, without its write-ahead log."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        build(path)
        TARGET.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as source:
            source.execute("VACUUM INTO ?", (str(TARGET),))


if __name__ == "__main__":
    main()
