"""What the two SigLIP encoders share: the So400m vision transformer and the names in the published files.

Zhai et al., Sigmoid Loss for Language Image Pre-Training (2023); Sellergren et al., MedGemma (2025).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.models.backbones._names import renamed, starting_with
from engine.models.backbones.conversion import ConversionPlan, Piece, Shapes, concatenated, part, same

if TYPE_CHECKING:
    from torch import Tensor, nn

MEAN = STD = (0.5, 0.5, 0.5)
LICENCE = "Health AI Developer Foundations terms of use (Google), to be accepted by the user"
# Query, key and value are one layer here; `engine.models.thirds` gives each third an adapter of its own. The pooling's
# layers stay as published: with them, the paper's total would not come out.
LORA_TARGETS = ("qkv.q", "qkv.k", "qkv.v", "attn.proj", "patch_embed.proj")
SO400M: Mapping[str, Any] = {"embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 3.7362}

_PATCHES = "embeddings.patch_embedding.weight"
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_QKV = re.compile(r"attn\.qkv\.(weight|bias)")
_POOL_PROJECTION = re.compile(r"attn_pool\.(q|kv)\.(weight|bias)")
_TOP = {
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
    "attn_pool.latent": "head.probe",
    "attn_pool.proj": "head.attention.out_proj",
    "attn_pool.norm": "head.layernorm",
    "attn_pool.mlp": "head.mlp",
}
_IN_BLOCK = {"attn.proj": "self_attn.out_proj", "norm1": "layer_norm1", "norm2": "layer_norm2", "mlp": "mlp"}
# A file of the whole model holds its other half too: SigLIP's text tower, or MedGemma's language model.
_OTHER_PARTS = (
    "text_model.",
    "logit_scale",
    "logit_bias",
    "language_model.",
    "multi_modal_projector.",
    "lm_head.",
    "model.language_model.",
    "model.multi_modal_projector.",
)


def build_siglip(image_size: int, *, map_head: bool, sizes: Mapping[str, Any] = SO400M) -> nn.Module:
    """Make the network with random weights.

    Parameters
    ----------
    image_size
        Height and width in pixels; the learnt positions fit this size only.
    map_head
        Whether the feature is pooled by attention (MAP), or is the mean of the tokens after the last norm.
    sizes
        timm's names for width, depth, heads and ratio of the hidden layer.
    """
    from timm.models.vision_transformer import vit_so400m_patch14_siglip_384, vit_so400m_patch14_siglip_gap_896

    make = vit_so400m_patch14_siglip_384 if map_head else vit_so400m_patch14_siglip_gap_896
    # The published network has the tanh form of GELU; timm's default is the exact one, 6e-4 away in the feature.
    network: nn.Module = make(img_size=image_size, num_classes=0, act_layer="gelu_tanh", **sizes)
    return network


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Map a published Hugging Face file onto the network, with or without the rest of its model around it."""
    prefix = next((name.removesuffix(_PATCHES) for name in source if name.endswith(_PATCHES)), "vision_model.")
    unused = [*_OTHER_PARTS, f"{prefix}embeddings.position_ids"]
    if "attn_pool.latent" not in target:
        unused.append(f"{prefix}head.")
    return ConversionPlan(
        pieces={name: _piece(name, prefix) for name in target},
        dropped=starting_with(source, tuple(unused)),
    )


def _piece(name: str, prefix: str) -> Piece:
    if name == "pos_embed":
        return Piece((f"{prefix}embeddings.position_embedding.weight",), _with_batch_axis)
    pool = _POOL_PROJECTION.fullmatch(name)
    if pool is not None:
        joint = f"{prefix}head.attention.in_proj_{pool[2]}"
        return part(joint, 0, 3) if pool[1] == "q" else Piece((joint,), _last_two_thirds)
    block = _BLOCK.fullmatch(name)
    if block is None:
        return same(prefix + (renamed(name, _TOP) or name))
    layer = f"{prefix}encoder.layers.{block[1]}"
    qkv = _QKV.fullmatch(block[2])
    if qkv is not None:
        return concatenated(*(f"{layer}.self_attn.{letter}_proj.{qkv[1]}" for letter in "qkv"))
    return same(f"{layer}.{renamed(block[2], _IN_BLOCK) or block[2]}")


def _with_batch_axis(positions_PD: Tensor) -> Tensor:
    return positions_PD[None]


def _last_two_thirds(joint: Tensor) -> Tensor:
    return joint[joint.shape[0] // 3 :]
