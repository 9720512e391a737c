"""Published checkpoints as the tests know them, and every registered backbone at a small size.

The names and shapes here are written down from the published files, not derived from the code under test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.models.backbones.registry import default_registry
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, BundledWeights, Config

if TYPE_CHECKING:
    from torch import Tensor, nn

Shapes = dict[str, tuple[int, ...]]

BASE = default_registry()
DINOV3_SIZES = {"dinov3_base": (768, 12), "dinov3_large": (1024, 24)}
SIGLIP_POSITIONS = {"medsiglip": 1024, "medgemma_896": 4096}
DAVIT_WIDTHS, DAVIT_DEPTHS = (256, 512, 1024, 2048), (1, 1, 9, 1)


def dinov3_meta(width: int, depth: int) -> Shapes:
    """Meta's ``dinov3_vit*16_pretrain_lvd1689m-*.pth``."""
    block: Shapes = {
        **_pair("norm1", (width,)),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.qkv.bias_mask": (3 * width,),
        **_linear("attn.proj", width, width),
        "ls1.gamma": (width,),
        **_pair("norm2", (width,)),
        **_linear("mlp.fc1", width, 4 * width),
        **_linear("mlp.fc2", 4 * width, width),
        "ls2.gamma": (width,),
    }
    return {
        "cls_token": (1, 1, width),
        "storage_tokens": (1, 4, width),
        "mask_token": (1, width),
        **_convolution("patch_embed.proj", 3, width, 16),
        "rope_embed.periods": (16,),
        **_pair("norm", (width,)),
        **_repeated("blocks", depth, block),
    }


def dinov3_hugging_face(width: int, depth: int, layers: str = "layer") -> Shapes:
    """``model.safetensors`` of facebook/dinov3-vit*16-pretrain-lvd1689m; newer files say ``model.layer``."""
    block: Shapes = {
        **_pair("norm1", (width,)),
        **_linear("attention.q_proj", width, width),
        "attention.k_proj.weight": (width, width),
        **_linear("attention.v_proj", width, width),
        **_linear("attention.o_proj", width, width),
        "layer_scale1.lambda1": (width,),
        **_pair("norm2", (width,)),
        **_linear("mlp.up_proj", width, 4 * width),
        **_linear("mlp.down_proj", 4 * width, width),
        "layer_scale2.lambda1": (width,),
    }
    return {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, 1, width),
        "embeddings.register_tokens": (1, 4, width),
        **_convolution("embeddings.patch_embeddings", 3, width, 16),
        **_repeated(layers, depth, block),
        **_pair("norm", (width,)),
    }


def dinov3_timm(width: int, depth: int, biases: bool) -> Shapes:
    """``model.safetensors`` of timm/vit_*_patch16_dinov3(_qkvb).lvd1689m."""
    block: Shapes = {
        "gamma_1": (width,),
        "gamma_2": (width,),
        **_pair("norm1", (width,)),
        "attn.qkv.weight": (3 * width, width),
        **_linear("attn.proj", width, width),
        **_pair("norm2", (width,)),
        **_linear("mlp.fc1", width, 4 * width),
        **_linear("mlp.fc2", 4 * width, width),
    }
    if biases:
        block |= {"attn.q_bias": (width,), "attn.v_bias": (width,)}
    return {
        "cls_token": (1, 1, width),
        "reg_token": (1, 4, width),
        **_convolution("patch_embed.proj", 3, width, 16),
        **_repeated("blocks", depth, block),
        **_pair("norm", (width,)),
    }


