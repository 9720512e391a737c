"""A verdict durable on disk: the 99th percentile of saving one at most 20 ms, with fsync, in a store of many.

Run with ``python -m benchmarks.verdict``. The baseline, in the same run and on the same disk, is the bare sqlite3
module that inserts one row a transaction with the same journal (write-ahead log, ``synchronous=FULL``).
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.worklist import fill
from engine.store.records import NewFeedback
from engine.store.repository import Store

TARGET_MS = 20.0
N_FINDINGS = 75


def times_ms(action: Callable[[int], object], rounds: int) -> list[float]:
    """Return the duration of each call in milliseconds, the first three left out."""
    times: list[float] = []
    for number in range(rounds + 3):
        started = time.perf_counter()
        action(number)
        times.append(1000 * (time.perf_counter() - started))
    return times[3:]


def statement(number: int) -> NewFeedback:
    """A reader works through the findings of one study after the other."""
    return NewFeedback(
        series_uid=f"1.2.826.0.1.3680043.8.498.{1 + number // N_FINDINGS}.1",
        finding_key=f"finding_{number % N_FINDINGS}",
        verdict="agree",
        present=False,
        reader="reader",
        mode="ai_seen",
        probability=0.25,
        model_digest="ab" * 32,
        comment="seen",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=1000)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where to write; a folder on the disk that counts")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.folder) as folder:
        with closing(sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)) as bare:
            bare.execute("PRAGMA journal_mode=WAL")
            bare.execute("PRAGMA synchronous=FULL")
            bare.execute("CREATE TABLE verdicts (id INTEGER PRIMARY KEY, text TEXT)")
            baseline = times_ms(
                lambda _: bare.execute("INSERT INTO verdicts (text) VALUES (?)", ("x" * 300,)), arguments.verdicts
            )
        with Store.open(Path(folder) / "store.sqlite") as store:
            fill(store, arguments.studies)
            ours = times_ms(lambda number: store.add_feedback(statement(number)), arguments.verdicts)
    (p50, p99), (b50, b99) = (
        (statistics.median(values), statistics.quantiles(values, n=100)[98]) for values in (ours, baseline)
    )
    met = p99 < TARGET_MS
    print(
        f"{platform.platform()}, SQLite {sqlite3.sqlite_version}, {arguments.verdicts} verdicts, "
        f"{arguments.studies} studies"
    )
    print(f"bare sqlite3, one row, fsync (baseline)  median {b50:6.2f} ms, p99 {b99:6.2f} ms")
    print(f"a verdict                                median {p50:6.2f} ms, p99 {p99:6.2f} ms")
    print(f"ratio of p99 {p99 / b99:.1f}, target p99 under {TARGET_MS:.0f} ms: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
