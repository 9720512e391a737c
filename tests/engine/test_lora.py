from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from engine.errors import PackageError
from engine.models.backbones.network import Backbone
from engine.models.lora import apply_lora, inject_lora, lora_reference, matched_modules, network_adapters
from engine.models.molre import MoLRE
from engine.models.settings import LoraSettings, MoLRESettings
from engine.models.thirds import SplitLinear
from tests.support.models import TINY_SPEC, tiny_entry
from tests.support.networks import SMALL, SmallNetwork


@pytest.fixture(params=SMALL.values(), ids=SMALL.keys())
def small(request: pytest.FixtureRequest) -> SmallNetwork:
    return request.param


def network_of(small: SmallNetwork) -> nn.Module:
    torch.manual_seed(5)
    return small.build().eval().requires_grad_(False)


def pictures(small: SmallNetwork) -> Tensor:
    return torch.rand(2, len(small.spec.mean), *small.spec.native_size, generator=torch.Generator().manual_seed(6))


def feature(network: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.forward_head(network.forward_features(x), pre_logits=True)


def fill(network: nn.Module, seed: int = 7) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in network_adapters(network).values():
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))


def test_lora_changes_nothing_at_the_start_to_the_bit(small: SmallNetwork) -> None:
    network, x = network_of(small), pictures(small)
    before = feature(network, x)
    inject_lora(network, small.spec, LoraSettings())
    assert network_adapters(network)
    assert torch.equal(feature(network, x), before)


def test_every_adapter_lies_in_the_path(small: SmallNetwork) -> None:
    """An adapter that the network passes by, as timm's fused EVA attention does, would train and change nothing."""
    network, x = network_of(small), pictures(small)
    inject_lora(network, small.spec, LoraSettings())
    before = feature(network, x)
    second_factors = {name: tensor for name, tensor in network_adapters(network).items() if ".lora_B." in name}
    assert len(second_factors) == len(network_adapters(network)) / 2
    mute = []
    for name, tensor in second_factors.items():
        tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(8)))
        mute += [name] if torch.equal(feature(network, x), before) else []
        tensor.zero_()
    assert mute == []


def test_a_layer_that_is_never_called_is_refused() -> None:
    """timm's EVA attention with a fused qkv multiplies by the layer's weight and does not call the layer."""
    from timm.models.eva import vit_base_patch16_dinov3_qkvb

    network = vit_base_patch16_dinov3_qkvb(embed_dim=64, depth=2, num_heads=4, num_classes=0).eval()
    names = set(network.state_dict())
    for targets in (("attn.qkv", "attn.proj"), ("qkv.q", "qkv.v")):
        with pytest.raises(PackageError, match=r"blocks\.0\.attn\.qkv") as caught:
            inject_lora(network, SMALL["dinov3_base"].spec, LoraSettings(targets=targets))
        assert caught.value.code == "lora.bypassed"
        assert set(network.state_dict()) == names, "the network is as it was"


