"""Thread lanes: a lane is a queue with its own threads. One thread makes a lane a strict order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable


class Lane:
    """Runs callables first in, first out, on `workers` threads of its own."""

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"lane-{name}-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, action: Callable[[], None]) -> bool:
        """Queue an action that never raises; False when the lane is closed."""
        if self._closed:
            return False
        self._queue.put(action)
        return True

    def close(self) -> None:
        """Take nothing new; threads end once the queue is empty."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)

    def join(self, deadline_s: float) -> bool:
        """Wait for the threads to end, until `time.monotonic()` is `deadline_s`; whether they did."""
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (action := self._queue.get()) is not None:
            action()
            del action
