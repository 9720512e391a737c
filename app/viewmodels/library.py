"""Installed models and the one in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

VerifyState = Literal["verified", "failed", "unknown"]


@dataclass(frozen=True)
class ModelRow:
    """One installed package; `message` says why verification failed, `backbone` what it stands on.

    `weights_here` says whether that backbone's weights are on this computer.
    """

    name: str
    digest: str
    notice: str
    active: bool = False
    bundled: bool = False
    created: str = ""
    n_findings: int | None = None
    verify_state: VerifyState = "unknown"
    message: str = ""
    backbone: str = ""
    weights_here: bool = True


class ModelsModel:
    """Rows in the library's order."""

    changed = Signal()

    def __init__(self) -> None:
        self._rows: tuple[ModelRow, ...] = ()
        self.can_roll_back = False

    @property
    def rows(self) -> tuple[ModelRow, ...]:
        """All installed packages."""
        return self._rows

    @property
    def active(self) -> ModelRow | None:
        """The package in use."""
        return next((row for row in self._rows if row.active), None)

    def set_rows(self, rows: tuple[ModelRow, ...], can_roll_back: bool = False) -> None:
        """Replace all rows."""
        self._rows, self.can_roll_back = rows, can_roll_back
        self.changed.emit()
