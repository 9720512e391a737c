"""From a published checkpoint to stored weights: checked on names and shapes first, then copied tensor by tensor."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.errors import PackageError
from engine.models.backbones import timm_any
from engine.models.backbones.checkpoint import Checkpoint, n_bytes, open_checkpoint, sources, unreadable
from engine.models.backbones.conversion import ConversionPlan, Shapes, check_plan, converted
from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneEntry, Config, resolved_facts
from engine.models.backbones.weights import WEIGHTS_FILE, BackboneRecord, BackboneStore, StoredBackbone
from engine.progress import NULL_CONTEXT, Context

if TYPE_CHECKING:
    from torch import Tensor

_ALIGNMENT = 8
_CHUNK = 16 * 2**20


@dataclass(frozen=True)
class Terms:
    """What the user confirmed about the weights: their licence, and where they come from."""

    licence: str
    origin: str


def convert_checkpoint(
    path: Path,
    name: str,
    registry: BackboneRegistry,
    store: BackboneStore,
    terms: Terms,
    config: Config | None = None,
    context: Context = NULL_CONTEXT,
) -> StoredBackbone:
    """Convert a published file and add it to a store, whole or not at all.

    Memory holds one tensor at a time beside the pages of the mapped file.

    Parameters
    ----------
    path
        safetensors, the index of several, or a torch file with tensors only.
    name
        The backbone that the file is for.
    registry
        Where the backbone is looked up.
    store
        Where the result goes. Weights that are there already are left as they are, terms included.
    terms
        Kept with the weights.
    config
        The user's ``config.json``, for networks that need one.
    context
        Told of every tensor; asked before each whether to stop.

    Raises
    ------
    PackageError
        If the file cannot be read, is not one of this backbone (the first differing keys are named), or the store
        cannot be written (kind ``environment``).
    Cancelled
        If the context says so; nothing is left behind.
    """
    entry = registry.entry(name)
    if entry.needs_config and config is None:
        raise PackageError(
            f"{entry.spec.display_name} cannot be converted without its config.json.",
            hint="Give the file that was published beside the weights: --config FILE.",
            code="backbone.config",
        )
    spec = entry.resolved(config)
    with open_checkpoint(path) as checkpoint:
        plan = _checked_plan(entry, checkpoint, config, path)
        published_digest = source_digest(path, context)
        with store.new_folder() as temporary:
            weights_digest = _write_weights(temporary / WEIGHTS_FILE, plan, checkpoint, context)
            record = BackboneRecord(
                name=name,
                weights_digest=weights_digest,
                source_name=path.name,
                source_digest=published_digest,
                licence=terms.licence,
                origin=terms.origin,
                accepted=datetime.now(UTC).replace(microsecond=0),
                config=None if config is None else dict(config),
                facts=resolved_facts(spec),
                n_parameters=sum(math.prod(shape) for shape in _made_shapes(plan, checkpoint).values()),
            )
            return store.keep(temporary, record)


def read_config(path: Path) -> dict[str, Any]:
    """Read a ``config.json``.

    Raises
    ------
    PackageError
        If it is no JSON object.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise _bad_config(path, error.strerror or type(error).__name__) from error
    except ValueError as error:
        raise _bad_config(path, "it is not valid JSON") from error
    if not isinstance(document, dict):
        raise _bad_config(path, "it is not a JSON object")
    return document


def conversion_config(name: str, config_file: Path | None, pooled: str | None = None) -> dict[str, Any] | None:
    """Return the configuration that a conversion needs: the user's file, for ``timm:NAME`` with name and pooling.

    Parameters
    ----------
    name
        The backbone.
    config_file
        The user's ``config.json``, where there is one.
    pooled
        For ``timm:NAME`` only: "token", "avg" or "own".

    Raises
    ------
    PackageError
        If the file cannot be used, is of another network, or a pooling was chosen for a backbone that has one.
    """
    config = None if config_file is None else read_config(config_file)
    if name.startswith(timm_any.PREFIX):
        return timm_any.config_for(name, pooled, config)
    if pooled is not None:
        raise PackageError(
            f"The pooled feature of {name} is fixed; it cannot be {pooled}.",
            hint="Leave it out: it can be chosen for timm:NAME only.",
            code="backbone.config",
        )
    return config


def network_shapes(entry: BackboneEntry, config: Config | None = None) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a network's tensors without making them."""
    import torch

    with torch.device("meta"):
        network = entry.build_network(config)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _checked_plan(entry: BackboneEntry, checkpoint: Checkpoint, config: Config | None, path: Path) -> ConversionPlan:
    target = network_shapes(entry, config)
    plan = entry.plan(checkpoint.shapes, target)
    check_plan(plan, checkpoint.shapes, target, str(path), entry.spec.display_name)
    return plan


def _made_shapes(plan: ConversionPlan, checkpoint: Checkpoint) -> Shapes:
    import torch

    def empty(name: str) -> Tensor:
        return torch.empty(checkpoint.shapes[name], device="meta")

    return {name: tuple(tensor.shape) for name, tensor in converted(plan, empty)}


def _write_weights(path: Path, plan: ConversionPlan, checkpoint: Checkpoint, context: Context) -> str:
    """Write a safetensors file tensor by tensor; return its sha256."""
    shapes = _made_shapes(plan, checkpoint)
    dtypes = {name: checkpoint.dtypes[piece.sources[0]] for name, piece in plan.pieces.items()}
    # safetensors asks for the widest types first, so that every tensor stays aligned.
    order = sorted(shapes, key=lambda name: (-n_bytes((1,), dtypes[name]), name))
    ordered = ConversionPlan({name: plan.pieces[name] for name in order})
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        _put(stream, digest, _header(order, shapes, dtypes))
        for done, (name, tensor) in enumerate(converted(ordered, checkpoint.read)):
            context.raise_if_cancelled()
            _put(stream, digest, _bytes(tensor))
            context.progress(done + 1, len(order), f"Converting {name}")
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _header(order: list[str], shapes: Shapes, dtypes: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {}
    begin = 0
    for name in order:
        end = begin + n_bytes(shapes[name], dtypes[name])
        entries[name] = {"dtype": dtypes[name], "shape": list(shapes[name]), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    view: memoryview = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return view


def _put(stream: BinaryIO, digest: Any, content: bytes | memoryview) -> None:
    stream.write(content)
    digest.update(content)


def source_digest(path: Path, context: Context = NULL_CONTEXT) -> str:
    """Return the sha256 of a published file, or of an index and its files one after another.

    Raises
    ------
    PackageError
        If it cannot be read.
    """
    try:
        return _digest(path, context)
    except OSError as error:
        raise unreadable(path, error.strerror or type(error).__name__) from error


def _digest(path: Path, context: Context) -> str:
    digest = hashlib.sha256()
    for file in sources(path):
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                context.raise_if_cancelled()
                digest.update(chunk)
    return digest.hexdigest()


def _bad_config(path: Path, reason: str) -> PackageError:
    return PackageError(
        f"The configuration {path} cannot be used: {reason}.",
        hint="Give the config.json that was published beside the weights.",
        code="backbone.config",
    )
