"""What a window may leave behind when it is closed: nothing. Each kind is counted before a test and after it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory

import psutil
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QTimer
from PySide6.QtWidgets import QApplication
from shiboken6 import isValid

from app.jobs import shared_volume

PATIENCE_S = 5.0
# Started once for all by the standard library; it ends with this process.
SYSTEM_PROCESSES = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")

Things = dict[object, str]


def threads() -> Things:
    """Return the threads that run, by identity."""
    return {thread.ident: thread.name for thread in threading.enumerate() if thread.is_alive()}


def children() -> Things:
    """Return the processes below this one that still run."""
    found: Things = {}
    for child in psutil.Process().children(recursive=True):
        try:
            command = " ".join(child.cmdline())
            if child.status() != psutil.STATUS_ZOMBIE and not any(name in command for name in SYSTEM_PROCESSES):
                found[child.pid] = command
        except psutil.NoSuchProcess:
            continue
    return found


def databases() -> Things:
    """Return the SQLite files that this process holds open."""
    files = psutil.Process().open_files()
    return {(file.path, file.fd): file.path for file in files if ".sqlite" in file.path or file.path.endswith(".db")}


def top_levels() -> Things:
    """Return the windows, shown or not."""
    return {widget: f"{type(widget).__name__} {widget.windowTitle()!r}" for widget in QApplication.topLevelWidgets()}


def timers() -> Things:
    """Return the timers that run."""
    found = [item for item in gc.get_objects() if issubclass(type(item), QTimer)]
    return {id(item): f"QTimer of {item.parent()}" for item in found if isValid(item) and item.isActive()}


KINDS: dict[str, Callable[[], Things]] = {
    "threads": threads,
    "child processes": children,
    "open databases": databases,
    "windows": top_levels,
}
_known_timers: Things = {}  # of the last look: it takes 0.1 s, so it is taken once a test, at the end


@contextmanager
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if what runs inside leaves anything behind that was not there before.

    What ends by itself (a thread on its last line, a window that is about to be deleted) gets `PATIENCE_S` for it.
    """
    blocks = _noted_blocks(monkeypatch)
    before = {kind: find() for kind, find in KINDS.items()}
    yield
    before["running timers"] = dict(_known_timers)
    left = _left(before)
    until = time.monotonic() + PATIENCE_S
    while left and time.monotonic() < until:
        time.sleep(0.02)
        left = _left(before)
    _known_timers.clear()
    _known_timers.update(timers() if left else {})
    if blocks:
        left.append(f"shared memory: {', '.join(sorted(blocks))}")
    if left:
        pytest.fail("left behind after the window was closed: " + "; ".join(left), pytrace=False)


def _left(before: dict[str, Things]) -> list[str]:
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QCoreApplication.processEvents()
    said = []
    for kind, find in (KINDS | {"running timers": timers}).items():
        new = [text for key, text in find().items() if key not in before[kind]]
        if new:
            said.append(f"{kind}: {', '.join(new)}")
    return said


def _noted_blocks(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the names of the shared blocks that were made and not removed, kept up to date."""
    names: set[str] = set()

    class Noted(SharedMemory):
        def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None:
            super().__init__(name, create, size)
            if create:
                names.add(self.name)

        def unlink(self) -> None:
            super().unlink()
            names.discard(self.name)

    monkeypatch.setattr(shared_volume, "SharedMemory", Noted)
    return names
