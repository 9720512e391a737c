"""A small backbone and small packages for tests. Torch is imported inside the functions, not here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneEntry, BackboneSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

TINY_WIDTH = 12
TINY_SPEC = BackboneSpec(
    name="tiny",
    display_name="Tiny test network",
    timm_name="none",
    dimensions=2,
    feature_width=TINY_WIDTH,
    native_size=(32, 32),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    lora_targets=("conv",),
    licence="Apache-2.0",
    origin="tests",
)


def build_tiny_network() -> nn.Module:
    """One convolution, a batch normalisation and a mean, with timm's two methods."""
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, TINY_WIDTH, 4, stride=4)
            self.norm = nn.BatchNorm2d(TINY_WIDTH)
            self.classifier = nn.Linear(TINY_WIDTH, 5)

        def forward_features(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)).relu()

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            pooled = x.mean(dim=(2, 3))
            return pooled if pre_logits else self.classifier(pooled)

    return Tiny()


def tiny_checkpoint() -> Mapping[str, Tensor]:
    """The same weights on every call, under names of their own."""
    import torch

    generator = torch.Generator().manual_seed(7)
    state = build_tiny_network().state_dict()
    return {
        f"published.{name}": torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def convert_tiny_checkpoint(checkpoint: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: checkpoint[f"published.{name}"] for name in target}


def tiny_entry(digest: str = hashlib.sha256(b"tiny").hexdigest()) -> BackboneEntry:
    return BackboneEntry(
        spec=TINY_SPEC,
        build_network=build_tiny_network,
        read_checkpoint=tiny_checkpoint,
        convert_checkpoint=convert_tiny_checkpoint,
        weights_digest=lambda: digest,
    )


def tiny_registry(digest: str = hashlib.sha256(b"tiny").hexdigest()) -> BackboneRegistry:
    return BackboneRegistry([tiny_entry(digest)])
