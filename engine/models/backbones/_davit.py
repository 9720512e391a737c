"""DaViT with the projection that MedImageInsight puts after it. Imports torch; only `build_network` imports this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.davit import DaVit
from torch import Tensor, nn

HUGE: Mapping[str, Any] = {
    "depths": (1, 1, 9, 1),
    "embed_dims": (256, 512, 1024, 2048),
    "num_heads": (8, 16, 32, 64),
}
"""Sizes of timm's ``davit_huge_fl``, the tower of MedImageInsight."""


class ProjectedDaVit(DaVit):
    """Ding et al., DaViT (2022), in Florence-2's variant; its normalised mean is projected to the feature.

    Parameters
    ----------
    projection_width
        D, width of the feature.
    sizes
        timm's names for depths, widths and heads of the four stages.
    """

    def __init__(self, projection_width: int, sizes: Mapping[str, Any] = HUGE) -> None:
        super().__init__(
            window_size=12, down_kernel_size=3, channel_attn_v2=True, named_blocks=True, num_classes=0, **sizes
        )
        self.image_projection = nn.Parameter(torch.empty(self.num_features, projection_width))
        nn.init.trunc_normal_(self.image_projection, std=0.02)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the feature (N, D): mean over the map, LayerNorm, projection; there is no classification layer."""
        pooled: Tensor = super().forward_head(x, pre_logits=True)
        return pooled @ self.image_projection
