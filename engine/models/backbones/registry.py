"""The backbones that this installation knows: the files of this package. No torch until one is built."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.errors import PackageError
from engine.models import backbones
from engine.models.backbones.spec import BackboneEntry

if TYPE_CHECKING:
    from engine.models.backbones.network import Backbone

_NOT_BACKBONES = frozenset({"registry", "spec", "network"})


class BackboneRegistry(Mapping[str, BackboneEntry]):
    """Backbones by name.

    Raises
    ------
    PackageError
        If two entries have the same name, or a name is asked for that is not known.
    """

    def __init__(self, entries: Iterable[BackboneEntry]) -> None:
        self._entries: dict[str, BackboneEntry] = {}
        for entry in entries:
            if entry.spec.name in self._entries:
                raise PackageError(
                    f"Two backbones are named {entry.spec.name}.",
                    hint="Give one of the files in engine/models/backbones another name.",
                    code="backbone.duplicate",
                )
            self._entries[entry.spec.name] = entry

    def __getitem__(self, name: str) -> BackboneEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> BackboneEntry:
        """Return one entry.

        Raises
        ------
        PackageError
            If no backbone has this name.
        """
        if name not in self._entries:
            raise PackageError(
                f"The backbone {name} is not known here; known: {', '.join(sorted(self._entries))}.",
                hint="Update the program, or use a model that was made for one of these backbones.",
                code="backbone.unknown",
            )
        return self._entries[name]


@lru_cache(maxsize=1)
def default_registry() -> BackboneRegistry:
    """Return the registry of the files beside this one; each defines ``BACKBONE``."""
    names = sorted(module.name for module in pkgutil.iter_modules(backbones.__path__))
    modules = (importlib.import_module(f"{backbones.__name__}.{name}") for name in names if name not in _NOT_BACKBONES)
    return BackboneRegistry(module.BACKBONE for module in modules)


def build_backbone(name: str, registry: BackboneRegistry | None = None) -> Backbone:
    """Build a backbone with its published weights, frozen and in evaluation mode.

    Raises
    ------
    PackageError
        If the name is unknown, or the weights are missing (kind ``environment``) or do not fit the network.
    """
    from engine.models.backbones.network import Backbone

    return Backbone((registry if registry is not None else default_registry()).entry(name))
