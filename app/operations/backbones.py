"""Backbones as the app uses them: which are known, which weights are stored, conversion with its terms. No torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import PackageError
from engine.models.backbones.registry import FAMILY_SEPARATOR, BackboneRegistry
from engine.models.backbones.spec import BackboneEntry
from engine.models.backbones.weights import BackboneStore, StoredBackbone
from engine.models.package import read_manifest
from engine.progress import NULL_CONTEXT, Context

if TYPE_CHECKING:
    from engine.models.backbones.convert import Terms
    from engine.models.library import LibraryEntry, ModelLibrary

DIGEST_SHOWN = 12
SHORTEST_DIGEST = 4


@dataclass(frozen=True)
class Conversion:
    """What is to be converted: a published file, the backbone that it is for, and how.

    Attributes
    ----------
    file
        None: the weights are downloaded first, which only ``timm:NAME`` can.
    config_file
        The user's ``config.json``, for backbones that need one.
    pooled
        ``token``, ``avg`` or ``own``, for ``timm:NAME`` only.
    """

    file: Path | None
    name: str
    config_file: Path | None = None
    pooled: str | None = None


@dataclass(frozen=True)
class KnownBackbone:
    """A backbone by name, and the weights here for it; `bundled` is the sha256 of weights that ship along."""

    name: str
    entry: BackboneEntry
    bundled: str | None
    stored: tuple[StoredBackbone, ...]

    @property
    def is_family(self) -> bool:
        """Whether the name stands for a whole family, and a member's must be added to it."""
        return self.name.endswith(FAMILY_SEPARATOR)


@dataclass(frozen=True)
class BackboneNeed:
    """The weights that an installed package stands on, and whether they are on this computer."""

    name: str
    display_name: str
    weights_digest: str
    present: bool


def known_backbones(registry: BackboneRegistry, needed: Iterable[str] = ()) -> tuple[KnownBackbone, ...]:
    """Return the registered backbones by name, and the members of families that have stored weights or are needed."""
    stored = () if registry.store is None else registry.store.list()
    members = {name for name in (*needed, *(item.record.name for item in stored)) if registry.knows(name)}
    names = sorted({*registry, *members})
    return tuple(_known(name, registry, stored) for name in names)


def _known(name: str, registry: BackboneRegistry, stored: tuple[StoredBackbone, ...]) -> KnownBackbone:
    entry = registry[name] if name in registry else registry.entry(name)
    bundled = entry.bundled_digest()
    return KnownBackbone(name, entry, bundled, tuple(item for item in stored if item.record.name == name))