def siglip(prefix: str, width: int, depth: int, hidden: int, n_positions: int, *, head: bool) -> Shapes:
    """The vision half of a SigLIP or MedGemma file; `prefix` ends in a dot or is empty."""
    block: Shapes = {
        **_pair("layer_norm1", (width,)),
        **_linear("self_attn.k_proj", width, width),
        **_linear("self_attn.v_proj", width, width),
        **_linear("self_attn.q_proj", width, width),
        **_linear("self_attn.out_proj", width, width),
        **_pair("layer_norm2", (width,)),
        **_linear("mlp.fc1", width, hidden),
        **_linear("mlp.fc2", hidden, width),
    }
    shapes: Shapes = {
        **_convolution("embeddings.patch_embedding", 3, width, 14),
        "embeddings.position_embedding.weight": (n_positions, width),
        **_repeated("encoder.layers", depth, block),
        **_pair("post_layernorm", (width,)),
    }
    if head:
        shapes |= {
            "head.probe": (1, 1, width),
            "head.attention.in_proj_weight": (3 * width, width),
            "head.attention.in_proj_bias": (3 * width,),
            **_linear("head.attention.out_proj", width, width),
            **_pair("head.layernorm", (width,)),
            **_linear("head.mlp.fc1", width, hidden),
            **_linear("head.mlp.fc2", hidden, width),
        }
    return {prefix + name: shape for name, shape in shapes.items()}


def with_text_tower(shapes: Shapes) -> Shapes:
    """A whole SigLIP: beside the vision half a text tower, and the loss's two numbers."""
    text: Shapes = {"text_model.embeddings.token_embedding.weight": (32, 8), **_linear("text_model.head", 8, 8)}
    return shapes | text | {"logit_scale": (1,), "logit_bias": (1,)}


def with_language_model(shapes: Shapes, prefix: str = "") -> Shapes:
    """A whole MedGemma: beside the vision tower the projector and the language model."""
    return shapes | {
        f"{prefix}multi_modal_projector.mm_input_projection_weight": (8, 16),
        f"{prefix}language_model.embed_tokens.weight": (32, 16),
        "lm_head.weight": (32, 16),
    }


def medimageinsight(widths: tuple[int, ...], depths: tuple[int, ...], projection: int, *, older: bool) -> Shapes:
    """``medimageinsigt-v1.0.0.pt``, or the same tower under the older names that its own code maps."""
    embeddings, stages = ("conv_embeds", "main_blocks") if older else ("convs", "blocks")
    tower: Shapes = _pair("norms", (widths[-1],))
    before = (3, *widths[:-1])
    for stage, (n_in, width, depth) in enumerate(zip(before, widths, depths, strict=True)):
        tower |= _convolution(f"{embeddings}.{stage}.proj", n_in, width, 7 if stage == 0 else 3)
        tower |= _pair(f"{embeddings}.{stage}.norm", (width if stage == 0 else n_in,))
        for block in range(depth):
            for kind in (0, 1):
                tower |= _davit_block(f"{stages}.{stage}.{block}", kind, width, older)
    return {
        **{f"image_encoder.{name}": shape for name, shape in tower.items()},
        "image_projection": (widths[-1], projection),
        "lang_encoder.token_embedding.weight": (32, 8),
        "lang_encoder.resblocks.0.attn.in_proj_weight": (24, 8),
        "lang_projection": (8, projection),
        "logit_scale": (),
    }


def _davit_block(stage: str, kind: int, width: int, older: bool) -> Shapes:
    if older:
        names = ("cpe.0.proj", "norm1", "attn", "cpe.1.proj", "norm2", "mlp")
        block = f"{stage}.{kind}"
    else:
        attention = ("window_attn", "channel_attn")[kind]
        names = ("conv1.fn.dw", f"{attention}.norm", f"{attention}.fn", "conv2.fn.dw", "ffn.norm", "ffn.fn.net")
        block = f"{stage}.{('spatial_block', 'channel_block')[kind]}"
    first, norm1, attention, second, norm2, mlp = (f"{block}.{name}" for name in names)
    return {
        **_convolution(first, 1, width, 3),
        **_pair(norm1, (width,)),
        **_linear(f"{attention}.qkv", width, 3 * width),
        **_linear(f"{attention}.proj", width, width),
        **_convolution(second, 1, width, 3),
        **_pair(norm2, (width,)),
        **_linear(f"{mlp}.fc1", width, 4 * width),
        **_linear(f"{mlp}.fc2", 4 * width, width),
    }


