"""What the two DINOv3 networks share: the vision transformer itself and the names in the published files.

Siméoni et al., DINOv3 (2025): patches of 16 pixels, a class token and four registers, rotary positions, LayerScale.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.models.backbones._names import renamed
from engine.models.backbones.conversion import ConversionPlan, Piece, Shapes, part, same

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "attn.proj", "patch_embed.proj")
LICENCE = "DINOv3 License (Meta), to be accepted by the user"

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_PROJECTIONS = ("attn.q_proj", "attn.k_proj", "attn.v_proj")
# Only pretraining uses the mask token; the rotary periods and the mask of the key's bias are constants.
_UNUSED = re.compile(r"(embeddings\.)?mask_token|rope_embed\.periods|blocks\.\d+\.attn\.qkv\.bias_mask")

_META_TOP = {"reg_token": "storage_tokens", "cls_token": "cls_token", "patch_embed": "patch_embed", "norm": "norm"}
_META_BLOCK = {
    "gamma_1": "ls1.gamma",
    "gamma_2": "ls2.gamma",
    "attn.proj": "attn.proj",
    "mlp": "mlp",
    "norm1": "norm1",
    "norm2": "norm2",
}
_HF_TOP = {
    "cls_token": "embeddings.cls_token",
    "reg_token": "embeddings.register_tokens",
    "patch_embed.proj": "embeddings.patch_embeddings",
    "norm": "norm",
}
_HF_BLOCK = {
    "gamma_1": "layer_scale1.lambda1",
    "gamma_2": "layer_scale2.lambda1",
    "attn.q_proj": "attention.q_proj",
    "attn.k_proj": "attention.k_proj",
    "attn.v_proj": "attention.v_proj",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
    "norm1": "norm1",
    "norm2": "norm2",
}


def build_vit(width: int, depth: int, n_heads: int) -> nn.Module:
    """Make the network with random weights.

    Queries, keys and values are three layers here, because timm's fused layer is used by its weight alone, past any
    adapter that is put around it.
    """
    from timm.models.eva import vit_base_patch16_dinov3_qkvb

    network: nn.Module = vit_base_patch16_dinov3_qkvb(
        embed_dim=width, depth=depth, num_heads=n_heads, qkv_fused=False, num_classes=0, global_pool="token"
    )
    return network


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Map a published file onto the network: Meta's own names, Hugging Face's older and newer ones, or timm's."""
    piece = _naming(source)
    return ConversionPlan(
        pieces={name: piece(name) for name in target},
        dropped=tuple(name for name in source if _UNUSED.fullmatch(name)),
    )


def _naming(source: Shapes) -> Callable[[str], Piece]:
    if "storage_tokens" in source:
        return lambda name: _meta(name, has_bias="blocks.0.attn.qkv.bias" in source)
    if "reg_token" in source:
        return lambda name: _timm(name, has_bias="blocks.0.attn.q_bias" in source)
    layers = "model.layer" if any(name.startswith("model.layer.") for name in source) else "layer"
    return lambda name: _hugging_face(name, layers)


def _meta(name: str, has_bias: bool) -> Piece:
    block = _BLOCK.fullmatch(name)
    if block is None:
        return same(renamed(name, _META_TOP) or name)
    index, rest = block.groups()
    if rest.startswith(_PROJECTIONS):
        # The key's bias is masked to zero in the published network, so it is left out.
        return _third_of_fused(f"blocks.{index}.attn.qkv", rest, f"blocks.{index}.attn.qkv.bias" if has_bias else None)
    return same(f"blocks.{index}.{renamed(rest, _META_BLOCK) or rest}")


def _timm(name: str, has_bias: bool) -> Piece:
    block = _BLOCK.fullmatch(name)
    if block is None or not block[2].startswith(_PROJECTIONS):
        return same(name)
    fused = f"blocks.{block[1]}.attn.qkv"
    if block[2].endswith(".bias") and has_bias:
        return same(f"blocks.{block[1]}.attn.{block[2].split('.')[1][0]}_bias")
    return _third_of_fused(fused, block[2], None)


def _third_of_fused(fused: str, rest: str, bias: str | None) -> Piece:
    """Take query, key or value out of the joint layer; files without biases mean biases of zero."""
    index = next(index for index, module in enumerate(_PROJECTIONS) if rest.startswith(module))
    if rest.endswith(".weight"):
        return part(f"{fused}.weight", index, 3)
    return Piece((f"{fused}.weight",), _zero_bias) if bias is None else part(bias, index, 3)


def _zero_bias(weight: Tensor) -> Tensor:
    return weight.new_zeros(weight.shape[0] // 3)


def _hugging_face(name: str, layers: str) -> Piece:
    block = _BLOCK.fullmatch(name)
    if block is None:
        return same(renamed(name, _HF_TOP) or name)
    return same(f"{layers}.{block[1]}.{renamed(block[2], _HF_BLOCK) or block[2]}")