def backbones_document(registry: BackboneRegistry, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return all known backbones, their weights, and folders that cannot be used, as plain values."""
    broken = () if registry.store is None else registry.store.broken()
    return {
        "backbones": [_backbone_document(item) for item in known_backbones(registry, needed)],
        "broken": [{"code": error.code, "message": error.message, "hint": error.hint} for error in broken],
    }


def _backbone_document(known: KnownBackbone) -> dict[str, Any]:
    spec = known.entry.spec
    return {
        "name": known.name,
        "display_name": spec.display_name,
        "dimensions": spec.dimensions,
        "feature_width": None if known.is_family else spec.feature_width,
        "licence": spec.licence,
        "origin": spec.origin,
        "needs_config": known.entry.needs_config and FAMILY_SEPARATOR not in known.name,
        "stand_in": spec.stand_in,
        "bundled": known.bundled,
        "stored": [_stored_document(item) for item in known.stored],
    }


def _stored_document(stored: StoredBackbone) -> dict[str, Any]:
    kept = stored.record.model_dump(mode="json", exclude={"schema_version", "name", "config", "facts"})
    return {**kept, "bytes": stored.weights.stat().st_size, "folder": str(stored.folder)}


def backbone_lines(document: Mapping[str, Any]) -> list[str]:
    """Put what `backbones_document` returned in lines for a person."""
    lines = []
    for item in document["backbones"]:
        lines.append(f"{item['name']}  {item['display_name']}, {item['dimensions']}D")
        lines += [f"    {_weights_line(stored)}" for stored in item["stored"]]
        if item["bundled"] is not None:
            lines.append(f"    {item['bundled'][:DIGEST_SHOWN]}  installed with pip; {item['licence']}")
        elif not item["stored"]:
            lines.append(f"    no weights here; licence: {item['licence']}; get them: {item['origin']}")
    return lines


def _weights_line(stored: Mapping[str, Any]) -> str:
    size = f"{stored['bytes'] / 2**20:.1f} MiB"
    return (
        f"{stored['weights_digest'][:DIGEST_SHOWN]}  {size}, from {stored['source_name']}; {stored['licence']}; "
        f"{stored['origin']}; accepted {stored['accepted'][:10]}"
    )


def needs_of(entry: LibraryEntry, registry: BackboneRegistry) -> BackboneNeed:
    """Return which backbone weights a package stands on.

    Raises
    ------
    PackageError
        If its manifest cannot be read.
    """
    wanted = read_manifest(entry.path).backbone
    if not registry.knows(wanted.name):
        return BackboneNeed(wanted.name, wanted.name, wanted.weights_digest, present=False)
    known = registry.entry(wanted.name, wanted.weights_digest)
    bundled = known.bundled_digest() == wanted.weights_digest
    present = bundled or registry.stored(wanted.name, wanted.weights_digest) is not None
    return BackboneNeed(wanted.name, known.spec.display_name, wanted.weights_digest, present)


def already_stored(
    conversion: Conversion, registry: BackboneRegistry, context: Context = NULL_CONTEXT
) -> StoredBackbone | None:
    """Return the weights that were made from this very file for this backbone earlier; None where there are none.

    The file is hashed only where there are weights for this backbone.

    Raises
    ------
    PackageError
        If the file cannot be read, or the weights are stored with another configuration than the one that is wanted.
    """
    if registry.store is None or conversion.file is None:
        return None
    candidates = [item for item in registry.store.list() if item.record.name == conversion.name]
    if not candidates:
        return None
    from engine.models.backbones.convert import conversion_config, source_digest

    digest = source_digest(conversion.file, context)
    found = next((item for item in candidates if item.record.source_digest == digest), None)
    if found is not None:
        _require_config(found, conversion_config(conversion.name, conversion.config_file, conversion.pooled))
    return found


def convert(
    conversion: Conversion, registry: BackboneRegistry, terms: Terms, context: Context = NULL_CONTEXT
) -> StoredBackbone:
    """Convert a published file, downloaded first where it says so, and store the weights. Imports torch.

    Raises
    ------
    PackageError
        If it cannot be had, is not one of this backbone, or is stored with another configuration already.
    Cancelled
        If the context says so; nothing is left behind.
    """
    from engine.models.backbones.convert import conversion_config, convert_checkpoint

    if registry.store is None:
        raise ValueError("a conversion needs a store")
    config = conversion_config(conversion.name, conversion.config_file, conversion.pooled)
    with tempfile.TemporaryDirectory(prefix="head-ct-backbone-") as folder:
        file = conversion.file or _download(conversion.name, Path(folder), context)
        stored = convert_checkpoint(file, conversion.name, registry, registry.store, terms, config, context)
    _require_config(stored, config)
    return stored


def require_downloadable(name: str) -> None:
    """Refuse a download that there is none of.

    Raises
    ------
    PackageError
        If the backbone is not one of timm's.
    """
    from engine.models.backbones.timm_any import PREFIX

    if not name.startswith(PREFIX):
        raise PackageError(
            f"The weights of {name} cannot be downloaded by this program: their licence is agreed with the publisher.",
            hint="Get the file yourself and give its path; models backbones says where it is published.",
            code="backbone.no_download",
        )


def _download(name: str, folder: Path, context: Context) -> Path:
    require_downloadable(name)
    from engine.models.backbones.timm_any import download

    return download(name, folder, context)


def _require_config(stored: StoredBackbone, config: Mapping[str, Any] | None) -> None:
    """Refuse to pass off weights that are stored with one configuration as those with another."""
    kept = None if stored.record.config is None else dict(stored.record.config)
    if config is None or kept == config:
        return
    shown = stored.record.weights_digest[:DIGEST_SHOWN]
    raise PackageError(
        f"These weights are stored already as {shown}, with another configuration: {stored.folder}.",
        hint=f"Use them as they are, or remove them first with: models remove-backbone {shown}",
        code="backbone.other_config",
    )


def remove_backbone(
    digest: str, store: BackboneStore, library: ModelLibrary, force: bool = False
) -> tuple[StoredBackbone, tuple[LibraryEntry, ...]]:
    """Delete stored weights; return them with the packages that could no longer be used (none unless forced).

    Parameters
    ----------
    digest
        The start of the weights' digest, at least 4 characters.
    store, library
        Where the weights are, and whose packages are asked whether they need them.
    force
        Delete even what an installed package needs.

    Raises
    ------
    PackageError
        If no weights or several match, a package needs them, or they cannot be deleted.
    """
    stored = find_stored(digest, store)
    needing = tuple(entry for entry in library.list() if _needs(entry, stored))
    if needing and not force:
        names = ", ".join(f"{entry.name} ({entry.digest[:8]})" for entry in needing)
        raise PackageError(
            f"{stored.record.name} {stored.record.weights_digest[:DIGEST_SHOWN]} is not removed: needed by {names}.",
            hint="Keep them, or remove them all the same with --force; those packages then cannot be used.",
            code="backbone.needed",
        )
    store.remove(stored)
    return stored, needing


def find_stored(digest: str, store: BackboneStore) -> StoredBackbone:
    """Return the stored weights whose digest begins so.

    Raises
    ------
    PackageError
        If none or several do, or fewer than 4 characters are given.
    """
    matching = [item for item in store.list() if item.record.weights_digest.startswith(digest.lower())]
    if len(digest) >= SHORTEST_DIGEST and len(matching) == 1:
        return matching[0]
    known = ", ".join(f"{item.record.name} {item.record.weights_digest[:DIGEST_SHOWN]}" for item in store.list())
    which = (
        "Several stored backbones begin" if len(digest) >= SHORTEST_DIGEST and matching else "No stored backbone begins"
    )
    raise PackageError(
        f"{which} with {digest!r}; stored: {known or 'none'}.",
        hint=f"Give at least {SHORTEST_DIGEST} characters of one digest (models backbones lists them).",
        code="backbone.not_stored_here",
    )


def _needs(entry: LibraryEntry, stored: StoredBackbone) -> bool:
    wanted = read_manifest(entry.path).backbone
    return (wanted.name, wanted.weights_digest) == (stored.record.name, stored.record.weights_digest)


def agreed_terms(
    entry: BackboneEntry, licence: str | None, origin: str | None, ask: Callable[[str, str], str | None]
) -> Terms:
    """Return the terms to keep with weights, once a person has agreed to them.

    Parameters
    ----------
    entry
        States licence and origin, where none are given.
    licence, origin
        What the person says instead.
    ask
        Shown licence and origin, returns the origin as the person confirmed it; None where they do not agree.

    Raises
    ------
    PackageError
        If they do not agree.
    """
    from engine.models.backbones.convert import Terms

    agreed = licence or entry.spec.licence
    confirmed = ask(agreed, origin or entry.spec.origin)
    if confirmed is None:
        raise PackageError(
            f"The licence of {entry.spec.display_name} was not accepted; nothing was converted.",
            hint="Read the licence where the weights are published, then convert them again.",
            code="backbone.not_accepted",
        )
    return Terms(agreed, confirmed)


def missing_needs(library: ModelLibrary, registry: BackboneRegistry) -> dict[str, tuple[str, ...]]:
    """Return per backbone the installed packages that need weights of it which are not here."""
    missing: dict[str, tuple[str, ...]] = {}
    for entry in library.list():
        need = needs_of(entry, registry)
        if not need.present:
            missing[need.name] = (*missing.get(need.name, ()), entry.name)
    return missing
