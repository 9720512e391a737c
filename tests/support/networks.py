"""The architectures of the registered backbones at small widths and sizes. Torch is imported inside the functions."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.models.backbones import deepcntd, dinov3_base, efficientnet_lite0, medgemma_896, medimageinsight, medsiglip
from engine.models.backbones import pillar0 as pillar0_file
from engine.models.backbones.conversion import ConversionPlan, same
from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, BundledWeights

if TYPE_CHECKING:
    from torch import nn

SIGLIP_SIZES = {"embed_dim": 64, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}


@dataclass(frozen=True)
class SmallNetwork:
    """A spec whose native size and width are the small network's, and how to make that."""

    spec: BackboneSpec
    build: Callable[[], nn.Module]


def _dinov3() -> nn.Module:
    from engine.models.backbones._dinov3 import build_vit

    network = build_vit(width=64, depth=2, n_heads=4)
    for block in network.blocks:
        # timm starts the blocks' scales at 1e-5, which would hide what the blocks do.
        for scale_D in (block.gamma_1, block.gamma_2):
            scale_D.data.fill_(0.5)
    return network


def _siglip(map_head: bool) -> nn.Module:
    from engine.models.backbones._siglip import build_siglip

    return build_siglip(28, map_head=map_head, sizes=SIGLIP_SIZES)


def _davit() -> nn.Module:
    from engine.models.backbones._davit import ProjectedDaVit

    sizes = {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128), "num_heads": (2, 2, 4, 4)}
    return ProjectedDaVit(24, sizes)


def _atlas_config() -> dict[str, Any]:
    config = copy.deepcopy(dict(pillar0_file.REFERENCE_CONFIG))
    config["modalities"]["brain_ct"] |= {"image_size": [128, 128, 64], "num_features": 12, "merge_ratio": [4, 4, 4]}
    config["model"] = {"stages": [1, 1, 1], "atlas_args": {"dim": 24, "num_heads": 2}}
    return config


SMALL = {
    "efficientnet_lite0": SmallNetwork(
        replace(efficientnet_lite0.SPEC, native_size=(64, 64)), efficientnet_lite0.BACKBONE.build_network
    ),
    "dinov3_base": SmallNetwork(replace(dinov3_base.SPEC, native_size=(32, 32), feature_width=64), _dinov3),
    "medimageinsight": SmallNetwork(replace(medimageinsight.SPEC, native_size=(96, 96), feature_width=24), _davit),
    "medsiglip": SmallNetwork(
        replace(medsiglip.SPEC, native_size=(28, 28), feature_width=64), lambda: _siglip(map_head=True)
    ),
    "medgemma_896": SmallNetwork(
        replace(medgemma_896.SPEC, native_size=(28, 28), feature_width=64), lambda: _siglip(map_head=False)
    ),
    "pillar0_headct": SmallNetwork(
        replace(pillar0_file.SPEC, native_size=(64, 128, 128), feature_width=72),
        lambda: pillar0_file.build_network(_atlas_config()),
    ),
    "deepcntd_standin": SmallNetwork(replace(deepcntd.SPEC, native_size=(16, 32, 32)), deepcntd.build_network),
}
"""By name of the backbone; the larger DINOv3 has the same parts."""


def small_registry(name: str) -> BackboneRegistry:
    """A registry of one small network with random weights, the same on every call."""
    import torch

    small = SMALL[name]

    def weights() -> dict[str, torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(12)
            return dict(small.build().state_dict())

    return BackboneRegistry(
        [
            BackboneEntry(
                spec=small.spec,
                build_network=lambda config=None: small.build(),
                plan=lambda source, target: ConversionPlan({key: same(key) for key in target}),
                bundled=BundledWeights(weights, lambda: hashlib.sha256(name.encode()).hexdigest()),
            )
        ]
    )
