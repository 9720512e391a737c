"""The networks of whole volumes: published names, the published computation, and what a configuration may say."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from engine.errors import PackageError
from engine.models.backbones import deepcntd, pillar0
from engine.models.backbones.conversion import check_plan, converted
from engine.models.backbones.convert import Terms, convert_checkpoint
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone, default_registry
from engine.models.backbones.weights import BackboneStore
from engine.models.classifier import MoLREClassifier
from engine.models.lora import adapter_state, apply_lora, inject_lora, network_adapters
from engine.models.settings import LoraSettings

TERMS = Terms("ECL-2.0", "tests")
Place = tuple[int, int, int]


def config(**changes: Any) -> dict[str, Any]:
    """The reference configuration with changed keys, wherever they stand."""
    made = copy.deepcopy(dict(pillar0.REFERENCE_CONFIG))
    places = (made["modalities"]["brain_ct"], made["model"], made["model"]["atlas_args"])
    for key, value in changes.items():
        next(place for place in places if key in place)[key] = value
    return made


SMALL = {
    # Slices, rows and columns all differ, and the coarsest scale fills one window exactly.
    "exact": config(
        image_size=[128, 64, 32], merge_ratio=[2, 4, 2], num_features=4, dim=8, num_heads=2, stages=[2, 1, 1]
    ),
    # The coarsest scale is smaller than a window, and sixteen windows share two.
    "smaller": config(
        image_size=[128, 64, 32], merge_ratio=[4, 4, 4], num_features=4, dim=8, num_heads=4, stages=[1, 2, 1]
    ),
}


def stem_names(width: int, channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stem, from the public description."""
    found: dict[str, tuple[int, ...]] = {}

    def norm(name: str, size: int) -> None:
        found.update({f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")})
        found[f"{name}.num_batches_tracked"] = ()

    for index, (before, after) in enumerate([(channels, 64), (64, width), (width, width)]):
        found[f"conv_down.{3 * index}.weight"] = (after, before, 3, 3, 3)
        norm(f"conv_down.{3 * index + 1}", after)
    for block, layer in itertools.product(range(3), (1, 2)):
        found[f"conv1.{block}.conv{layer}.weight"] = (width, width, 3, 3, 3)
        found[f"conv1.{block}.conv{layer}.bias"] = (width,)
        norm(f"conv1.{block}.norm{layer}", width)
    found |= {"ds1.norm.weight": (width,), "ds1.norm.bias": (width,)}
    found["ds1.reduction.0.weight"] = (2 * width, width, 3, 3, 3)
    return found


def tower_names(given: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the whole tower, from the public description."""
    modality, dim = given["modalities"]["brain_ct"], given["model"]["atlas_args"]["dim"]
    names = stem_names(modality["num_features"], modality["in_chans"])
    found = {f"patch_embeds.brain_ct.{name}": shape for name, shape in names.items()}
    n_scales = len(given["model"]["stages"])
    linear = {"attn.q": (dim, dim), "attn.kv": (2 * dim, dim), "attn.proj": (dim, dim)}
    linear |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for stage, depth in enumerate(given["model"]["stages"]):
        for block, scale in itertools.product(range(depth), range(n_scales)):
            place = f"atlas_models.{stage}.blocks.{block}"
            for name, (out, into) in linear.items():
                found |= {f"{place}.blocks.{scale}.{name}.weight": (out, into)}
                found |= {f"{place}.blocks.{scale}.{name}.bias": (out,)}
            for name, part in itertools.product(("norm1_q", "norm1_kv", "norm2"), ("weight", "bias")):
                found[f"{place}.blocks.{scale}.{name}.{part}"] = (dim,)
            found[f"{place}.posemb.{scale}.cpb_mlp.0.weight"] = (512, 3)
            found[f"{place}.posemb.{scale}.cpb_mlp.0.bias"] = (512,)
            found[f"{place}.posemb.{scale}.cpb_mlp.2.weight"] = (dim, 512)
    return found


def published(given: dict[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A checkpoint as it is published, with values that tell every tensor from every other."""
    generator = torch.Generator().manual_seed(5)
    state: dict[str, Tensor] = {}
    for name, shape in tower_names(given).items():
        values = torch.rand(shape, generator=generator, dtype=torch.float64)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
            continue
        if not name.endswith("running_var"):
            fan_in = max(1, torch.Size(shape[1:]).numel())
            values = (values - 0.5) * 3.0 / fan_in**0.5 + (0.8 if "norm" in name and name.endswith("weight") else 0.0)
        state[name] = (values + (0.5 if name.endswith("running_var") else 0.0)).to(dtype)
    state = {f"model.visual.{name}": tensor for name, tensor in state.items()}
    state["model.visual.patch_embeds.chest_ct.conv_down.0.weight"] = torch.ones(2)
    state |= {"model.text.projection.weight": torch.ones(3, 2), "model.logit_scale": torch.tensor(2.0)}
    return state


def batch_norm(state: dict[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"].view(-1, 1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + eps).sqrt() * weight + bias


def layer_norm(state: dict[str, Tensor], name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def stem_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """(M, S, H, W) to (S/4, H/8, W/8, C)."""
    for index, stride in enumerate([(1, 2, 2), (2, 2, 2), (1, 1, 1)]):
        x = functional.conv3d(x[None], state[f"conv_down.{3 * index}.weight"], stride=stride, padding=1)[0]
        x = batch_norm(state, f"conv_down.{3 * index + 1}", x, 1e-4).clamp(min=0)
    for block in range(3):
        inner = x
        for layer in (1, 2):
            weight, bias = (state[f"conv1.{block}.conv{layer}.{part}"] for part in ("weight", "bias"))
            inner = functional.conv3d(inner[None], weight, bias, padding=1)[0]
            inner = batch_norm(state, f"conv1.{block}.norm{layer}", inner, 1e-5)
            inner = gelu(inner) if layer == 1 else inner
        x = x + inner
    x = layer_norm(state, "ds1.norm", x.permute(1, 2, 3, 0), 1e-6).permute(3, 0, 1, 2)
    return functional.conv3d(x[None], state["ds1.reduction.0.weight"], stride=2, padding=1)[0].permute(1, 2, 3, 0)


def pooled_by_hand(x: Tensor, factor: Place) -> Tensor:
    """Maximum over blocks, place by place."""
    size = [length // step for length, step in zip(x.shape, factor, strict=False)]
    made = x.new_empty((*size, x.shape[-1]))
    for place in itertools.product(*map(range, size)):
        block = x[tuple(slice(at * step, (at + 1) * step) for at, step in zip(place, factor, strict=True))]
        made[place] = block.reshape(-1, x.shape[-1]).max(dim=0).values
    return made


def windows_of(size: Place, window: Place) -> list[list[Place]]:
    """The places of every window, both in raster order."""
    counts = [range(length // own) for length, own in zip(size, window, strict=True)]
    return [
        [
            (a * window[0] + i, b * window[1] + j, c * window[2] + k)
            for i, j, k in itertools.product(*map(range, window))
        ]
        for a, b, c in itertools.product(*counts)
    ]


def attend(queries: Tensor, keys: Tensor, values: Tensor, n_heads: int) -> Tensor:
    """(L, C) against (K, C): one head after the other."""
    width = queries.shape[1] // n_heads
    parts = []
    for head in range(n_heads):
        own = slice(head * width, (head + 1) * width)
        scores = queries[:, own] @ keys[:, own].T / width**0.5
        parts.append(torch.softmax(scores, dim=1) @ values[:, own])
    return torch.cat(parts, dim=1)


class ByHand:
    """The published computation on one volume, from its description: maps by place, windows as lists of places."""

    def __init__(self, given: dict[str, Any], state: dict[str, Tensor]) -> None:
        self.modality = given["modalities"]["brain_ct"]
        self.n_heads = given["model"]["atlas_args"]["num_heads"]
        self.depths = given["model"]["stages"]
        self.state = {name.removeprefix("model.visual."): tensor.double() for name, tensor in state.items()}

    def windows(self, size: Place) -> list[list[Place]]:
        merge = tuple(self.modality["merge_ratio"])
        return windows_of(size, merge if all(a >= b for a, b in zip(size, merge, strict=True)) else size)

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.state.items() if name.startswith(prefix)}

    def finished(self, x: Tensor) -> list[Tensor]:
        """The last map of every scale, from the vertex down."""
        x = stem_by_hand(self.part("patch_embeds.brain_ct."), x.flip(1))
        factor = self.modality["local2global"]
        maps = [pooled_by_hand(x, tuple(step**index for step in factor)) for index in range(len(self.depths))]
        finished = []
        for stage, depth in enumerate(self.depths):
            for block in range(depth):
                maps = self.block(maps, f"atlas_models.{stage}.blocks.{block}.")
            finished.append(maps[0])
            maps = maps[1:]
        return finished

    def block(self, maps: list[Tensor], name: str) -> list[Tensor]:
        maps = [self.with_positions(x, self.part(f"{name}posemb.{scale}.cpb_mlp.")) for scale, x in enumerate(maps)]
        for scale in range(1, len(maps)):
            maps[scale] = maps[scale] + pooled_by_hand(maps[scale - 1], tuple(self.modality["local2global"]))
        copies = [self.part(f"{name}blocks.{scale}.") for scale in range(len(maps))]
        for scale in reversed(range(len(maps))):
            maps[scale] = self.down(maps, copies, scale)
        for scale in range(1, len(maps)):
            maps[scale] = self.up(maps, copies, scale)
        return maps

    def with_positions(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        made, windows = x.clone(), self.windows(tuple(x.shape[:3]))
        slices, rows, columns = (len({place[axis] for place in windows[0]}) for axis in range(3))

        def coordinate(at: int, length: int) -> float:
            return 0.0 if length == 1 else (at - length // 2) / (length // 2)

        listed = [
            (coordinate(row, rows), coordinate(column, columns), coordinate(index, slices))
            for row, column, index in itertools.product(range(rows), range(columns), range(slices))
        ]
        hidden = (torch.tensor(listed).double() @ state["0.weight"].T + state["0.bias"]).clamp(min=0)
        embedding = hidden @ state["2.weight"].T
        for window in windows:
            for place, added in zip(window, embedding, strict=True):
                made[place] += added
        return made

    def down(self, maps: list[Tensor], copies: list[dict[str, Tensor]], scale: int) -> Tensor:
        """A scale attends to itself and to all coarser ones."""
        made = maps[scale].clone()
        own = self.windows(tuple(made.shape[:3]))
        for index, window in enumerate(own):
            tokens = torch.stack([maps[scale][place] for place in window])
            seen = [self.keys_and_values(tokens, copies[scale])]
            for coarser in range(scale + 1, len(maps)):
                others = self.windows(tuple(maps[coarser].shape[:3]))
                chosen = others[index // (len(own) // len(others))]
                seen.append(
                    self.keys_and_values(torch.stack([maps[coarser][place] for place in chosen]), copies[coarser])
                )
            keys, values = (torch.cat([pair[which] for pair in seen]) for which in (0, 1))
            tokens = self.updated(tokens, keys, values, copies[scale])
            for place, token in zip(window, tokens, strict=True):
                made[place] = token
        return made

    def up(self, maps: list[Tensor], copies: list[dict[str, Tensor]], scale: int) -> Tensor:
        """Tokens attend to the window of the next finer scale that covers their place."""
        made, factor = maps[scale].clone(), self.modality["local2global"]
        for window in self.windows(tuple(maps[scale - 1].shape[:3])):
            covered = sorted({tuple(at // step for at, step in zip(place, factor, strict=True)) for place in window})
            fine = torch.stack([maps[scale - 1][place] for place in window])
            keys, values = self.keys_and_values(fine, copies[scale - 1])
            tokens = self.updated(torch.stack([maps[scale][place] for place in covered]), keys, values, copies[scale])
            for place, token in zip(covered, tokens, strict=True):
                made[place] = token
        return made

    def keys_and_values(self, tokens: Tensor, copy: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        both = linear(copy, "attn.kv", layer_norm(copy, "norm1_kv", tokens))
        return both[:, : tokens.shape[1]], both[:, tokens.shape[1] :]

    def updated(self, tokens: Tensor, keys: Tensor, values: Tensor, copy: dict[str, Tensor]) -> Tensor:
        queries = linear(copy, "attn.q", layer_norm(copy, "norm1_q", tokens))
        tokens = tokens + linear(copy, "attn.proj", attend(queries, keys, values, self.n_heads))
        inner = gelu(linear(copy, "mlp.fc1", layer_norm(copy, "norm2", tokens)))
        return tokens + linear(copy, "mlp.fc2", inner)


def volumes(given: dict[str, Any], n: int = 2) -> Tensor:
    height, width, depth = given["modalities"]["brain_ct"]["image_size"]
    return torch.rand(n, 11, depth, height, width, generator=torch.Generator().manual_seed(2))


def filled(given: dict[str, Any]) -> torch.nn.Module:
    """A small network with the published values, filled by the plan."""
    network, state = pillar0.build_network(given).eval(), published(given)
    source = {name: tuple(tensor.shape) for name, tensor in state.items()}
    target = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    plan = pillar0.plan(source, target)
    check_plan(plan, source, target, "The test's file", "Pillar0")
    network.load_state_dict(dict(converted(plan, state.__getitem__)))
    return network


@pytest.mark.parametrize("name", SMALL)
def test_the_output_is_the_published_computation(name: str) -> None:
    network, x = filled(SMALL[name]).double(), volumes(SMALL[name]).double()
    with torch.no_grad():
        grid_NDSHW = network.forward_features(x)
        features_ND = network.forward_head(grid_NDSHW, pre_logits=True)
    by_hand = ByHand(SMALL[name], published(SMALL[name]))
    for index, volume in enumerate(x):
        maps = by_hand.finished(volume)
        expected_D = torch.cat([scale.reshape(-1, 8).max(dim=0).values for scale in maps])
        assert expected_D.std() > 0.1
        assert torch.allclose(features_ND[index], expected_D, atol=1e-9)
        for number, scale in enumerate(maps):
            # Coarse tokens stand at every place that they cover, and slices run as in the input, upwards.
            spread = scale
            for axis in range(3):
                spread = spread.repeat_interleave(2**number, dim=axis)
            found = grid_NDSHW[index, 8 * number : 8 * number + 8].flip(1).permute(1, 2, 3, 0)
            assert torch.allclose(found, spread, atol=1e-9)


def test_the_full_size_network_has_the_published_names_and_shapes() -> None:
    given = dict(pillar0.REFERENCE_CONFIG)
    with torch.device("meta"):
        network = pillar0.build_network(given)
        x = torch.empty(1, 11, 128, 256, 256)
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == tower_names(given)
    assert network.forward_features(x).shape == (1, 1152, 32, 32, 32)
    assert network(x).shape == (1, pillar0.SPEC.feature_width)


def test_the_full_size_parameter_count() -> None:
    """The public description's 12 blocks of dim 384 at 3 scales are 80.4 M; the paper's Table 2 prints 113.9 M.

    No number of blocks gives that: 17 make 110.0 M, 18 make 115.9 M. The file that a user brings decides.
    """
    per_scale = 4 * (384 * 384) + 4 * 384 + 3 * 2 * 384 + 2 * 4 * 384 * 384 + 5 * 384 + (4 * 512 + 512 * 384)
    convolutions = 27 * (11 * 64 + 64 * 192 + 192 * 192 + 6 * 192 * 192 + 192 * 384)
    stem = convolutions + 6 * 192 + 2 * (64 + 2 * 192 + 6 * 192) + 2 * 192
    with torch.device("meta"):
        network = pillar0.build_network(pillar0.REFERENCE_CONFIG)
    total = sum(parameter.numel() for parameter in network.parameters())
    assert total == stem + 12 * 3 * per_scale == 80_373_440


@pytest.mark.parametrize("change", ["missing", "left over", "misshapen", "without prefix"])
def test_a_wrong_file_is_refused_with_the_first_differing_names(change: str) -> None:
    source = {f"model.visual.{name}": shape for name, shape in tower_names(SMALL["exact"]).items()}
    wrong = "model.visual.atlas_models.1.blocks.0.blocks.2.attn.kv.weight"
    if change == "missing":
        del source[wrong]
    elif change == "left over":
        wrong = "model.visual.atlas_models.0.blocks.7.norm.weight"
        source[wrong] = (3,)
    elif change == "misshapen":
        source[wrong] = (8, 8)
    else:
        source = {name.removeprefix("model.visual."): shape for name, shape in source.items()}
        wrong = "model.visual.atlas_models"
    target = tower_names(SMALL["exact"])
    with pytest.raises(PackageError) as caught:
        check_plan(pillar0.plan(source, target), source, target, "a.safetensors", "Pillar0")
    assert caught.value.code == "backbone.keys"
    assert wrong in caught.value.message


def test_the_users_file_and_config_become_a_backbone(tmp_path: Path) -> None:
    given = SMALL["exact"]
    save_file(published(given), tmp_path / "model.safetensors")
    store = BackboneStore(tmp_path / "store")
    registry = default_registry().with_store(store)
    wrapped = {"model_type": "clip", "text_cfg": {"width": 3}, "vision_cfg": {"model_config": given}}
    convert_checkpoint(tmp_path / "model.safetensors", "pillar0_headct", registry, store, TERMS, wrapped)
    backbone = build_backbone("pillar0_headct", registry)
    assert backbone.spec.native_size == (32, 128, 64)
    assert backbone.spec.feature_width == 24
    x = volumes(given)
    with torch.inference_mode():
        features_ND, grid_NSHWD = backbone(x), backbone.feature_grid(x)
        assert torch.equal(features_ND, filled(given)(x))
        assert not torch.allclose(features_ND[0], features_ND[1])
        assert torch.equal(features_ND, backbone(x))
    assert grid_NSHWD.shape == (2, 8, 16, 8, 24)
    assert torch.equal(grid_NSHWD.amax(dim=(1, 2, 3)), features_ND)


def test_without_its_config_it_is_refused(tmp_path: Path) -> None:
    save_file(published(SMALL["exact"]), tmp_path / "model.safetensors")
    store = BackboneStore(tmp_path / "store")
    with pytest.raises(PackageError, match=r"config\.json"):
        convert_checkpoint(tmp_path / "model.safetensors", "pillar0_headct", default_registry(), store, TERMS)
    for make in (pillar0.build_network, pillar0.resolve):
        with pytest.raises(PackageError, match="missing") as caught:
            make(None)
        assert caught.value.code == "backbone.config"


def without(given: dict[str, Any], *path: str) -> dict[str, Any]:
    inner = given
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return given


def with_unknown(place: str) -> dict[str, Any]:
    given = config()
    {"tower": given, "model": given["model"], "arguments": given["model"]["atlas_args"]}[place]["surprise"] = 1
    return given


IMPOSSIBLE = {
    "no stages": (without(config(), "model", "stages"), "model.stages"),
    "no merge_ratio": (without(config(), "modalities", "brain_ct", "merge_ratio"), "merge_ratio"),
    "unknown in the tower": (with_unknown("tower"), "surprise"),
    "unknown in the model": (with_unknown("model"), "model.surprise"),
    "unknown in the arguments": (with_unknown("arguments"), "model.atlas_args.surprise"),
    "no head": ({**config(), "modalities": {"chest_ct": config()["modalities"]["brain_ct"]}}, "chest_ct"),
    "channels": (config(in_chans=1), "in_chans is 1"),
    "patch": (config(patch_size=[16, 16, 4]), "patch_size"),
    "dim": (config(dim=512), "dim is 512"),
    "heads": (config(num_heads=7), "7 heads"),
    "scales": (config(stages=[6, 6]), "3 scales"),
    "windows": (config(merge_ratio=[6, 6, 6]), "merge_ratio"),
    "odd pooling": (config(merge_ratio=[8, 8, 8], local2global=[3, 2, 2]), "local2global"),
    "size": (config(image_size=[250, 256, 128]), "image_size"),
    "zero": (config(image_size=[0, 256, 128]), "image_size"),
    "no pooling": (config(local2global=[1, 1, 1]), "1 scales"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_config_that_no_network_can_have_is_refused_by_name(name: str) -> None:
    given, named = IMPOSSIBLE[name]
    with pytest.raises(PackageError) as caught:
        pillar0.build_network(given)
    assert caught.value.code == "backbone.config"
    assert named in caught.value.message
    assert "config.json" in caught.value.hint


def test_a_config_of_512_pixels_is_prepared_at_half_the_pixel_size() -> None:
    spec = pillar0.resolve(config(image_size=[512, 512, 128], merge_ratio=[8, 16, 16]))
    assert spec.native_size == (128, 512, 512)
    assert spec.preprocessing.size_px == (512, 512)
    assert spec.preprocessing.spacing_mm == (1.25, 0.5, 0.5)
    assert spec.preprocessing.n_slices == 128
    assert pillar0.resolve(config()) == pillar0.SPEC


def test_lora_on_the_network_of_volumes_is_an_exact_no_op_at_the_start(tmp_path: Path) -> None:
    given = SMALL["exact"]
    save_file(published(given), tmp_path / "model.safetensors")
    store = BackboneStore(tmp_path / "store")
    registry = default_registry().with_store(store)
    convert_checkpoint(tmp_path / "model.safetensors", "pillar0_headct", registry, store, TERMS, given)
    backbone, x = build_backbone("pillar0_headct", registry), volumes(given, 1)
    with torch.inference_mode():
        before = backbone(x)
    apply_lora(backbone, LoraSettings())
    with torch.inference_mode():
        assert torch.equal(before, backbone(x))
    # Four blocks, three layers, two factors.
    assert len(adapter_state(backbone)) == 4 * 3 * 2


def test_lora_reaches_only_layers_that_are_called() -> None:
    """Later stages have copies for scales that are finished; an adapter there would change nothing."""
    with torch.device("meta"):
        network = pillar0.build_network(pillar0.REFERENCE_CONFIG)
    inject_lora(network, pillar0.SPEC, LoraSettings())
    # Twelve blocks, three layers, two factors.
    assert len(network_adapters(network)) == 12 * 3 * 2
    with torch.device("meta"):
        network = pillar0.build_network(pillar0.REFERENCE_CONFIG)
    with pytest.raises(PackageError, match="without calling"):
        inject_lora(network, pillar0.SPEC, LoraSettings(targets=("attn.q",)))


def standin_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    state = deepcntd.build_network().state_dict()
    return {
        name: torch.rand(tensor.shape, generator=generator) * 0.1 + 0.01 if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def test_the_stand_in_says_so_and_has_the_papers_size() -> None:
    """6.9 M parameters, 1.08 M of them trained, 75 findings."""
    spec = deepcntd.SPEC
    assert spec.stand_in
    assert not spec.molre
    assert "stand-in" in spec.display_name
    assert "not public" in spec.origin
    with torch.device("meta"):
        network = deepcntd.build_network()
        classifier = MoLREClassifier(spec.feature_width, 75, None, fusion_hidden=spec.fusion_hidden)
    frozen = sum(parameter.numel() for parameter in network.parameters())
    trained = sum(parameter.numel() for parameter in classifier.parameters())
    assert round((frozen + trained) / 1e6, 1) == 6.9
    assert round(trained / 1e6, 2) == 1.08
    assert network(torch.empty(1, 3, *spec.native_size, device="meta")).shape == (1, spec.feature_width)


def encoder_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """(M, S, H, W) to the encoder's mean over positions."""

    def conv(name: str, x: Tensor, stride: Any = 1, padding: int = 1) -> Tensor:
        return functional.conv3d(x[None], state[f"{name}.weight"], stride=stride, padding=padding)[0]

    x = batch_norm(state, "1", conv("0", x, (1, 2, 2)), 1e-5).clamp(min=0)
    for block in (3, 4, 5):
        inner = batch_norm(state, f"{block}.norm1", conv(f"{block}.conv1", x, 2), 1e-5).clamp(min=0)
        inner = batch_norm(state, f"{block}.norm2", conv(f"{block}.conv2", inner), 1e-5)
        beside = batch_norm(state, f"{block}.norm3", conv(f"{block}.shortcut", x, 2, 0), 1e-5)
        x = (inner + beside).clamp(min=0)
    return batch_norm(state, "7", conv("6", x, 1, 0), 1e-5).clamp(min=0).mean(dim=(1, 2, 3))


def test_the_users_weights_for_the_stand_in_load_whole_and_compute(tmp_path: Path) -> None:
    state = standin_state()
    extra = {"fusion.weight": torch.ones(2, 2), "head.bias": torch.ones(3)}
    save_file({**state, **extra}, tmp_path / "mine.safetensors")
    store = BackboneStore(tmp_path / "store")
    registry = BackboneRegistry([deepcntd.BACKBONE], store)
    convert_checkpoint(tmp_path / "mine.safetensors", "deepcntd_standin", registry, store, TERMS)
    backbone = build_backbone("deepcntd_standin", registry)
    assert isinstance(backbone, Backbone)
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    x = torch.rand(1, 3, *deepcntd.SPEC.native_size, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        features_D, grid_NSHWD = backbone(x)[0], backbone.feature_grid(x)
    seen = (x[0] - 0.5) / 0.5
    halved = seen.unflatten(2, (112, 2)).unflatten(4, (112, 2)).mean(dim=(3, 5))
    parts = {
        name: {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        for name in ("fine", "coarse")
    }
    expected_D = torch.cat([encoder_by_hand(parts["fine"], seen), encoder_by_hand(parts["coarse"], halved)])
    assert torch.allclose(features_D, expected_D, rtol=1e-4)
    assert grid_NSHWD.shape == (1, 5, 14, 14, 1024)
    assert torch.allclose(grid_NSHWD.mean(dim=(1, 2, 3))[0], features_D, rtol=1e-5)
