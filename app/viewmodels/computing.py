"""What computes: what the user chose, what the worker says it uses, and how full the cache is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from psygnal import Signal

from engine.inference.compute import CpuRuntimeChoice, DeviceChoice, PrecisionChoice


@dataclass(frozen=True)
class ComputingChoice:
    """As in the settings; `threads` None leaves them to torch, `cache_limit_mb` is in MiB."""

    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    cpu_runtime: CpuRuntimeChoice = "auto"
    threads: int | None = None
    cache_limit_mb: int = 0


@dataclass(frozen=True)
class WorkerFacts:
    """What the worker that runs says of itself and of this computer."""

    device: str
    devices: tuple[str, ...]
    threads: int
    openvino: bool


class ComputingActions(Protocol):
    """Requests about what computes; results arrive through `ComputingModel`."""

    def choose(self, choice: ComputingChoice) -> None:
        """Keep this, and have a worker that goes by it."""

    def measure_cache(self) -> None:
        """Count what the cache holds."""

    def clear_cache(self) -> None:
        """Empty the cache."""


class ComputingModel:
    """The choice in force, the worker's facts, why there is none, and the size of the cache."""

    changed = Signal()

    def __init__(self) -> None:
        self._choice = ComputingChoice()
        self._worker: WorkerFacts | None = None
        self._pending = False
        self._problem = ""
        self._used = ""
        self._cache: tuple[int, int] | None = None

    @property
    def choice(self) -> ComputingChoice:
        """What the user chose."""
        return self._choice

    @property
    def worker(self) -> WorkerFacts | None:
        """What the worker said last; kept while another one starts, as the computer stays the same."""
        return self._worker

    @property
    def pending(self) -> bool:
        """Whether a worker with the choice is still to come."""
        return self._pending

    def choose(self, choice: ComputingChoice) -> None:
        """A worker with this choice is asked for."""
        self._choice, self._pending, self._problem, self._used = choice, True, "", ""
        self.changed.emit()

    def show_worker(self, worker: WorkerFacts) -> None:
        """A worker has started."""
        self._worker, self._pending, self._problem = worker, False, ""
        self.changed.emit()

    def show_problem(self, text: str) -> None:
        """No worker could be started."""
        self._pending, self._problem = False, text
        self.changed.emit()

    def note(self, used: str) -> None:
        """Take what an analysis says it was computed with."""
        if used != self._used:
            self._used = used
            self.changed.emit()

    def show_cache(self, n_entries: int, n_bytes: int) -> None:
        """Take how full the cache is."""
        self._cache = (n_entries, n_bytes)
        self.changed.emit()

    @property
    def failed(self) -> bool:
        """Whether the choice cannot be used."""
        return bool(self._problem)

    @property
    def state_text(self) -> str:
        """What is used now, in words."""
        if self._problem:
            return f"Not in use: {self._problem}"
        if self._pending or self._worker is None:
            return "A compute worker with this choice starts once what runs now has ended."
        worker = self._worker
        threads = f"{worker.threads} CPU thread{'' if worker.threads == 1 else 's'}" if worker.threads else ""
        text = " with ".join(part for part in (f"The compute worker uses {worker.device}", threads) if part)
        if self._used:
            return f"{text}. The last analysis here was computed with: {self._used}."
        return f"{text}. Which precision and runtime come of it, the first analysis shows."

    @property
    def cache_text(self) -> str:
        """How full the cache is, in words."""
        if self._cache is None:
            return "Counting…"
        n_entries, n_bytes = self._cache
        return f"{n_bytes / 2**20:,.1f} MiB in {n_entries:,} entr{'y' if n_entries == 1 else 'ies'}"
