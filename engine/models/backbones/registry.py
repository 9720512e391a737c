"""The backbones that this installation knows: the files of this package, and the weights for them. No torch until one
is built.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PackageError
from engine.models import backbones
from engine.models.backbones.spec import BackboneEntry, with_facts
from engine.models.backbones.weights import BackboneStore, StoredBackbone

if TYPE_CHECKING:
    from engine.models.backbones.network import Backbone

_NOT_BACKBONES = frozenset({"registry", "spec", "network", "conversion", "weights", "checkpoint", "convert"})
FAMILY_SEPARATOR = ":"


class BackboneRegistry(Mapping[str, BackboneEntry]):
    """Backbones by name, and the weights that the user brought for them.

    A name with a colon, such as ``timm:vit_tiny_patch16_224``, means a member of the family that is registered under
    the part before it.

    Parameters
    ----------
    entries
        One per backbone file.
    store
        The user's converted weights; None where there are only bundled ones.

    Raises
    ------
    PackageError
        If two entries have the same name, or a name is asked for that is not known.
    """

    def __init__(self, entries: Iterable[BackboneEntry], store: BackboneStore | None = None) -> None:
        self.store = store
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

    def with_store(self, store: BackboneStore) -> BackboneRegistry:
        """Return the same backbones with the user's weights."""
        return BackboneRegistry(self._entries.values(), store)

    def knows(self, name: str) -> bool:
        """Whether a backbone, or the family of one, has this name."""
        family, separator, member = name.partition(FAMILY_SEPARATOR)
        return (bool(member) and family + separator in self._entries) or (not separator and name in self._entries)

    def entry(self, name: str, weights_digest: str | None = None) -> BackboneEntry:
        """Return one entry, with the facts that were recorded with its stored weights.

        Raises
        ------
        PackageError
            If no backbone has this name.
        """
        if not self.knows(name):
            raise PackageError(
                f"The backbone {name} is not known here; known: {', '.join(sorted(self._entries)) or 'none'}.",
                hint="Update the program, or use a model that was made for one of these backbones.",
                code="backbone.unknown",
            )
        entry = self._family_member(name)
        stored = self.stored(name, weights_digest)
        return entry if stored is None else replace(entry, spec=with_facts(entry.spec, stored.record.facts))

    def stored(self, name: str, weights_digest: str | None = None) -> StoredBackbone | None:
        """Return the user's weights for a backbone: those with this digest, or the newest; None without any."""
        return None if self.store is None else self.store.find(name, weights_digest)

    def weights_digest(self, name: str, wanted: str | None = None) -> str:
        """Return the sha256 of the weights that `build_backbone` would use.

        Parameters
        ----------
        name
            The backbone.
        wanted
            The digest that a package names; None means bundled weights, else the newest stored ones.

        Raises
        ------
        PackageError
            If the name is unknown, or there are no such weights (kind ``environment``).
        """
        entry = self.entry(name, wanted)
        bundled = entry.bundled_digest()
        if bundled is not None and wanted in (None, bundled):
            return bundled
        stored = self.stored(name, wanted)
        if stored is not None:
            return stored.record.weights_digest
        if entry.bundled is not None and bundled is None:
            return entry.bundled.digest()  # Raises, and says which package to install.
        raise _no_weights(entry, wanted, bundled)

    def _family_member(self, name: str) -> BackboneEntry:
        family, separator, member = name.partition(FAMILY_SEPARATOR)
        if not separator:
            return self._entries[name]
        entry = self._entries[family + separator]
        spec = replace(entry.spec, name=name, display_name=f"{member} (timm)", timm_name=member)
        return replace(entry, spec=spec)


@lru_cache(maxsize=1)
def default_registry() -> BackboneRegistry:
    """Return the registry of the files beside this one, without the user's weights; each defines ``BACKBONE``."""
    names = sorted(module.name for module in pkgutil.iter_modules(backbones.__path__))
    chosen = [name for name in names if name not in _NOT_BACKBONES and not name.startswith("_")]
    modules = (importlib.import_module(f"{backbones.__name__}.{name}") for name in chosen)
    return BackboneRegistry(module.BACKBONE for module in modules)


def open_registry(folder: Path | None) -> BackboneRegistry:
    """Return the default registry with the weights that the user keeps in a folder; None: only bundled ones."""
    return default_registry() if folder is None else default_registry().with_store(BackboneStore(folder))


def build_backbone(name: str, registry: BackboneRegistry | None = None, weights_digest: str | None = None) -> Backbone:
    """Build a backbone with its weights, frozen and in evaluation mode.

    Parameters
    ----------
    name
        The backbone.
    registry
        Where to look; the bundled ones by default.
    weights_digest
        Which weights; None means bundled ones, else the newest that the user brought.

    Raises
    ------
    PackageError
        If the name is unknown, or the weights are missing (kind ``environment``) or do not fit the network.
    """
    from engine.models.backbones.network import Backbone

    registry = registry if registry is not None else default_registry()
    digest = registry.weights_digest(name, weights_digest)
    return Backbone(registry.entry(name, digest), registry.stored(name, digest))


def _no_weights(entry: BackboneEntry, wanted: str | None, bundled: str | None) -> PackageError:
    which = "" if wanted is None else f" with sha256 {wanted[:12]}…"
    here = "" if bundled is None else f"; those installed here are {bundled[:12]}…"
    # Nothing here says whether a digest is of published weights or of fine-tuned ones.
    copied = "" if wanted is None else "; weights that a run fine-tuned are a folder to be copied from where it ran"
    command = f"models convert FILE --backbone {entry.spec.name}"
    return PackageError(
        f"The weights of {entry.spec.display_name}{which} are not on this computer{here}.",
        hint=f"Get them ({entry.spec.origin}) and convert them: {command}{copied}",
        code="backbone.weights_missing",
        kind="environment",
    )
