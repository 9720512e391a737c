"""Messages for the reader that stay until they are dismissed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Notice:
    """What happened, to what, and what can be done; `details` for support, without patient data."""

    severity: Severity
    title: str
    message: str = ""
    hint: str = ""
    details: str = ""


class NoticesModel:
    """Standing notices, oldest first. The same notice is not listed twice."""

    changed = Signal()

    def __init__(self) -> None:
        self._notices: list[Notice] = []

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Standing notices, oldest first."""
        return tuple(self._notices)

    def post(self, notice: Notice) -> None:
        """Add a notice; a repeated one moves to the end."""
        if notice in self._notices:
            self._notices.remove(notice)
        self._notices.append(notice)
        self.changed.emit()

    def dismiss(self, notice: Notice) -> None:
        """Remove a notice."""
        if notice in self._notices:
            self._notices.remove(notice)
            self.changed.emit()

    def clear(self) -> None:
        """Remove all notices."""
        self._notices.clear()
        self.changed.emit()
