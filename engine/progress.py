"""Progress and cancellation, handed into every long function."""

from __future__ import annotations

import threading
from typing import Protocol


class Cancelled(Exception):
    """Raised by `Context.raise_if_cancelled`; the job that sees it ends as cancelled, not as failed."""


class Context(Protocol):
    """What a long function may tell and ask while it works."""

    def progress(self, done: int, total: int, text: str) -> None:
        """Report `done` of `total` steps; `total` 0 means that the end is not known."""

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` once the user has asked to stop."""


class NullContext:
    """A context that ignores progress and is never cancelled."""

    def progress(self, done: int, total: int, text: str) -> None:
        """Ignore the report."""

    def raise_if_cancelled(self) -> None:
        """Return: nobody can cancel."""


NULL_CONTEXT = NullContext()


class CancelToken:
    """A flag that one thread sets and another asks."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if `cancel` was called."""
        if self._event.is_set():
            raise Cancelled


class CancelOnly:
    """A context that passes cancelling on, of a token or a context, and keeps inner steps to itself."""

    def __init__(self, source: CancelToken | Context) -> None:
        self._source = source

    def progress(self, done: int, total: int, text: str) -> None:
        """Ignore the report."""

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the source is cancelled."""
        self._source.raise_if_cancelled()
