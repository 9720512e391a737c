"""The watched folder: where it is, whether it is watched, and what became of what arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

WatchKind = Literal["off", "watching", "arriving", "importing", "missing", "failed"]


@dataclass(frozen=True)
class WatchState:
    """What the watch does now.

    Attributes
    ----------
    n_arriving
        Files that are still being written, or whose folder is not complete yet.
    n_imported
        Series that came in since the program was started.
    text
        What became of the last import, or why it failed.
    """

    kind: WatchKind = "off"
    n_arriving: int = 0
    n_imported: int = 0
    text: str = ""


class WatchModel:
    """What was chosen, and `state`."""

    changed = Signal()

    def __init__(self) -> None:
        self._folder, self._on, self._analyse = "", False, True
        self._state = WatchState()

    @property
    def folder(self) -> str:
        """The folder; empty until one was chosen."""
        return self._folder

    @property
    def on(self) -> bool:
        """Whether it is watched."""
        return self._on

    @property
    def analyse(self) -> bool:
        """Whether what arrives is put into the queue of analyses."""
        return self._analyse

    @property
    def state(self) -> WatchState:
        """What the watch does now."""
        return self._state

    def choose(self, folder: str, on: bool, analyse: bool) -> None:
        """Take what the reader chose."""
        self._folder, self._on, self._analyse = folder, on and bool(folder), analyse
        if not self._on:
            self._state = WatchState()
        self.changed.emit()

    def show(self, state: WatchState) -> None:
        """Say what the watch does now."""
        if state != self._state:
            self._state = state
            self.changed.emit()

    @property
    def line(self) -> str:
        """One line for the foot of the worklist; empty while nothing is watched."""
        if not self._on:
            return ""
        state = self._state
        name = self._folder.replace("\\", "/").rstrip("/").rpartition("/")[2] or self._folder
        imported = f" · {state.n_imported} imported" if state.n_imported else ""
        said = {
            "arriving": f"{state.n_arriving} files arriving",
            "importing": "importing…",
            "missing": "folder not there",
            "failed": "import failed",
        }.get(state.kind, "")
        return f"Watching {name}" + (f" · {said}" if said else "") + imported
