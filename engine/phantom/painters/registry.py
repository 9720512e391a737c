"""The painters: every module of this package with a `PAINTER` is one finding. Adding a finding is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from engine import errors
from engine.phantom import painters as package
from engine.phantom.head import Head, Paint


@dataclass(frozen=True)
class Painter:
    """How one finding comes into a phantom.

    Attributes
    ----------
    key
        Its key in the catalogue; the name of the file.
    prevalence
        The share of drawn studies in which it is painted for its own sake.
    plan
        Draws the lesion: changes the head and adds its paint. The stream it gets is its own.
    hu, replaces_hu
        What its mask holds, and what the same place holds without it: the range of the median Hounsfield units over
        all seeds. The contract test of the painters measures both.
    implied
        Returns the paint of the mask where the finished head has the finding anyway, else None.
    planned
        Painters are planned in this order, those that react to others later.
    older
        How much more frequent it is in the oldest heads of a varied cohort, and rarer in the youngest: -1 to 1.
    """

    key: str
    prevalence: float
    plan: Callable[[Head, np.random.Generator], None]
    hu: tuple[float, float]
    replaces_hu: tuple[float, float]
    implied: Callable[[Head], Paint | None] | None = None
    planned: int = 0
    older: float = 0.0


@cache
def painters() -> Mapping[str, Painter]:
    """Return all painters by key, in the order of their file names.

    Raises
    ------
    ConfigError
        If a key stands twice or is not the name of its file.
    """
    found: dict[str, Painter] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        painter = getattr(importlib.import_module(f"{package.__name__}.{info.name}"), "PAINTER", None)
        if isinstance(painter, Painter):
            register(found, painter, info.name)
    return MappingProxyType(found)


def register(found: dict[str, Painter], painter: Painter, file_name: str) -> None:
    """Add a painter; refuse a key that is taken or does not name its file."""
    if painter.key in found or painter.key != file_name:
        raise errors.ConfigError(
            f"The painter in {file_name}.py claims the key {painter.key}, which is taken or not its file's name.",
            hint="Give every painter its own file, named after its finding.",
            code="phantom.painter",
        )
    found[painter.key] = painter