def test_a_network_that_needs_values_is_looked_at_on_a_black_picture() -> None:
    """It branches on a value, which shapes alone do not have."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.mute = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward_features(self, x: Tensor) -> Tensor:
            rows = x.mean(dim=(1, 2))
            return self.used(rows) if float(rows.sum()) <= 0 else rows @ self.mute.weight

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return x

    spec = replace(TINY_SPEC, native_size=(4, 4))
    inject_lora(Branching(), spec, LoraSettings(targets=("used",)))
    with pytest.raises(PackageError) as caught:
        inject_lora(Branching(), spec, LoraSettings(targets=("mute",)))
    assert caught.value.code == "lora.bypassed"


def test_the_thirds_of_a_fused_layer_are_the_fused_layer_to_the_bit() -> None:
    torch.manual_seed(1)
    fused = nn.Linear(48, 3 * 40)
    split = SplitLinear(fused, ("q", "k", "v"))
    x = torch.randn(3, 17, 48)
    assert torch.equal(split(x), fused(x))
    assert {name for name, _ in split.named_parameters()} == {"fused.weight", "fused.bias"}, "no tensor twice"
    for index, name in enumerate("qkv"):
        part = split.get_submodule(name)
        assert torch.equal(part.weight, fused.weight[40 * index : 40 * (index + 1)])
        assert torch.equal(part.bias, fused.bias[40 * index : 40 * (index + 1)])


def test_an_adapter_on_a_third_changes_that_third_alone() -> None:
    small = SMALL["medsiglip"]
    network = network_of(small)
    layer = network.blocks[1].attn.qkv
    x = torch.randn(2, 4, 64)
    before = layer(x)
    inject_lora(network, small.spec, LoraSettings(rank=2, alpha=6, targets=("attn.qkv.k",)))
    assert set(network_adapters(network)) == {
        f"blocks.{block}.attn.qkv.k.lora_{factor}.default.weight" for block in (0, 1) for factor in "AB"
    }
    fill(network)
    state = network_adapters(network)
    down, up = (state[f"blocks.1.attn.qkv.k.lora_{factor}.default.weight"] for factor in "AB")
    change = network.blocks[1].attn.qkv(x) - before
    assert torch.equal(change[..., :64], torch.zeros(2, 4, 64))
    assert torch.equal(change[..., 128:], torch.zeros(2, 4, 64))
    assert torch.allclose(change[..., 64:128], 3 * x @ (up @ down).T, atol=1e-5)


def test_targets_of_the_settings_come_before_the_specs() -> None:
    backbone = Backbone(tiny_entry())
    with pytest.raises(PackageError, match="nowhere"):
        apply_lora(backbone, LoraSettings(targets=("nowhere",)))
    apply_lora(backbone, LoraSettings())
    reference = lora_reference(backbone, LoraSettings())
    assert reference.settings == LoraSettings(targets=("conv",)), "a later spec must not change what a package means"
    assert reference.tensors == {
        "conv.lora_A.default.weight": (8, 3, 4, 4),
        "conv.lora_B.default.weight": (12, 8, 1, 1),
    }


def test_other_ranks_for_some_modules() -> None:
    small = SMALL["medsiglip"]
    settings = LoraSettings(rank=2, alpha=4, rank_pattern={"attn.proj": 5}, alpha_pattern={"attn.proj": 10, "qkv.q": 8})
    network = network_of(small)
    inject_lora(network, small.spec, settings)
    attention = network.blocks[1].attn
    assert attention.proj.lora_A["default"].weight.shape == (5, 64)
    assert (attention.proj.scaling["default"], attention.qkv.q.scaling["default"]) == (2.0, 4.0)
    assert attention.qkv.k.scaling["default"] == 2.0
    with pytest.raises(PackageError, match=r"pattern attn\.out"):
        inject_lora(network_of(small), small.spec, LoraSettings(rank_pattern={"attn.out": 2}))


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (("conv_dw",), "grouped"),
        (("blocks",), "Sequential"),
        (("conv_pw", "attention.qkv"), "attention.qkv"),
        (("onv_pw",), "onv_pw"),
    ],
)
def test_what_cannot_be_adapted_is_refused_by_name(targets: tuple[str, ...], named: str) -> None:
    small = SMALL["efficientnet_lite0"]
    network = network_of(small)
    with pytest.raises(PackageError, match=named) as caught:
        inject_lora(network, small.spec, LoraSettings(targets=targets))
    assert caught.value.code == "lora.target"
    assert not network_adapters(network)


def test_a_fused_layer_is_no_target_as_a_whole_and_in_parts() -> None:
    small = SMALL["medsiglip"]
    with pytest.raises(PackageError, match="as a whole and in parts"):
        inject_lora(network_of(small), small.spec, LoraSettings(targets=("attn.qkv", "qkv.q")))


@pytest.mark.parametrize("targets", [("conv", "attention.qkv"), ()])
def test_a_target_that_matches_nothing_is_an_error(targets: tuple[str, ...]) -> None:
    backbone = Backbone(replace(tiny_entry(), spec=replace(TINY_SPEC, lora_targets=targets)))
    with pytest.raises(PackageError) as caught:
        apply_lora(backbone, LoraSettings())
    assert caught.value.code == "lora.target"
    assert "conv," not in caught.value.message


def test_parts_of_a_name_do_not_match() -> None:
    """``onv`` ends the name ``conv``, yet is no component of it."""
    backbone = Backbone(tiny_entry())
    assert matched_modules(backbone, "conv") == ("conv",)
    assert matched_modules(backbone, "onv") == ()


def test_the_papers_defaults() -> None:
    assert LoraSettings() == LoraSettings(rank=8, alpha=16)
    backbone = Backbone(tiny_entry())
    apply_lora(backbone, LoraSettings())
    conv = backbone.network.conv
    assert conv.scaling["default"] == 2.0
    assert conv.lora_A["default"].weight.shape[0] == 8


def peft_on_the_identity(down_RD: Tensor, up_DR: Tensor) -> nn.Module:
    """peft's own LoRA with α = r on a layer that returns its input."""
    from peft import LoraConfig, inject_adapter_in_model

    (rank, width), layer = down_RD.shape, nn.Linear(down_RD.shape[1], down_RD.shape[1], bias=False)
    nn.init.eye_(layer.weight)
    holder = nn.ModuleDict({"feature": layer})
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=["feature"]), holder)
    adapted = holder["feature"]
    with torch.no_grad():
        adapted.lora_A["default"].weight.copy_(down_RD)
        adapted.lora_B["default"].weight.copy_(up_DR)
    assert adapted.out_features == width
    return adapted


@pytest.mark.parametrize("n_experts", [1, 4])
def test_a_constant_router_makes_the_mixture_plain_lora_on_the_feature(n_experts: int) -> None:
    """With gates that do not depend on the input, Eq. (1) is W0 x + B A x with stacked A_k and weighted B_k.

    With K = 1 the gate is 1, whatever the router computes; with more it is made constant here.
    """
    torch.manual_seed(4)
    molre = MoLRE(24, MoLRESettings(n_experts=n_experts, rank=3, hidden=7))
    nn.init.normal_(molre.up_KDR)
    if n_experts > 1:
        nn.init.zeros_(molre.router_out.weight)
    x_SD = torch.randn(9, 24)
    with torch.no_grad():
        gates_SK = molre.route(x_SD)
        assert torch.equal(gates_SK, gates_SK[:1].expand_as(gates_SK))
        up_DR = torch.cat([gate * up_DR for gate, up_DR in zip(gates_SK[0], molre.up_KDR, strict=True)], dim=1)
        lora = peft_on_the_identity(molre.down_KRD.flatten(0, 1), up_DR)
        adapted_SD = molre(x_SD).adapted
        assert torch.allclose(adapted_SD, lora(x_SD), atol=1e-6)
        assert not torch.allclose(adapted_SD, x_SD, atol=1e-2)
