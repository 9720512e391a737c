"""The importers: every module of this package with an ``IMPORTER`` is one. Adding a cohort is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType

from engine.errors import ConfigError
from trainer.cohorts import importers as package
from trainer.cohorts.importers.base import Importer, TableHead
from trainer.cohorts.importers.tables import read_head


def collect(modules: Iterable[ModuleType]) -> Mapping[str, Importer]:
    """Return the importer of every module that has one, by kind.

    Raises
    ------
    RuntimeError
        If two claim one kind, or a kind is not the name of its file: a bug, not a condition that a user can meet.
    """
    found: dict[str, Importer] = {}
    for module in modules:
        importer: Importer | None = getattr(module, "IMPORTER", None)
        if importer is None:
            continue
        if importer.kind in found:
            raise RuntimeError(f"two importers have the kind {importer.kind}: {module.__name__} is the second")
        if importer.kind != module.__name__.rpartition(".")[2]:
            raise RuntimeError(f"{module.__name__} must hold the importer of that name, not {importer.kind}")
        found[importer.kind] = importer
    return MappingProxyType(found)


@cache
def importers() -> Mapping[str, Importer]:
    """Return all importers by kind, in the order of their file names."""
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    return collect(importlib.import_module(f"{package.__name__}.{name}") for name in names)


def find_cohort(source: Path, known_keys: Collection[str], kind: str | None = None) -> tuple[Importer, Path]:
    """Return the importer of what lies at `source`, and the table of labels.

    Parameters
    ----------
    source
        The table itself, or the folder that it lies in.
    known_keys
        The catalogue's finding keys.
    kind
        Take this importer; None asks all of them.

    Raises
    ------
    ConfigError
        If nothing is there, no importer or more than one recognises it, or more than one table is recognised.
    """
    known = importers()
    if kind is not None and kind not in known:
        raise _error(source, f"there is no importer {kind}", "kind", f"Choose one of: {', '.join(known)}.")
    if not source.exists():
        raise _error(source, "nothing is there", "missing", "Check the path.")
    asked = [known[kind]] if kind is not None else list(known.values())
    heads = [head for head in map(read_head, _tables(source)) if head is not None]
    hits = [(one, head.path) for head in heads for one in asked if one.recognises(head, known_keys)]
    if not hits and kind is not None and source.is_file():
        return asked[0], source  # the importer says itself what is wrong with the table
    if len(hits) != 1:
        raise _not_one(source, asked, heads, hits)
    return hits[0]


def _tables(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.iterdir() if path.suffix.lower() == ".csv" and path.is_file())


def _not_one(
    source: Path, asked: Iterable[Importer], heads: Collection[TableHead], hits: Collection[tuple[Importer, Path]]
) -> ConfigError:
    if hits:
        found = "; ".join(f"{path.name} as {importer.kind}" for importer, path in hits)
        return _error(source, f"more than one table is recognised ({found})", "ambiguous", "Name the table, or --kind.")
    wanted = "; ".join(f"{importer.kind}: {importer.looks_for}" for importer in asked)
    reason = f"none of its {len(heads)} tables is one that is known"
    return _error(source, reason, "unknown", f"Give a folder with one of these tables. {wanted}.")


def _error(source: Path, reason: str, code: str, hint: str) -> ConfigError:
    return ConfigError(
        f"No cohort is imported from {source}: {reason}. Nothing was done.", hint=hint, code=f"cohort.{code}"
    )
