"""DINOv3-Base: a general vision transformer of 86 million parameters; the user brings Meta's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.models.backbones._dinov3 import IMAGENET_MEAN, IMAGENET_STD, LICENCE, LORA_TARGETS, build_vit, plan
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config

if TYPE_CHECKING:
    from torch import nn

SPEC = BackboneSpec(
    name="dinov3_base",
    display_name="DINOv3-Base",
    timm_name="vit_base_patch16_dinov3_qkvb",
    dimensions=2,
    feature_width=768,
    native_size=(256, 256),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    lora_targets=LORA_TARGETS,
    licence=LICENCE,
    origin="dinov3_vitb16_pretrain_lvd1689m from Meta, or facebook/dinov3-vitb16-pretrain-lvd1689m on Hugging Face",
    pooled="token",
    # Only the class token leaves the last block, so the patches' last influence is on that block's attention.
    gradcam_layer="blocks.11.norm1",
    size_rule="multiple",
    size_multiple=16,
    paper_row="DINOv3-Base",
)


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights; it has no configuration."""
    return build_vit(width=768, depth=12, n_heads=12)


BACKBONE = BackboneEntry(spec=SPEC, build_network=build_network, plan=plan)
