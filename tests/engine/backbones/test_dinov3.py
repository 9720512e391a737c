"""DINOv3 from each of its files against the network in transformers, at a small width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.models.backbones._dinov3 import build_vit
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import default_registry
from engine.models.backbones.spec import BackboneEntry, BundledWeights

WIDTH, DEPTH, HEADS = 48, 3, 3


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    """The network as Hugging Face has it, with values in which rotary positions, registers and LayerScale matter."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        num_register_tokens=4,
        image_size=64,
    )
    network = DINOv3ViTModel(config).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return network


def newer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {(f"model.{name}" if name.startswith("layer.") else name): value for name, value in older(state).items()}


def older(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): value for name, value in state.items()}


def meta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename as Meta's own conversion script does, the other way round."""
    state = older(state)
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.register_tokens": "storage_tokens",
        "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
        "norm.weight": "norm.weight",
        "norm.bias": "norm.bias",
    }
    renamed = {theirs: state[ours] for ours, theirs in names.items()}
    renamed["mask_token"] = state["embeddings.mask_token"][0]
    renamed["rope_embed.periods"] = torch.ones(4)
    for index in range(DEPTH):
        block = {
            name.removeprefix(f"layer.{index}."): v for name, v in state.items() if name.startswith(f"layer.{index}.")
        }
        attention = [f"attention.{letter}_proj" for letter in "qkv"]
        mine = {
            "attn.qkv.weight": torch.cat([block[f"{name}.weight"] for name in attention]),
            # The key's part is there in the file and masked to zero by the network: any value must do.
            "attn.qkv.bias": torch.cat(
                [block[f"{attention[0]}.bias"], torch.ones(WIDTH), block[f"{attention[2]}.bias"]]
            ),
            "attn.qkv.bias_mask": torch.full((3 * WIDTH,), torch.nan),
            "ls1.gamma": block["layer_scale1.lambda1"],
            "ls2.gamma": block["layer_scale2.lambda1"],
        }
        for kind in ("weight", "bias"):
            mine[f"attn.proj.{kind}"] = block[f"attention.o_proj.{kind}"]
            mine[f"mlp.fc1.{kind}"] = block[f"mlp.up_proj.{kind}"]
            mine[f"mlp.fc2.{kind}"] = block[f"mlp.down_proj.{kind}"]
            mine |= {f"{norm}.{kind}": block[f"{norm}.{kind}"] for norm in ("norm1", "norm2")}
        renamed |= {f"blocks.{index}.{name}": value for name, value in mine.items()}
    return renamed


def small(checkpoint: Mapping[str, Tensor]) -> BackboneEntry:
    entry = default_registry()["dinov3_base"]
    return replace(
        entry,
        spec=replace(entry.spec, feature_width=WIDTH, native_size=(64, 64), gradcam_layer=f"blocks.{DEPTH - 1}.norm1"),
        build_network=lambda config=None: build_vit(WIDTH, DEPTH, HEADS),
        bundled=BundledWeights(lambda: checkpoint, lambda: "0" * 64),
    )


def picture(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4))


def published_output(network: torch.nn.Module, x_NMHW: Tensor) -> Tensor:
    spec = default_registry()["dinov3_base"].spec
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.inference_mode():
        tokens: Tensor = network((x_NMHW - mean) / std).last_hidden_state
    return tokens


@pytest.mark.parametrize("naming", [older, newer, meta])
def test_the_feature_is_the_published_class_token(
    published: torch.nn.Module, naming: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
) -> None:
    backbone = Backbone(small(naming(published.state_dict())))
    for size in ((64, 64), (96, 48)):
        expected = published_output(published, picture(*size))[:, 0]
        with torch.inference_mode():
            features_ND = backbone(picture(*size))
        assert expected.std() > 0.1
        assert (features_ND - expected).abs().max() < 1e-4


def test_the_grid_is_the_published_patch_tokens_in_reading_order(published: torch.nn.Module) -> None:
    backbone = Backbone(small(older(published.state_dict())))
    expected = published_output(published, picture(96, 48))[:, 5:].reshape(2, 6, 3, WIDTH)
    with torch.inference_mode():
        grid_NHWD = backbone.feature_grid(picture(96, 48))
    assert grid_NHWD.shape == (2, 6, 3, WIDTH)
    assert (grid_NHWD - expected).abs().max() < 1e-4


def test_other_sizes_are_brought_to_multiples_of_a_patch(published: torch.nn.Module) -> None:
    backbone = Backbone(small(older(published.state_dict())))
    enlarged = torch.nn.functional.interpolate(picture(60, 50), size=(64, 64), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        assert torch.allclose(backbone(picture(60, 50)), backbone(enlarged), atol=1e-5)


def test_gradients_reach_the_grad_cam_layer_at_the_patches(published: torch.nn.Module) -> None:
    """The last block's own output would get none there, because only the class token leaves it."""
    backbone = Backbone(small(older(published.state_dict())))
    seen: dict[str, Tensor] = {}
    for name in (backbone.spec.gradcam_layer, f"blocks.{DEPTH - 1}"):
        backbone.network.get_submodule(name).register_forward_hook(
            lambda m, i, out, name=name: seen.update({name: out})
        )
    x_NMHW = picture(64, 64).requires_grad_()
    features_ND = backbone(x_NMHW)
    by_layer = {name: torch.autograd.grad(features_ND.sum(), out, retain_graph=True)[0] for name, out in seen.items()}
    assert by_layer[backbone.spec.gradcam_layer][:, 5:].abs().max() > 0
    assert by_layer[f"blocks.{DEPTH - 1}"][:, 5:].abs().max() == 0
