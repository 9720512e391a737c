"""A frozen pretrained network behind one interface.

Legend: N slice or volume, M channel, S slice of a volume, H row, W column, D feature width, P position.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import PackageError
from engine.models.backbones.conversion import check_plan, converted
from engine.models.backbones.spec import BackboneEntry, BackboneSpec
from engine.models.backbones.weights import StoredBackbone


class Backbone(nn.Module):
    """The network of one `BackboneEntry` with its weights.

    Frozen, and always in evaluation mode, so that batch normalisation keeps the published statistics; `train` has no
    effect. LoRA adapters that are added later stay trainable.

    Parameters
    ----------
    entry
        Which network.
    stored
        The user's converted weights; None takes the bundled ones.

    Attributes
    ----------
    spec
        The facts about the network.
    network
        The module itself, classification layer included where it has one.

    Raises
    ------
    PackageError
        If the weights are missing or do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, entry: BackboneEntry, stored: StoredBackbone | None = None) -> None:
        super().__init__()
        self.spec: BackboneSpec = entry.spec
        self.network = entry.build_network(None if stored is None else stored.record.config)
        if stored is None:
            _fill_from_bundled(self.network, entry)
        else:
            _fill_from_store(self.network, stored)
        trailing = (1,) * entry.spec.dimensions
        self.register_buffer("mean", torch.tensor(entry.spec.mean).view(-1, *trailing), persistent=False)
        self.register_buffer("std", torch.tensor(entry.spec.std).view(-1, *trailing), persistent=False)
        self.requires_grad_(False)
        if entry.spec.dimensions == 2:
            # Convolutions on two CPU cores take two thirds of the time with the channels last.
            self.to(memory_format=torch.channels_last)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features before the classification layer.

        Parameters
        ----------
        x
            float32 (N, M, H, W), or (N, M, S, H, W) for a network of volumes; windows scaled to 0..1. Mean and
            standard deviation are applied here, and the size is brought to one that the network takes.

        Returns
        -------
        Tensor
            ``features_ND``.
        """
        features_ND: Tensor = self.network.forward_head(self._last_grid(x), pre_logits=True)  # type: ignore[operator]
        return features_ND

    def feature_grid(self, x: Tensor) -> Tensor:
        """Return the last features before pooling, by position: (N, H', W', D), for volumes (N, S', H', W', D).

        Where ``spec.pooled`` is ``mean``, their mean over the positions is what `forward` returns.
        """
        return self.to_grid(self._last_grid(x), self.spec.input_size(tuple(x.shape[2:])))

    def to_grid(self, features: Tensor, input_size: tuple[int, ...]) -> Tensor:
        """Lay a layer's output out by position, features last.

        Parameters
        ----------
        features
            A map (N, D, *grid), or tokens (N, P, D): a class token and registers in front are left out.
        input_size
            What the network saw, which gives the tokens' grid its shape.
        """
        if features.ndim == 2 + self.spec.dimensions:
            # Some of timm's networks (Swin) keep the features last themselves.
            return features if getattr(self.network, "output_fmt", "NCHW") == "NHWC" else features.movedim(1, -1)
        n_positions = features.shape[1] - int(getattr(self.network, "num_prefix_tokens", 0))
        positions_NPD = features[:, -n_positions:]
        scale = (n_positions / math.prod(input_size)) ** (1.0 / len(input_size))
        grid = tuple(round(length * scale) for length in input_size)
        return positions_NPD.reshape(len(features), *grid, features.shape[-1])

    def _last_grid(self, x: Tensor) -> Tensor:
        size = self.spec.input_size(tuple(x.shape[2:]))
        if size != tuple(x.shape[2:]):
            mode = "bilinear" if self.spec.dimensions == 2 else "trilinear"
            x = functional.interpolate(x, size=size, mode=mode, align_corners=False)
        x = (x - self.mean) / self.std
        if self.spec.dimensions == 2:
            x = x.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.network.forward_features(x)  # type: ignore[operator]
        return features

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is asked for."""
        return super().train(False)


def _fill_from_bundled(network: nn.Module, entry: BackboneEntry) -> None:
    """Convert the weights that came with the program."""
    if entry.bundled is None:
        raise PackageError(
            f"The weights of {entry.spec.display_name} do not come with the program.",
            hint=f"Get them ({entry.spec.origin}) and convert them: models convert FILE --backbone {entry.spec.name}",
            code="backbone.weights_missing",
            kind="environment",
        )
    checkpoint = entry.bundled.read()
    target = network.state_dict()
    source_shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.items()}
    target_shapes = {name: tuple(tensor.shape) for name, tensor in target.items()}
    plan = entry.plan(source_shapes, target_shapes)
    check_plan(plan, source_shapes, target_shapes, "The installed file", entry.spec.display_name)
    network.load_state_dict(dict(converted(plan, checkpoint.__getitem__)))


def _fill_from_store(network: nn.Module, stored: StoredBackbone) -> None:
    """Copy the stored tensors into the network one at a time, so that memory holds the weights once."""
    target = network.state_dict()
    try:
        with safe_open(stored.weights, framework="pt") as file:
            names = set(file.keys())
            if names != target.keys():
                differing = sorted(names ^ target.keys())
                raise _unusable(stored, f"its tensors are not the network's: {', '.join(differing[:5])}")
            for name, place in target.items():
                tensor = file.get_tensor(name)
                if tensor.shape != place.shape:
                    raise _unusable(stored, f"{name} is {list(tensor.shape)}, not {list(place.shape)}")
                place.copy_(tensor)
    except (SafetensorError, OSError) as error:
        raise _unusable(stored, f"it cannot be read ({type(error).__name__})") from error


def _unusable(stored: StoredBackbone, reason: str) -> PackageError:
    return PackageError(
        f"The stored weights {stored.weights} cannot be used: {reason}.",
        hint="Delete the folder and convert the published file again.",
        code="backbone.broken",
        kind="environment",
    )
