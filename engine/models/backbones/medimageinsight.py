"""MedImageInsight: a DaViT that was trained with medical reports; the user brings Microsoft's weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.models.backbones._names import renamed, starting_with
from engine.models.backbones.conversion import ConversionPlan, Piece, Shapes, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config

if TYPE_CHECKING:
    from torch import nn

SPEC = BackboneSpec(
    name="medimageinsight",
    display_name="MedImageInsight",
    timm_name="davit_huge_fl",
    dimensions=2,
    feature_width=1024,
    native_size=(480, 480),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    lora_targets=("attn.qkv", "attn.proj", "stem.conv"),
    licence="MIT, as tagged by Microsoft; access may have to be requested",
    origin="medimageinsigt-v1.0.0.pt of Microsoft's MedImageInsight",
    pooled="own",
    gradcam_layer="stages.3",
    size_rule="multiple",
    size_multiple=32,
    paper_row="MedImageInsight",
)

_BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.(spatial|channel)_block\.(.+)")
_DOWNSAMPLE = re.compile(r"stages\.(\d+)\.downsample\.(.+)")
_NEWER = {
    "cpe1.proj": "conv1.fn.dw",
    "cpe2.proj": "conv2.fn.dw",
    "norm1": "{kind}_attn.norm",
    "attn": "{kind}_attn.fn",
    "norm2": "ffn.norm",
    "mlp": "ffn.fn.net",
}
_OLDER = {"cpe1.proj": "cpe.0.proj", "cpe2.proj": "cpe.1.proj"}
_EMBEDDING = {"conv": "proj", "norm": "norm"}
_TEXT = ("lang_encoder.", "lang_projection", "text.", "text_projection", "logit_scale")


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights; it has no configuration."""
    from engine.models.backbones._davit import ProjectedDaVit

    return ProjectedDaVit(SPEC.feature_width)


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Map a published file onto the network.

    The image tower lies under ``image_encoder.`` (in older files ``visual.``) beside the projection and the text
    tower; its stages are named ``convs`` and ``blocks``, or in older files ``conv_embeds`` and ``main_blocks``.
    """
    tower = "visual." if any(name.startswith("visual.") for name in source) else "image_encoder."
    older = any(name.startswith(f"{tower}main_blocks.") for name in source)
    projection = "image_projection" if tower == "image_encoder." else "vision_projection"
    return ConversionPlan(
        pieces={
            name: same(projection) if name == "image_projection" else _piece(name, tower, older) for name in target
        },
        dropped=starting_with(source, (*_TEXT, f"{tower}head.")),
    )


def _piece(name: str, tower: str, older: bool) -> Piece:
    embeddings = f"{tower}conv_embeds" if older else f"{tower}convs"
    if name.startswith("head.norm."):
        return same(f"{tower}norms.{name.removeprefix('head.norm.')}")
    if name.startswith("stem."):
        return same(f"{embeddings}.0.{_inside_embedding(name.removeprefix('stem.'))}")
    downsample = _DOWNSAMPLE.fullmatch(name)
    if downsample is not None:
        return same(f"{embeddings}.{downsample[1]}.{_inside_embedding(downsample[2])}")
    block = _BLOCK.fullmatch(name)
    if block is None:
        return same(tower + name)
    stage, index, kind, rest = block.groups()
    if older:
        number = "0" if kind == "spatial" else "1"
        return same(f"{tower}main_blocks.{stage}.{index}.{number}.{renamed(rest, _OLDER) or rest}")
    inside = (renamed(rest, _NEWER) or rest).format(kind="window" if kind == "spatial" else "channel")
    return same(f"{tower}blocks.{stage}.{index}.{kind}_block.{inside}")


def _inside_embedding(name: str) -> str:
    return renamed(name, _EMBEDDING) or name


BACKBONE = BackboneEntry(spec=SPEC, build_network=build_network, plan=plan)
