"""What every backbone keeps; runs on each file of engine/models/backbones and on the tests' own small one.

Networks whose weights the user brings run at a small size, on a checkpoint of the tests under the published names; what
their files state about the full size is checked on the meta device.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from engine.errors import PackageError
from engine.models.backbones import timm_any
from engine.models.backbones.conversion import check_plan, converted
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone, default_registry
from engine.models.backbones.spec import BackboneEntry
from engine.models.lora import (
    adapter_state,
    apply_lora,
    ends_in,
    load_adapter_state,
    matched_modules,
    module_names,
)
from engine.models.settings import LoraSettings
from tests.support.backbones import SMALL, shapes_of, small_entry
from tests.support.models import tiny_entry

ENTRIES = [*(small_entry(entry) for entry in default_registry().values()), tiny_entry()]
FULL_SIZE = [entry for entry in default_registry().values() if entry.spec.name != timm_any.PREFIX]


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.spec.name)
def entry(request: pytest.FixtureRequest) -> BackboneEntry:
    bundled = request.param.bundled
    if bundled is not None and not bundled.installed():
        pytest.skip(f"the weights' package is not installed: {request.param.spec.origin}")
    return request.param


@pytest.fixture
def backbone(entry: BackboneEntry) -> Backbone:
    return Backbone(entry)


def picture(entry: BackboneEntry, n: int = 2) -> torch.Tensor:
    size = (n, len(entry.spec.mean), *entry.spec.native_size)
    return torch.rand(size, generator=torch.Generator().manual_seed(11))


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
    trailing = (1,) * entry.spec.dimensions
    mean, std = (torch.tensor(values).view(-1, *trailing) for values in (entry.spec.mean, entry.spec.std))
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
    """Every published tensor that is not left out on purpose arrives: distinct values in, the same values out."""
    assert entry.bundled is not None
    read = entry.bundled.read()
    network = entry.build_network()
    source, target = shapes_of(read), shapes_of(network.state_dict())
    plan = entry.plan(source, target)
    check_plan(plan, source, target, "file", entry.spec.display_name)
    numbers = {name: number for number, name in enumerate(read)}
    published = {name: torch.full_like(tensor, numbers[name]) for name, tensor in read.items()}
    network.load_state_dict(dict(converted(plan, published.__getitem__)), strict=True)
    arrived = {int(value) for tensor in network.state_dict().values() for value in tensor.unique()}
    assert arrived == {number for name, number in numbers.items() if name not in plan.dropped}


def test_the_grid_holds_what_is_pooled(backbone: Backbone, entry: BackboneEntry) -> None:
    """Its mean over the positions is the feature exactly where the spec says so: the ledger rests on that."""
    x = picture(entry)
    with torch.inference_mode():
        grid, features_ND = backbone.feature_grid(x), backbone(x)
    assert grid.ndim == 2 + entry.spec.dimensions
    assert min(grid.shape[1:-1]) > 1
    mean_ND = grid.mean(dim=tuple(range(1, grid.ndim - 1)))
    is_mean = mean_ND.shape == features_ND.shape and torch.allclose(mean_ND, features_ND, atol=1e-4)
    assert is_mean == (entry.spec.pooled == "mean")


def test_gradients_reach_every_part_of_the_grad_cam_layer(backbone: Backbone, entry: BackboneEntry) -> None:
    seen: list[torch.Tensor] = []
    layer = backbone.network.get_submodule(entry.spec.gradcam_layer)
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    features_ND = backbone(picture(entry, 1).requires_grad_())
    weights = torch.randn(features_ND.shape, generator=torch.Generator().manual_seed(6))
    (gradient,) = torch.autograd.grad((features_ND * weights).sum(), seen[-1])
    by_position = backbone.to_grid(gradient, entry.spec.native_size).abs().amax(dim=-1)
    assert by_position.ndim == 1 + entry.spec.dimensions
    # A maximum or a rectifier may let a position pass by; most must matter.
    assert (by_position > 0).float().mean() > (0.5 if entry.spec.dimensions == 2 else 0.0)


def test_every_registered_backbone_has_a_small_size_for_tests() -> None:
    user_brought = {name for name, entry in default_registry().items() if entry.bundled is None}
    assert user_brought == set(SMALL)


@pytest.mark.parametrize("full", FULL_SIZE, ids=lambda entry: entry.spec.name)
def test_the_full_size_is_what_the_file_states(full: BackboneEntry) -> None:
    """On the meta device: the feature's width, every LoRA target, the Grad-CAM layer."""
    spec = full.resolved(full.reference_config)
    with torch.device("meta"):
        network = full.build_network(full.reference_config).eval()
        x = torch.empty(1, len(spec.mean), *spec.native_size)
        with torch.no_grad():
            features_ND = network.forward_head(network.forward_features(x), pre_logits=True)
    assert features_ND.shape == (1, spec.feature_width)
    assert network.get_submodule(spec.gradcam_layer)
    names = module_names(network)
    for target in spec.lora_targets:
        assert any(ends_in(name, target) for name in names), target
    assert spec.input_size(spec.native_size) == spec.native_size


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