def full_size_files() -> Iterator[tuple[str, str, Shapes]]:
    """Backbone, naming, and the published file's names and shapes at full size."""
    for name, (width, depth) in DINOV3_SIZES.items():
        for naming, shapes in _dinov3_files(width, depth).items():
            yield name, naming, shapes
    for name, n_positions in SIGLIP_POSITIONS.items():
        for naming, shapes in _siglip_files(1152, 27, 4304, n_positions, head=name == "medsiglip").items():
            yield name, naming, shapes
    for older in (False, True):
        shapes = medimageinsight(DAVIT_WIDTHS, DAVIT_DEPTHS, 1024, older=older)
        yield "medimageinsight", "older" if older else "newer", shapes


def _dinov3_files(width: int, depth: int) -> dict[str, Shapes]:
    return {
        "layer": dinov3_hugging_face(width, depth),
        "meta": dinov3_meta(width, depth),
        "model.layer": dinov3_hugging_face(width, depth, "model.layer"),
        "timm": dinov3_timm(width, depth, biases=True),
        "timm without biases": dinov3_timm(width, depth, biases=False),
    }


def _siglip_files(width: int, depth: int, hidden: int, n_positions: int, *, head: bool) -> dict[str, Shapes]:
    def file(prefix: str) -> Shapes:
        return siglip(prefix, width, depth, hidden, n_positions, head=head)

    return {
        "vision_model": with_text_tower(file("vision_model.")),
        "vision_tower": with_language_model(file("vision_tower.vision_model.")),
        "model.vision_tower": with_language_model(file("model.vision_tower.vision_model."), "model."),
        "bare": file(""),
    }


def random_values(shapes: Mapping[str, tuple[int, ...]], seed: int = 5) -> dict[str, Tensor]:
    """Values in which every tensor matters and activations stay near one."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, shape in shapes.items():
        n_in = int(torch.Size(shape[1:]).numel()) if len(shape) > 1 else 0
        values[name] = torch.randn(shape, generator=generator) * (n_in**-0.5 if n_in else 0.3)
        if name.endswith((".weight", "gamma_1", "gamma_2", ".gamma", ".lambda1")) and len(shape) == 1:
            values[name] += 1.0
        if name.endswith("running_var"):
            values[name] = 0.5 + values[name].abs()
        if name.endswith("num_batches_tracked"):
            values[name] = torch.ones(shape, dtype=torch.int64)
    return values


@dataclass(frozen=True)
class Small:
    """A registered backbone at a size that tests can run."""

    build: Callable[[], nn.Module]
    files: Mapping[str, Shapes]
    spec: BackboneSpec


def small_entry(entry: BackboneEntry, naming: str | None = None) -> BackboneEntry:
    """Return an entry at a small size, with a checkpoint of the tests' under published names as its weights."""
    if entry.bundled is not None:
        return entry
    small = SMALL[entry.spec.name]()
    shapes = small.files[naming or next(iter(small.files))]

    def build(config: Config | None = None) -> nn.Module:
        return small.build()

    digest = hashlib.sha256(entry.spec.name.encode()).hexdigest()
    bundled = BundledWeights(lambda: random_values(shapes), lambda: digest)
    return replace(entry, spec=small.spec, build_network=build, bundled=bundled, resolve=None, needs_config=False)


SMALL_DAVIT = {"depths": (1, 1, 2, 1), "embed_dims": (16, 32, 48, 64), "num_heads": (2, 4, 6, 8)}
SMALL_SIGLIP = {"embed_dim": 48, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}


def _small_dinov3(spec: BackboneSpec) -> Small:
    from engine.models.backbones._dinov3 import build_vit

    spec = replace(spec, feature_width=48, native_size=(64, 64), gradcam_layer="blocks.1.norm1")
    return Small(lambda: build_vit(48, 2, 3), _dinov3_files(48, 2), spec)


