"""Finds the areas of this package: all modules with ``ORDER`` and ``commands(target)``, that is all but NOT_AREAS."""

from __future__ import annotations

import importlib
import pkgutil

import app.views.commands as package
from app.views.commands.base import Command, checked

NOT_AREAS = frozenset({"base", "keys", "registry"})


def area_names() -> tuple[str, ...]:
    """Return the areas in menu order; an area's target is the attribute of this name."""
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if info.name not in NOT_AREAS]
    return tuple(sorted(names, key=lambda name: importlib.import_module(f"{package.__name__}.{name}").ORDER))


def build_commands(targets: object) -> tuple[Command, ...]:
    """Return every action of the window, in menu order.

    Parameters
    ----------
    targets
        Has one attribute an area, which implements that area's target protocol.

    Raises
    ------
    ValueError
        If two actions share an id or a key.
    """
    table: list[Command] = []
    for name in area_names():
        area = importlib.import_module(f"{package.__name__}.{name}")
        table.extend(area.commands(getattr(targets, name)))
    return checked(tuple(table))
