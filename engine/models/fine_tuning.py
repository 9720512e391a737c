"""Training all of a backbone, and keeping what became of it: weights of their own in the store, their parent noted."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneSpec, resolved_facts
from engine.models.backbones.weights import WEIGHTS_FILE, BackboneRecord, BackboneStore, StoredBackbone, not_stored
from engine.models.lora import on_meta


@dataclass(frozen=True)
class Origin:
    """Where fine-tuned weights come from: the sha256 of the weights before, and the run's name and configuration's."""

    parent_digest: str
    run_name: str
    run_digest: str


def train_whole(backbone: Backbone) -> tuple[str, ...]:
    """Let every parameter train that the feature depends on, in place; return their names in the network.

    A parameter that no feature depends on, such as those of Atlas' copies for finished scales, would get no gradient:
    processes that train together wait for each one's. Statistics of batch normalisation stay as published, since a
    backbone is always in evaluation mode: a study's logits then do not depend on the rest of its batch, nor on how that
    is split.
    """
    names = used_parameters(backbone.network, backbone.spec)
    used = set(names)
    for name, parameter in backbone.network.named_parameters():
        parameter.requires_grad_(name in used)
    return names


def used_parameters(network: nn.Module, spec: BackboneSpec) -> tuple[str, ...]:
    """Return the names of the parameters that the pooled feature depends on.

    The network is followed on shapes alone, or, where it needs values, on one black picture.
    """
    shape = (1, len(spec.mean), *spec.native_size)
    try:
        return _reached(on_meta(network), torch.zeros(shape, device="meta"))
    except RuntimeError:
        parameter = next(network.parameters())
        return _reached(network, torch.zeros(shape, device=parameter.device, dtype=parameter.dtype))


def _reached(network: nn.Module, x: torch.Tensor) -> tuple[str, ...]:
    parameters = {name: value for name, value in network.named_parameters() if value.is_floating_point()}
    trained = [value.requires_grad for value in parameters.values()]
    for value in parameters.values():
        value.requires_grad_()
    try:
        features_ND = network.forward_head(network.forward_features(x), pre_logits=True)  # type: ignore[operator]
        gradients = torch.autograd.grad(features_ND.sum(), list(parameters.values()), allow_unused=True)
    finally:
        for value, before in zip(parameters.values(), trained, strict=True):
            value.requires_grad_(before)
    return tuple(name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None)


def store_fine_tuned(
    backbone: Backbone, origin: Origin, registry: BackboneRegistry, store: BackboneStore
) -> StoredBackbone:
    """Add the backbone's present weights to a store, whole or not at all.

    They are found by their digest only: a run on this backbone that names none still starts from published weights.

    Parameters
    ----------
    backbone
        Trained; without adapters.
    origin
        Kept with the weights.
    registry
        Where the parent's licence and configuration are looked up.
    store
        Where the result goes. Weights that are there already are left as they are.

    Raises
    ------
    PackageError
        If the store cannot be written (kind ``environment``).
    """
    spec = backbone.spec
    parent = registry.stored(spec.name, origin.parent_digest)
    shapes = [tuple(tensor.shape) for tensor in backbone.network.state_dict().values()]
    with store.new_folder() as temporary:
        record = BackboneRecord(
            name=spec.name,
            weights_digest=_write(backbone.network, temporary / WEIGHTS_FILE),
            source_name=f"fine-tuning by {origin.run_name}",
            source_digest=origin.run_digest,
            licence=spec.licence if parent is None else parent.record.licence,
            origin=spec.origin if parent is None else parent.record.origin,
            accepted=datetime.now(UTC).replace(microsecond=0) if parent is None else parent.record.accepted,
            config=None if parent is None else parent.record.config,
            facts=resolved_facts(spec) if parent is None else parent.record.facts,
            n_parameters=sum(math.prod(shape) for shape in shapes),
            parent_digest=origin.parent_digest,
        )
        return store.keep(temporary, record)


def _write(network: nn.Module, path: Path) -> str:
    """Write the tensors under the network's own names; return the file's sha256."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise not_stored(path.parent.parent, "the weights could not be written") from error
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()