def _small_siglip(spec: BackboneSpec) -> Small:
    from engine.models.backbones._siglip import build_siglip

    head = spec.pooled == "map"

    def build() -> nn.Module:
        return build_siglip(56, map_head=head, sizes=SMALL_SIGLIP)

    files = _siglip_files(48, 2, 96, 16, head=head)
    return Small(build, files, replace(spec, feature_width=48, native_size=(56, 56)))


def _small_medimageinsight() -> Small:
    from engine.models.backbones._davit import ProjectedDaVit

    files = {
        "older" if older else "newer": medimageinsight(
            SMALL_DAVIT["embed_dims"], SMALL_DAVIT["depths"], 24, older=older
        )
        for older in (False, True)
    }
    spec = replace(BASE["medimageinsight"].spec, feature_width=24, native_size=(96, 96))
    return Small(lambda: ProjectedDaVit(24, SMALL_DAVIT), files, spec)


def _small_timm() -> Small:
    from engine.models.backbones import timm_any

    config = timm_any.config_for("timm:vit_tiny_patch16_224", "avg", {"model_args": {"depth": 2}})
    shapes = shapes_of(timm_any.build_network(config).state_dict()) | _linear("head", 192, 1000)
    return Small(lambda: timm_any.build_network(config), {"timm": shapes}, timm_any.resolve(config))


SMALL_ATLAS: Config = {
    "modalities": {
        "brain_ct": {
            "image_size": [64, 64, 32],
            "patch_size": [8, 8, 4],
            "in_chans": 11,
            "num_features": 12,
            "merge_ratio": [2, 2, 2],
            "local2global": [2, 2, 2],
        }
    },
    "model": {"stages": [1, 1, 1], "atlas_args": {"dim": 24, "num_heads": 2}},
}


def _small_pillar0() -> Small:
    from engine.models.backbones import pillar0

    target = shapes_of(pillar0.build_network(SMALL_ATLAS).state_dict())
    shapes = {pillar0.TOWER + name: shape for name, shape in target.items()} | {"model.logit_scale": ()}
    return Small(lambda: pillar0.build_network(SMALL_ATLAS), {"published": shapes}, pillar0.resolve(SMALL_ATLAS))


def _small_deepcntd() -> Small:
    from engine.models.backbones import deepcntd
    from engine.models.backbones._encoders3d import TwoEncoders

    def build() -> nn.Module:
        return TwoEncoders(3, (4, 8, 8, 8), 6)

    spec = replace(deepcntd.SPEC, feature_width=12, native_size=(16, 64, 64))
    shapes = shapes_of(build().state_dict()) | _linear("head", 8, 75)
    return Small(build, {"own": shapes}, spec)


SMALL: dict[str, Callable[[], Small]] = {
    "dinov3_base": lambda: _small_dinov3(BASE["dinov3_base"].spec),
    "dinov3_large": lambda: _small_dinov3(BASE["dinov3_large"].spec),
    "medsiglip": lambda: _small_siglip(BASE["medsiglip"].spec),
    "medgemma_896": lambda: _small_siglip(BASE["medgemma_896"].spec),
    "medimageinsight": _small_medimageinsight,
    "timm:": _small_timm,
    "pillar0_headct": _small_pillar0,
    "deepcntd_standin": _small_deepcntd,
}


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def without(shapes: Shapes, names: Iterable[str]) -> Shapes:
    left_out = set(names)
    return {name: shape for name, shape in shapes.items() if name not in left_out}


def _pair(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape}


def _linear(name: str, n_in: int, n_out: int) -> Shapes:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def _convolution(name: str, n_in: int, n_out: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (n_out, n_in, kernel, kernel), f"{name}.bias": (n_out,)}


def _repeated(name: str, n: int, block: Shapes) -> Shapes:
    return {f"{name}.{index}.{inner}": shape for index in range(n) for inner, shape in block.items()}
