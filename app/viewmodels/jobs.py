"""Running work as the status bar shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class JobRow:
    """One job. `total` 0 means that the end is not known."""

    id: int
    title: str
    text: str = ""
    done: int = 0
    total: int = 0
    state: JobState = "running"
    cancellable: bool = False


class JobsModel:
    """Jobs by id, oldest first; ended jobs leave the list."""

    changed = Signal()

    def __init__(self) -> None:
        self._rows: dict[int, JobRow] = {}

    @property
    def rows(self) -> tuple[JobRow, ...]:
        """Jobs that wait or run, oldest first."""
        return tuple(self._rows.values())

    @property
    def current(self) -> JobRow | None:
        """The oldest running job, else the oldest queued one."""
        running = [row for row in self._rows.values() if row.state == "running"]
        return next(iter(running or self._rows.values()), None)

    def update(self, row: JobRow) -> None:
        """Add or replace a job; one that has ended is removed."""
        if row.state in ENDED:
            self._rows.pop(row.id, None)
        else:
            self._rows[row.id] = row
        self.changed.emit()

    def remove(self, job_id: int) -> None:
        """Forget a job."""
        if self._rows.pop(job_id, None) is not None:
            self.changed.emit()
