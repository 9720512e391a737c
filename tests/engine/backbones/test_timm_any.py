"""Networks of timm by name: facts found from the network, files under timm's names, pooling, and downloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import PackageError
from engine.models.backbones import timm_any
from engine.models.backbones.convert import Terms, convert_checkpoint
from engine.models.backbones.registry import BackboneRegistry, build_backbone, default_registry
from engine.models.backbones.timm_any import config_for
from engine.models.backbones.weights import BackboneStore
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings

TERMS = Terms("Apache-2.0", "tests")
VIT = "timm:test_vit"
NETWORKS = ["test_vit", "test_vit2", "test_resnet", "test_efficientnet", "test_convnext", "test_nfnet", "test_mambaout"]


@pytest.fixture
def registry(tmp_path: Path) -> BackboneRegistry:
    return default_registry().with_store(BackboneStore(tmp_path / "backbones"))


def published(name: str, folder: Path) -> tuple[torch.nn.Module, Path]:
    """A network with its classification layer, and its file as timm publishes it."""
    torch.manual_seed(3)
    network = timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    path = folder / "model.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return network, path


def convert(path: Path, name: str, registry: BackboneRegistry, pooled: timm_any.Pooled | None = None) -> None:
    assert registry.store is not None
    convert_checkpoint(path, name, registry, registry.store, TERMS, config_for(name, pooled))


def picture(size: tuple[int, ...]) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_file_becomes_a_backbone_with_the_networks_own_feature(
    name: str, registry: BackboneRegistry, tmp_path: Path
) -> None:
    network, path = published(name, tmp_path)
    convert(path, f"timm:{name}", registry)
    backbone = build_backbone(f"timm:{name}", registry)
    x_NMHW = picture(backbone.spec.native_size)
    with torch.inference_mode():
        expected = network.forward_head(
            network.forward_features((x_NMHW - backbone.mean) / backbone.std), pre_logits=True
        )
        features_ND, grid = backbone(x_NMHW), backbone.feature_grid(x_NMHW)
    assert features_ND.shape == (2, backbone.spec.feature_width)
    assert torch.allclose(features_ND, expected, atol=1e-5)
    assert grid.shape[-1] == backbone.network.num_features
    mean_ND = grid.mean(dim=(1, 2))
    is_mean = mean_ND.shape == features_ND.shape and torch.allclose(mean_ND, features_ND, atol=1e-5)
    assert is_mean == (backbone.spec.pooled == "mean")
    described = network.pretrained_cfg
    assert (backbone.spec.mean, backbone.spec.std) == (tuple(described["mean"]), tuple(described["std"]))
    assert backbone.spec.native_size == tuple(described["input_size"][1:])
    apply_lora(backbone, LoraSettings(rank=2, alpha=4))
    assert torch.equal(backbone(x_NMHW), features_ND)


@pytest.mark.parametrize(("pooled", "stated"), [("token", "token"), ("avg", "mean")])
def test_the_pooled_feature_is_chosen_at_conversion_and_recorded(
    pooled: timm_any.Pooled, stated: str, registry: BackboneRegistry, tmp_path: Path
) -> None:
    name = "timm:vit_tiny_patch16_224"
    network, path = published(name, tmp_path)
    convert(path, name, registry, pooled)
    stored = registry.stored(name)
    assert stored is not None
    assert stored.record.config == {"architecture": "vit_tiny_patch16_224", "pooled": pooled}
    backbone = build_backbone(name, registry)
    assert backbone.spec.pooled == stated
    x_NMHW = picture((224, 224))
    with torch.inference_mode():
        tokens = network.forward_features((x_NMHW - backbone.mean) / backbone.std)
        features_ND = backbone(x_NMHW)
    expected = tokens[:, 0] if pooled == "token" else tokens[:, 1:].mean(dim=1)
    assert torch.allclose(features_ND, expected, atol=1e-5)


def test_layers_used_by_their_weight_alone_are_called_so_that_adapters_act() -> None:
    """EVA's default form takes the fused layer's weight, and would pass an adapter by."""
    sizes = {"depth": 1, "embed_dim": 48, "num_heads": 3}
    config = config_for("timm:vit_small_patch16_dinov3_qkvb", None, {"model_args": sizes})
    torch.manual_seed(0)
    network = timm_any.build_network(config).eval()
    attention = network.blocks[0].attn
    calls: list[str] = []
    attention.qkv.register_forward_hook(lambda module, inputs, output: calls.append("qkv"))
    with torch.inference_mode():
        called = network.forward_features(picture((64, 64)))
        assert calls == ["qkv"]
        attention.qkv_bias_separate = False
        passed_by = network.forward_features(picture((64, 64)))
    assert calls == ["qkv"]
    assert torch.allclose(called, passed_by, atol=1e-5)


def test_swin_keeps_its_features_last_and_the_grid_says_so(registry: BackboneRegistry, tmp_path: Path) -> None:
    name = "timm:swin_tiny_patch4_window7_224"
    config = config_for(name, None, {"model_args": {"depths": [1, 1], "embed_dim": 24, "num_heads": [2, 4]}})
    network = timm_any.build_network(config)
    assert registry.store is not None
    path = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    convert_checkpoint(path, name, registry, registry.store, TERMS, config)
    backbone = build_backbone(name, registry)
    assert backbone.spec.pooled == "mean"
    with torch.inference_mode():
        grid_NHWD, features_ND = backbone.feature_grid(picture((224, 224))), backbone(picture((224, 224)))
    assert grid_NHWD.shape == (2, 28, 28, 48)
    assert torch.allclose(grid_NHWD.mean(dim=(1, 2)), features_ND, atol=1e-5)


def test_a_config_from_its_page_serves_and_must_be_of_the_same_network() -> None:
    about = {"input_size": [3, 160, 160], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    page = {"architecture": "test_resnet", "num_classes": 1000, "pretrained_cfg": about}
    spec = timm_any.resolve(config_for("timm:test_resnet.r160_in1k", None, page))
    assert spec.native_size == (160, 160)
    assert spec.mean == (0.1, 0.2, 0.3)
    assert spec.std == (0.4, 0.5, 0.6)
    with pytest.raises(PackageError, match="not of resnet18"):
        config_for("timm:resnet18", None, page)


def test_files_of_another_network_are_refused(registry: BackboneRegistry, tmp_path: Path) -> None:
    _, path = published("test_resnet", tmp_path)
    with pytest.raises(PackageError) as caught:
        convert(path, VIT, registry)
    assert caught.value.code == "backbone.keys"
    assert "blocks.0" in caught.value.message


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "no configuration"),
        ({"architecture": "no_such_network"}, "knows no network"),
        ({"architecture": "hf-hub:someone/something"}, "names 'hf-hub"),
        ({"architecture": "test_vit", "pooled": "median"}, "'median'"),
        ({"architecture": "test_resnet", "pooled": "token"}, "pooling 'token'"),
        ({"architecture": "test_vit", "model_args": {"no_such_size": 3}}, "cannot build"),
        ({"architecture": "test_vit", "model_args": 3}, "not an object"),
        ({"architecture": "test_vit", "model_args": {"in_chans": 5}}, "cannot be used"),
    ],
)
def test_what_cannot_be_built_is_refused(config: timm_any.Config | None, reason: str) -> None:
    with pytest.raises(PackageError, match=reason) as caught:
        timm_any.resolve(config)
    assert caught.value.code == "backbone.config"
    assert caught.value.hint


def test_a_configuration_cannot_name_files(tmp_path: Path) -> None:
    """timm would load these; a configuration is data."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not weights")
    arguments = {"checkpoint_path": str(path), "pretrained": True, "cache_dir": str(tmp_path)}
    assert timm_any.build_network({"architecture": "test_vit", "model_args": arguments})


