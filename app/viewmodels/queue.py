"""The queue of background analyses as the window shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

QueueState = Literal["waiting", "running", "failed"]


@dataclass(frozen=True)
class QueueRow:
    """A series that waits for its analysis, is in it, or failed.

    Attributes
    ----------
    label, detail
        The patient, and what the series is.
    message
        Why it failed.
    mine
        Whether this window runs it; another one does where it runs and is not mine.
    """

    series_uid: str
    label: str
    detail: str
    state: QueueState
    message: str = ""
    mine: bool = False


@dataclass(frozen=True)
class Progress:
    """How far the running analysis is; `total` 0 means that the end is not known."""

    done: int = 0
    total: int = 0
    text: str = ""


class QueueModel:
    """Rows in the order in which they will run; the first ones only where there are very many."""

    changed = Signal()
    progress_changed = Signal()
    selected_changed = Signal(object)

    def __init__(self) -> None:
        self._rows: tuple[QueueRow, ...] = ()
        self._uids: frozenset[str] = frozenset()
        self._n_more = 0
        self._paused = False
        self._idle_reason = ""
        self._progress = Progress()
        self._selected: str | None = None

    @property
    def rows(self) -> tuple[QueueRow, ...]:
        """The queue's first rows."""
        return self._rows

    @property
    def n_more(self) -> int:
        """How many more there are than `rows`."""
        return self._n_more

    @property
    def running(self) -> QueueRow | None:
        """What this window runs now."""
        return next((row for row in self._rows if row.state == "running" and row.mine), None)

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return sum(row.state == "waiting" for row in self._rows) + self._n_more

    @property
    def n_failed(self) -> int:
        """How many failed."""
        return sum(row.state == "failed" for row in self._rows)

    def waits(self, series_uid: str | None) -> bool:
        """Whether a series waits for its turn."""
        return series_uid in self._uids

    def row(self, series_uid: str | None) -> QueueRow | None:
        """Return a series of the queue, None if it is not there."""
        return next((row for row in self._rows if row.series_uid == series_uid), None)

    def set_rows(self, rows: tuple[QueueRow, ...], n_more: int = 0) -> None:
        """Replace the queue."""
        if (rows, n_more) == (self._rows, self._n_more):
            return
        self._rows, self._n_more = rows, n_more
        self._uids = frozenset(row.series_uid for row in rows if row.state == "waiting")
        if self.running is None:
            self._progress = Progress()
        self.changed.emit()
        if self._selected is not None and self.row(self._selected) is None:
            self.selected = None

    @property
    def paused(self) -> bool:
        """Whether nothing new is begun."""
        return self._paused

    @property
    def idle_reason(self) -> str:
        """Why nothing is begun although something waits; empty where something is."""
        return "Paused" if self._paused and not self._idle_reason else self._idle_reason

    def set_paused(self, paused: bool, reason: str = "") -> None:
        """Say whether, and why, nothing new is begun."""
        self._paused, self._idle_reason = paused, reason
        self.changed.emit()

    @property
    def progress(self) -> Progress:
        """How far the running analysis is."""
        return self._progress

    def set_progress(self, progress: Progress) -> None:
        """Say how far the running analysis is."""
        if progress != self._progress:
            self._progress = progress
            self.progress_changed.emit()

    @property
    def selected(self) -> str | None:
        """The series on which the queue's keys act."""
        return self._selected

    @selected.setter
    def selected(self, series_uid: str | None) -> None:
        if series_uid != self._selected:
            self._selected = series_uid
            self.selected_changed.emit(series_uid)

    def place_before(self, series_uid: str, step: int) -> tuple[bool, str | None]:
        """Return whether a waiting series can move by some places, and before which one it then stands (None: last)."""
        waiting = [row.series_uid for row in self._rows if row.state == "waiting"]
        if series_uid not in waiting:
            return False, None
        place = waiting.index(series_uid)
        target = place + step
        if not 0 <= target < len(waiting):
            return False, None
        others = [uid for uid in waiting if uid != series_uid]
        return True, others[target] if target < len(others) else None

    @property
    def summary(self) -> str:
        """What the queue does, in a few words."""
        running = sum(row.state == "running" for row in self._rows)
        parts = [(running, "running"), (self.n_waiting, "waiting"), (self.n_failed, "failed")]
        said = ", ".join(f"{count:,} {word}" for count, word in parts if count)
        return said or "empty"
