"""The exporters: every ``*_corrections.py`` and every ``*_impression.py`` file of this package is one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any

import engine.export
from engine.errors import ExportError
from engine.export.impression import ImpressionExporter
from engine.export.report import CorrectionsExporter


def collect(modules: Iterable[ModuleType]) -> Mapping[str, Any]:
    """Return the one exporter class of each module, made, by key.

    Raises
    ------
    RuntimeError
        If a module does not define exactly one class with a `key`, or two define the same key: a bug, not a
        condition that a user can meet.
    """
    found: dict[str, Any] = {}
    for module in modules:
        classes = [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == module.__name__ and hasattr(member, "key")
        ]
        if len(classes) != 1:
            raise RuntimeError(f"{module.__name__} must define exactly one exporter, not {len(classes)}")
        exporter: Any = classes[0]()
        if exporter.key in found:
            raise RuntimeError(f"two exporters have the key {exporter.key}: {module.__name__} is the second")
        found[exporter.key] = exporter
    return MappingProxyType(found)


@cache
def exporters() -> Mapping[str, CorrectionsExporter]:
    """Return all exporters of corrections by key, in the order of their file names."""
    return _members("_corrections")


@cache
def impression_exporters() -> Mapping[str, ImpressionExporter]:
    """Return all exporters of draft impressions by key, in the order of their file names."""
    return _members("_impression")


def _members(ending: str) -> Mapping[str, Any]:
    names = sorted(info.name for info in pkgutil.iter_modules(engine.export.__path__))
    return collect(
        importlib.import_module(f"{engine.export.__name__}.{name}") for name in names if name.endswith(ending)
    )


def exporter(key: str) -> CorrectionsExporter:
    """Return one exporter of corrections.

    Raises
    ------
    ExportError
        If there is no such format.
    """
    known = exporters()
    if key not in known:
        raise _unknown(key, known)
    return known[key]


def impression_exporter(key: str) -> ImpressionExporter:
    """Return one exporter of draft impressions.

    Raises
    ------
    ExportError
        If there is no such format.
    """
    known = impression_exporters()
    if key not in known:
        raise _unknown(key, known)
    return known[key]


def _unknown(key: str, known: Iterable[str]) -> ExportError:
    return ExportError(
        f"There is no export format {key}.",
        hint=f"Choose one of: {', '.join(known)}.",
        code="export.unknown_format",
    )