def test_without_a_network_the_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(PackageError) as caught:
        timm_any.download("timm:vit_tiny_patch16_224", tmp_path)
    assert caught.value.code == "backbone.download"
    assert caught.value.kind == "environment"
    assert "models convert FILE --backbone timm:vit_tiny_patch16_224" in caught.value.hint


def test_a_hub_that_cannot_be_reached_is_asked_once_and_only_we_speak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import httpx2
    import huggingface_hub
    from huggingface_hub.utils._http import default_client_factory

    asked: list[str] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        raise httpx2.ConnectError("no such host", request=request)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(refuse)))
    try:
        with pytest.raises(PackageError, match="the hub cannot be reached, no such host") as caught:
            timm_any.download("timm:vit_tiny_patch16_224", tmp_path)
    finally:
        huggingface_hub.set_client_factory(default_client_factory)
    assert (caught.value.code, caught.value.kind) == ("backbone.download", "environment")
    assert asked.count("HEAD") == 1, "no retries"
    assert capfd.readouterr().err == ""


def test_a_network_without_published_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no published weights"):
        timm_any.download("timm:davit_giant", tmp_path)


def test_a_download_is_a_file_that_converts(
    registry: BackboneRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm finds the weights in the local cache; what is written is what it published."""
    network, path = published(VIT, tmp_path)
    about = replace(timm.get_pretrained_cfg("test_vit"), file=str(path), hf_hub_id=None)
    create = timm.create_model

    def from_cache(name: str, pretrained: bool) -> torch.nn.Module:
        return create(name, pretrained=pretrained, pretrained_cfg=about)

    with monkeypatch.context() as patched:
        patched.setattr(timm, "create_model", from_cache)
        patched.setattr(timm, "get_pretrained_cfg", lambda name: about)
        written = timm_any.download(VIT, tmp_path)
    assert written == tmp_path / "test_vit.safetensors"
    assert load_file(written).keys() == network.state_dict().keys()
    convert(written, VIT, registry)
    assert registry.stored(VIT) is not None
