"""MedGemma's encoders from each of their files against the network in transformers, at a small width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from engine.models.backbones._siglip import build_siglip
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import default_registry
from engine.models.backbones.spec import BackboneEntry, BundledWeights
from tests.support.backbones import SMALL_SIGLIP

WIDTH = SMALL_SIGLIP["embed_dim"]
PREFIXES = ("vision_model.", "vision_tower.vision_model.", "model.vision_tower.vision_model.", "")


def published_network(activation: str = "gelu_pytorch_tanh") -> nn.Module:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=56,
        patch_size=14,
        hidden_act=activation,
    )
    network = SiglipVisionModel(config).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return network


def small(name: str, checkpoint: Mapping[str, Tensor]) -> BackboneEntry:
    entry = default_registry()[name]
    return replace(
        entry,
        spec=replace(entry.spec, feature_width=WIDTH, native_size=(56, 56)),
        build_network=lambda config=None: build_siglip(56, map_head=name == "medsiglip", sizes=SMALL_SIGLIP),
        bundled=BundledWeights(lambda: checkpoint, lambda: "0" * 64),
    )


def prefixed(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    state = {name.removeprefix("vision_model."): value for name, value in network.state_dict().items()}
    return {prefix + name: value for name, value in state.items()} | {"logit_scale": torch.ones(1)}


def picture() -> Tensor:
    return torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_medsiglip_is_the_published_pooled_output(prefix: str) -> None:
    network = published_network()
    backbone = Backbone(small("medsiglip", prefixed(network, prefix)))
    with torch.inference_mode():
        expected = network((picture() - 0.5) / 0.5).pooler_output
        features_ND = backbone(picture())
    assert expected.std() > 0.1
    assert (features_ND - expected).abs().max() < 1e-4


@pytest.mark.parametrize("prefix", PREFIXES)
def test_medgemma_896_is_the_mean_of_the_published_tokens(prefix: str) -> None:
    network = published_network()
    backbone = Backbone(small("medgemma_896", prefixed(network, prefix)))
    with torch.inference_mode():
        tokens = network((picture() - 0.5) / 0.5).last_hidden_state
        features_ND, grid_NHWD = backbone(picture()), backbone.feature_grid(picture())
    assert (features_ND - tokens.mean(dim=1)).abs().max() < 1e-4
    assert (grid_NHWD - tokens.reshape(2, 4, 4, WIDTH)).abs().max() < 1e-4
    assert (grid_NHWD.mean(dim=(1, 2)) - features_ND).abs().max() < 1e-5


def test_the_activation_is_the_tanh_form() -> None:
    """The exact GELU, timm's default, gives another feature: the test above can tell them apart."""
    exact = published_network("gelu")
    exact.load_state_dict(published_network().state_dict())
    backbone = Backbone(small("medsiglip", prefixed(exact, "")))
    with torch.inference_mode():
        difference = (backbone(picture()) - exact((picture() - 0.5) / 0.5).pooler_output).abs().max()
    assert difference > 1e-4


@pytest.mark.parametrize("name", ["medsiglip", "medgemma_896"])
def test_every_picture_is_brought_to_the_native_size(name: str) -> None:
    backbone = Backbone(small(name, prefixed(published_network(), "")))
    x_NMHW = torch.rand(1, 3, 40, 44)
    resized = nn.functional.interpolate(x_NMHW, size=(56, 56), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        assert torch.allclose(backbone(x_NMHW), backbone(resized), atol=1e-5)
