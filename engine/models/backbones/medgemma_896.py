"""The encoder inside MedGemma: SigLIP at 896 pixels, its tokens averaged; the user brings Google's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.models.backbones._siglip import LICENCE, LORA_TARGETS, MEAN, STD, build_siglip, plan
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config

if TYPE_CHECKING:
    from torch import nn

SPEC = BackboneSpec(
    name="medgemma_896",
    display_name="MedGemma's encoder (896 pixels, token mean)",
    timm_name="vit_so400m_patch14_siglip_gap_896",
    dimensions=2,
    feature_width=1152,
    native_size=(896, 896),
    mean=MEAN,
    std=STD,
    lora_targets=LORA_TARGETS,
    licence=LICENCE,
    origin="the vision tower of google/medgemma-4b-it or google/medgemma-4b-pt on Hugging Face",
    pooled="mean",
    gradcam_layer="norm",
    size_rule="fixed",
)


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights; it has no configuration."""
    return build_siglip(896, map_head=False)


BACKBONE = BackboneEntry(spec=SPEC, build_network=build_network, plan=plan)
