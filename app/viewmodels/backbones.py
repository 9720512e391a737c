"""Backbones that are known, the weights that are here for them, and the conversion that runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from psygnal import Signal

ConversionState = Literal["none", "running", "done", "failed", "stopped"]
FAMILY_END = ":"


@dataclass(frozen=True)
class WeightsRow:
    """Stored weights of one backbone; `accepted` is the day on which the licence was accepted."""

    digest: str
    source_name: str
    licence: str
    origin: str
    accepted: str
    n_bytes: int
    n_parameters: int


@dataclass(frozen=True)
class BackboneRow:
    """One backbone.

    Attributes
    ----------
    licence, origin
        As the program states them; weights carry what was confirmed with them.
    needs_config
        Whether the published ``config.json`` must be given with the file.
    bundled
        Digest of the weights that ship along; empty where none do.
    needed_by
        Names of installed packages that need weights of it which are not here.
    """

    name: str
    display_name: str
    dimensions: int
    licence: str
    origin: str
    needs_config: bool = False
    bundled: str = ""
    weights: tuple[WeightsRow, ...] = ()
    needed_by: tuple[str, ...] = ()

    @property
    def is_family(self) -> bool:
        """Whether it stands for a whole family, such as timm's, and a network's name must be added."""
        return self.name.endswith(FAMILY_END)


@dataclass(frozen=True)
class BackboneRequest:
    """Weights to add, with the terms that the user accepted; `pooled` for networks of timm only."""

    file: Path
    name: str
    config_file: Path | None
    licence: str
    origin: str
    pooled: str | None = None


@dataclass(frozen=True)
class Conversion:
    """The conversion that runs or ran last; `message` says how it ended, `hint` what to do about it."""

    state: ConversionState = "none"
    job_id: int = -1
    message: str = ""
    hint: str = ""


class BackboneActions(Protocol):
    """Requests about backbones; results arrive through `BackbonesModel`."""

    def refresh(self) -> None:
        """Read which backbones and weights there are."""

    def add(self, request: BackboneRequest) -> None:
        """Convert a published file and store its weights."""

    def cancel(self) -> None:
        """Stop the conversion that runs."""


class BackbonesModel:
    """Rows by name; `broken` says of folders why they cannot be used."""

    changed = Signal()
    conversion_changed = Signal()

    def __init__(self) -> None:
        self._rows: tuple[BackboneRow, ...] = ()
        self._conversion = Conversion()
        self.broken: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[BackboneRow, ...]:
        """All known backbones."""
        return self._rows

    def set_rows(self, rows: tuple[BackboneRow, ...], broken: tuple[str, ...] = ()) -> None:
        """Replace all rows."""
        self._rows, self.broken = rows, broken
        self.changed.emit()

    @property
    def conversion(self) -> Conversion:
        """The conversion that runs or ran last."""
        return self._conversion

    @conversion.setter
    def conversion(self, conversion: Conversion) -> None:
        self._conversion = conversion
        self.conversion_changed.emit()
