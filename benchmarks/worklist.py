"""A page of the worklist out of 100,000 studies: every kind of query at most 50 ms.

Run with ``python -m benchmarks.worklist``. The baseline, in the same run and on the same file, is the bare sqlite3
module that reads a page of a search by LIKE, in order, and counts what matches, as it is usually written.
"""

from __future__ import annotations

import argparse
import platform
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import insert

from engine.store.repository import Store
from engine.store.tables import SeriesTable, StudyTable, WorklistTable
from engine.store.text import search_form
from engine.store.workflow import STUDY_STATES, WorklistQuery
from engine.store.worklist_rows import priority_of

TARGET_MS = 50.0
FAMILIES = (
    "Müller",
    "Åberg",
    "Iwanowa",
    "Nguyễn",
    "O’Brien",
    "Straße",
    "Çelik",
    "García",
    "Smith",
    "Kowalski",
    "李",
    "Λάμπρου",
)
GIVEN = ("Åsa", "Jörg", "Zoë", "Ivan", "María", "Thị", "Anna", "Paul", "Noor", "Chloë", "明", "Ελένη")
TEXTS = (
    "CCT nativ",
    "Head CT without contrast",
    "Schädel-CT",
    "TDM cérébrale",
    "CT stroke protocol",
    "Trauma CT",
    "CT kontroll",
)
KEYS = ("lobar_hemorrhage", "meningioma", "brain_atrophy", "skull_fracture")
QUERIES = {
    "first page by priority": WorklistQuery(),
    "last page by priority": WorklistQuery(offset=-100),
    "middle page by patient": WorklistQuery(order="patient", descending=False, offset=50_000),
    "by state": WorklistQuery(order="state", descending=False),
    "critical, not reviewed": WorklistQuery(states=("new", "analysed", "in_review"), urgencies=("critical",)),
    "one month by date": WorklistQuery(date_from="20250301", date_to="20250331", order="date"),
    "search: two words, many hits": WorklistQuery(search="muller ct"),
    "search: one patient": WorklistQuery(search="PID-0042424"),
    "search: no hit": WorklistQuery(search="nobody of that name"),
    "search: a letter": WorklistQuery(search="å", order="description"),
}
BASELINE = (
    "SELECT s.*, w.* FROM worklist w JOIN studies s ON s.id = w.id WHERE w.search_text LIKE ? AND w.search_text LIKE ? "
    "ORDER BY w.priority DESC, w.study_date DESC, w.id DESC LIMIT 100"
)


def fill(store: Store, n: int) -> None:
    """Put studies in as the migrations lay them out; through the repository this would take minutes."""
    chance = random.Random(0)
    first = datetime(2020, 1, 1, tzinfo=UTC)
    ranks = {key: rank for rank, key in enumerate(KEYS[:3])}
    studies, series, lines = [], [], []
    for number in range(1, n + 1):
        name = f"{chance.choice(FAMILIES)}^{chance.choice(GIVEN)}"
        text = chance.choice(TEXTS)
        date = (first + timedelta(days=chance.randrange(2400))).strftime("%Y%m%d")
        positive = chance.sample(KEYS, chance.choice((0, 0, 0, 1, 2)))
        priority, urgency = priority_of(positive, ranks)
        state = chance.choice(STUDY_STATES)
        uid, patient = f"1.2.826.0.1.3680043.8.498.{number}", f"PID-{number:07d}"
        search = search_form(name, patient, date, text, f"ACC{number}")
        studies.append(
            {
                "id": number, "study_uid": uid, "patient_id": patient, "patient_name": name, "patient_birth_date": "",
                "patient_sex": "", "study_date": date, "study_description": text, "accession_number": f"ACC{number}",
                "search_text": search, "added_utc": first,
            }
        )  # fmt: skip
        series.append(
            {
                "series_uid": f"{uid}.1", "study_uid": uid, "number": 2, "description": "Axial 4.0", "modality": "CT",
                "manufacturer": "GE MEDICAL SYSTEMS", "kind": "volume", "n_slices": 32, "reasons": [],
                "source_path": "/x", "search_text": "axial 4.0 ct ge", "state": "new", "state_message": "",
                "state_utc": first, "added_utc": first,
            }
        )  # fmt: skip
        lines.append(
            {
                "id": number, "state": state, "state_rank": STUDY_STATES.index(state), "state_message": "",
                "priority": priority, "urgency": urgency, "n_positive": len(positive), "positive_keys": positive,
                "n_series": 1, "series_uid": f"{uid}.1", "study_date": date,
                "patient_order": search_form(name, patient),
                "description_order": search_form(text), "search_text": f"{search} axial 4.0 ct ge medical systems",
            }
        )  # fmt: skip
    with store._writing() as session:
        session.execute(insert(StudyTable), studies)
        session.execute(insert(SeriesTable), series)
        session.execute(insert(WorklistTable), lines)


def median_worst_cpu_ms(action: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the median and the worst of some calls after a warm-up, and the processor time of one, in milliseconds."""
    times: list[float] = []
    cpu = 0.0
    for _ in range(rounds + 1):
        started, cpu_started = time.perf_counter(), time.process_time()
        action()
        times.append(1000 * (time.perf_counter() - started))
        cpu = 1000 * (time.process_time() - cpu_started)
    return statistics.median(times[1:]), max(times[1:]), cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, SQLite {sqlite3.sqlite_version}, {arguments.studies} studies, page of 100")
    missed = False
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with Store.open(path) as store:
            fill(store, arguments.studies)
            with closing(sqlite3.connect(path)) as bare:
                words = ("%muller%", "%ct%")
                baseline, _, _ = median_worst_cpu_ms(
                    lambda: (
                        bare.execute(BASELINE, words).fetchall(),
                        bare.execute(
                            "SELECT count(*) FROM worklist WHERE search_text LIKE ? AND search_text LIKE ?", words
                        ).fetchall(),
                    ),
                    arguments.rounds,
                )
            print(f"{'bare sqlite3, LIKE, two words (baseline)':42} {baseline:8.1f} ms")
            for label, asked in QUERIES.items():
                last = max(0, arguments.studies - 100)
                query = asked if asked.offset >= 0 else WorklistQuery(offset=last)
                median, worst, cpu = median_worst_cpu_ms(lambda query=query: store.worklist(query), arguments.rounds)
                total = store.worklist(query).total
                met = median <= TARGET_MS
                missed |= not met
                print(
                    f"{label:42} {median:8.1f} ms, worst {worst:6.1f}, processor {cpu:6.1f}, {total:6d} match, "
                    f"ratio {median / baseline:5.2f}, {'met' if met else 'MISSED'}"
                )
    print(f"target at most {TARGET_MS:.0f} ms each (median): {'MISSED' if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
