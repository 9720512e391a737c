"""What every backbone keeps; runs on each file of engine/models/backbones and on the tests' own small one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from engine.errors import PackageError
from engine.models.backbones.conversion import check_plan, converted
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone, default_registry
from engine.models.backbones.spec import BackboneEntry
from engine.models.lora import adapter_state, apply_lora, load_adapter_state, matched_modules
from engine.models.settings import LoraSettings
from tests.support.models import tiny_entry

ENTRIES = [*(entry for entry in default_registry().values() if entry.bundled is not None), tiny_entry()]


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.spec.name)
def entry(request: pytest.FixtureRequest) -> BackboneEntry:
    return request.param


@pytest.fixture
def backbone(entry: BackboneEntry) -> Backbone:
    return Backbone(entry)


def picture(entry: BackboneEntry, n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, *entry.spec.native_size, generator=torch.Generator().manual_seed(11))


def features(backbone: Backbone, x_NMHW: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return backbone(x_NMHW)


def test_feature_shape_and_repeatability(backbone: Backbone, entry: BackboneEntry) -> None:
    x_NMHW = picture(entry, 3)
    first_ND = features(backbone, x_NMHW)
    assert first_ND.shape == (3, entry.spec.feature_width)
    assert first_ND.dtype == torch.float32
    assert torch.isfinite(first_ND).all()
    assert not torch.allclose(first_ND[0], first_ND[1])
    assert torch.equal(first_ND, features(backbone, x_NMHW))


def test_frozen_and_always_in_evaluation_mode(backbone: Backbone, entry: BackboneEntry) -> None:
    x_NMHW = picture(entry)
    before = features(backbone, x_NMHW)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone(x_NMHW)
    assert torch.equal(before, features(backbone, x_NMHW))


def test_normalisation_is_applied_inside(backbone: Backbone, entry: BackboneEntry) -> None:
    x_NMHW = picture(entry)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (entry.spec.mean, entry.spec.std))
    with torch.inference_mode():
        network = backbone.network
        by_hand = network.forward_head(network.forward_features((x_NMHW - mean) / std), pre_logits=True)
    assert torch.allclose(features(backbone, x_NMHW), by_hand, atol=1e-4)


def test_every_lora_target_matches(backbone: Backbone, entry: BackboneEntry) -> None:
    for target in entry.spec.lora_targets:
        assert matched_modules(backbone, target), target


def test_lora_is_an_exact_no_op_at_the_start_and_trains_only_itself(backbone: Backbone, entry: BackboneEntry) -> None:
    x_NMHW = picture(entry)
    before = features(backbone, x_NMHW)
    apply_lora(backbone, LoraSettings())
    assert torch.equal(before, features(backbone, x_NMHW))
    trainable = {name for name, parameter in backbone.network.named_parameters() if parameter.requires_grad}
    assert trainable == set(adapter_state(backbone))
    wrapped = sum(len(matched_modules(backbone, target)) for target in entry.spec.lora_targets)
    assert len(trainable) == 2 * wrapped


def test_lora_save_and_load_are_bit_equal(backbone: Backbone, entry: BackboneEntry) -> None:
    x_NMHW = picture(entry)
    plain = features(backbone, x_NMHW)
    apply_lora(backbone, LoraSettings(rank=4, alpha=8))
    generator = torch.Generator().manual_seed(3)
    state = {
        name: 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in adapter_state(backbone).items()
    }
    load_adapter_state(backbone, state)
    adapted = features(backbone, x_NMHW)
    assert not torch.allclose(plain, adapted)
    again = Backbone(entry)
    apply_lora(again, LoraSettings(rank=4, alpha=8))
    load_adapter_state(again, adapter_state(backbone))
    assert torch.equal(adapted, features(again, x_NMHW))


def test_network_save_and_load_are_bit_equal(backbone: Backbone, entry: BackboneEntry, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({name: value.contiguous() for name, value in backbone.network.state_dict().items()}, tmp_path / "n.st")
    network = entry.build_network().eval()
    network.load_state_dict(load_file(tmp_path / "n.st"))
    for name, value in backbone.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_a_synthetic_checkpoint_with_the_published_names_loads_whole(entry: BackboneEntry) -> None:
    """Every published tensor arrives at exactly one place: distinct values in, the same values out."""
    assert entry.bundled is not None
    published = {
        name: torch.full(tensor.shape, index).to(tensor.dtype)
        for index, (name, tensor) in enumerate(entry.bundled.read().items())
    }
    network = entry.build_network()
    source = {name: tuple(tensor.shape) for name, tensor in published.items()}
    target = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    plan = entry.plan(source, target)
    check_plan(plan, source, target, "file", entry.spec.display_name)
    assert network.load_state_dict(dict(converted(plan, published.__getitem__)), strict=True)
    arrived = sorted(int(tensor.flatten()[0]) for tensor in network.state_dict().values())
    assert arrived == list(range(len(published)))


def test_digest_names_the_weights(entry: BackboneEntry) -> None:
    assert entry.bundled is not None
    digest = entry.bundled.digest()
    assert len(digest) == 64
    assert int(digest, 16)


def test_a_duplicate_name_raises() -> None:
    with pytest.raises(PackageError) as caught:
        BackboneRegistry([tiny_entry(), tiny_entry()])
    assert caught.value.code == "backbone.duplicate"


def test_an_unknown_name_raises_and_says_what_is_known() -> None:
    with pytest.raises(PackageError, match="efficientnet_lite0") as caught:
        build_backbone("resnet_from_nowhere")
    assert caught.value.code == "backbone.unknown"


def test_adapters_that_do_not_fit_are_refused(backbone: Backbone, entry: BackboneEntry) -> None:
    apply_lora(backbone, LoraSettings())
    state = adapter_state(backbone)
    name = next(iter(state))
    for damaged in (
        {key: value for key, value in state.items() if key != name},
        {**state, "conv_stem.lora_A.default.weight": torch.zeros(1)},
        {**state, name: torch.zeros(3, 3)},
    ):
        with pytest.raises(PackageError) as caught:
            load_adapter_state(backbone, damaged)
        assert caught.value.code == "lora.tensors"
    with pytest.raises(PackageError) as caught:
        apply_lora(backbone, LoraSettings())
    assert caught.value.code == "lora.twice"


def test_the_registry_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from engine.models.backbones.registry import default_registry; "
        "assert default_registry().weights_digest('efficientnet_lite0'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
