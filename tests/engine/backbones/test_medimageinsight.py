"""MedImageInsight against its published forward pass, written here from the published names with plain functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import default_registry
from tests.support.backbones import SMALL_DAVIT, medimageinsight, random_values, small_entry

WINDOW = 12
Tensors = Mapping[str, Tensor]


def linear(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def norm(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def depthwise(tensors: Tensors, name: str, x_NHWD: Tensor) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    made = functional.conv2d(x_NHWD.permute(0, 3, 1, 2), weight, bias, padding=1, groups=weight.shape[0])
    return x_NHWD + made.permute(0, 2, 3, 1)


def heads_of(tensors: Tensors, name: str, x_BPD: Tensor, n_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = linear(tensors, f"{name}.qkv", x_BPD).chunk(3, dim=-1)
    return tuple(part.unflatten(-1, (n_heads, -1)).transpose(1, 2) for part in (q, k, v))  # type: ignore[return-value]


def window_attention(tensors: Tensors, name: str, x_NHWD: Tensor, n_heads: int) -> Tensor:
    """Attention inside windows of 12; the map is filled up with zeros after the norm."""
    _, height, width, _ = x_NHWD.shape
    filled = functional.pad(x_NHWD, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    result = torch.empty_like(filled)
    for row in range(0, filled.shape[1], WINDOW):
        for column in range(0, filled.shape[2], WINDOW):
            cell = filled[:, row : row + WINDOW, column : column + WINDOW]
            q, k, v = heads_of(tensors, name, cell.flatten(1, 2), n_heads)
            weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
            made = linear(tensors, f"{name}.proj", (weights @ v).transpose(1, 2).flatten(2))
            result[:, row : row + WINDOW, column : column + WINDOW] = made.view_as(cell)
    return result[:, :height, :width]


def channel_attention(tensors: Tensors, name: str, x_NHWD: Tensor, n_groups: int) -> Tensor:
    """Attention between the channels of a group, scaled by the number of positions."""
    x_NPD = x_NHWD.flatten(1, 2)
    q, k, v = heads_of(tensors, name, x_NPD, n_groups)
    weights = (q.mT @ k / math.sqrt(x_NPD.shape[1])).softmax(dim=-1)
    made = (weights @ v.mT).mT.transpose(1, 2).flatten(2)
    return linear(tensors, f"{name}.proj", made).view_as(x_NHWD)


def published_features(tensors: Tensors, x_NMHW: Tensor) -> Tensor:
    tower = {name.removeprefix("image_encoder."): tensor for name, tensor in tensors.items()}
    x = x_NMHW.permute(0, 2, 3, 1)
    for stage, (depth, n_heads) in enumerate(zip(SMALL_DAVIT["depths"], SMALL_DAVIT["num_heads"], strict=True)):
        embedding = f"convs.{stage}"
        if stage > 0:
            x = norm(tower, f"{embedding}.norm", x)
        weight, bias = tower[f"{embedding}.proj.weight"], tower[f"{embedding}.proj.bias"]
        stride, padding = (2, 1) if stage else (4, 3)
        x = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride=stride, padding=padding).permute(0, 2, 3, 1)
        if stage == 0:
            x = norm(tower, f"{embedding}.norm", x)
        for index in range(depth):
            for kind, attention in (("spatial", window_attention), ("channel", channel_attention)):
                block = f"blocks.{stage}.{index}.{kind}_block"
                inside = f"{block}.{'window' if kind == 'spatial' else 'channel'}_attn"
                x = depthwise(tower, f"{block}.conv1.fn.dw", x)
                x = x + attention(tower, f"{inside}.fn", norm(tower, f"{inside}.norm", x), n_heads)
                x = depthwise(tower, f"{block}.conv2.fn.dw", x)
                hidden = linear(tower, f"{block}.ffn.fn.net.fc1", norm(tower, f"{block}.ffn.norm", x))
                x = x + linear(tower, f"{block}.ffn.fn.net.fc2", functional.gelu(hidden))
    return norm(tower, "norms", x.mean(dim=(1, 2))) @ tensors["image_projection"]


def older_names(tensors: Tensors) -> dict[str, Tensor]:
    """The names that the published code itself maps onto the newer ones."""
    changes = {
        "image_encoder.convs": "image_encoder.conv_embeds",
        "image_encoder.blocks": "image_encoder.main_blocks",
        "spatial_block.conv1.fn.dw": "0.cpe.0.proj",
        "spatial_block.window_attn.fn": "0.attn",
        "spatial_block.window_attn.norm": "0.norm1",
        "spatial_block.conv2.fn.dw": "0.cpe.1.proj",
        "spatial_block.ffn.norm": "0.norm2",
        "spatial_block.ffn.fn.net": "0.mlp",
        "channel_block.conv1.fn.dw": "1.cpe.0.proj",
        "channel_block.channel_attn.fn": "1.attn",
        "channel_block.channel_attn.norm": "1.norm1",
        "channel_block.conv2.fn.dw": "1.cpe.1.proj",
        "channel_block.ffn.norm": "1.norm2",
        "channel_block.ffn.fn.net": "1.mlp",
    }
    renamed = {}
    for name, tensor in tensors.items():
        for newer, older in changes.items():
            name = name.replace(newer, older)
        renamed[name] = tensor
    return renamed


def checkpoint() -> dict[str, Tensor]:
    return random_values(medimageinsight(SMALL_DAVIT["embed_dims"], SMALL_DAVIT["depths"], 24, older=False))


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("size", [(96, 96), (128, 64)])
def test_the_feature_is_the_published_one(older: bool, size: tuple[int, int]) -> None:
    from dataclasses import replace

    from engine.models.backbones.spec import BundledWeights

    tensors = older_names(checkpoint()) if older else checkpoint()
    entry = small_entry(default_registry()["medimageinsight"])
    backbone = Backbone(replace(entry, bundled=BundledWeights(lambda: tensors, lambda: "0" * 64)))
    x_NMHW = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected = published_features(checkpoint(), (x_NMHW - backbone.mean) / backbone.std)
        features_ND = backbone(x_NMHW)
    assert expected.std() > 0.1
    assert (features_ND - expected).abs().max() < 1e-4


def test_files_of_the_first_code_are_known_too() -> None:
    """Before its renaming, the tower was called visual, and the projection vision_projection."""
    entry = default_registry()["medimageinsight"]
    target = entry.plan({"visual.convs.0.proj.weight": ()}, {"image_projection": (), "stem.conv.weight": ()})
    assert {name: piece.sources for name, piece in target.pieces.items()} == {
        "image_projection": ("vision_projection",),
        "stem.conv.weight": ("visual.convs.0.proj.weight",),
    }
