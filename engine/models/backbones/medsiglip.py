"""MedSigLIP: MedGemma's image encoder at 448 pixels with its attention pooling; the user brings Google's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.models.backbones._siglip import LICENCE, LORA_TARGETS, MEAN, STD, build_siglip, plan
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config

if TYPE_CHECKING:
    from torch import nn

SPEC = BackboneSpec(
    name="medsiglip",
    display_name="MedGemma's encoder (MedSigLIP, 448 pixels)",
    timm_name="vit_so400m_patch14_siglip_384",
    dimensions=2,
    feature_width=1152,
    native_size=(448, 448),
    mean=MEAN,
    std=STD,
    lora_targets=LORA_TARGETS,
    licence=LICENCE,
    origin="google/medsiglip-448 on Hugging Face",
    pooled="map",
    gradcam_layer="norm",
    size_rule="fixed",
    paper_row="MedGemma",
)


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights; it has no configuration."""
    return build_siglip(448, map_head=True)


BACKBONE = BackboneEntry(spec=SPEC, build_network=build_network, plan=plan)
