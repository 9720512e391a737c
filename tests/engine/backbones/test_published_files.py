"""The published files of the 2D backbones: at full size by name and shape, at a small size by value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import PackageError
from engine.models.backbones.conversion import check_plan
from engine.models.backbones.convert import Terms, convert_checkpoint, network_shapes
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone, default_registry
from engine.models.backbones.spec import BundledWeights
from engine.models.backbones.weights import BackboneStore
from tests.support.backbones import (
    SMALL,
    Shapes,
    dinov3_hugging_face,
    full_size_files,
    shapes_of,
    siglip,
    small_entry,
    without,
)

REGISTRY = default_registry()
FILES = {f"{name}-{naming}": (name, shapes) for name, naming, shapes in full_size_files()}
SMALL_FILES = [(name, naming) for name in SMALL for naming in SMALL[name]().files]
TARGETS: dict[str, Shapes] = {}

PARAMETERS = {
    "dinov3_base": 85_659_648,
    "dinov3_large": 303_128_576,
    "medimageinsight": 360_636_416 + 2048 * 1024,
    "medsiglip": 428_565_440,
    "medgemma_896": 416_866_032,
}


def target_of(name: str) -> Shapes:
    if name not in TARGETS:
        TARGETS[name] = network_shapes(REGISTRY.entry(name))
    return TARGETS[name]


def check(name: str, source: Shapes) -> None:
    entry = REGISTRY.entry(name)
    check_plan(entry.plan(source, target_of(name)), source, target_of(name), "the file", entry.spec.display_name)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_full_size_file_fits_with_nothing_missing_and_nothing_left_over(file: str) -> None:
    name, source = FILES[file]
    check(name, source)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = REGISTRY.entry(name).build_network()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    assert set(network.state_dict()) == {parameter for parameter, _ in network.named_parameters()}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_only_what_is_known_to_be_unused_is_dropped(file: str) -> None:
    name, source = FILES[file]
    plan = REGISTRY.entry(name).plan(source, target_of(name))
    other_half = ("text_model.", "lang_", "language_model.", "multi_modal_", "model.language", "model.multi", "lm_head")
    constant = ("mask_token", "rope_embed.periods", "bias_mask", "logit_scale", "logit_bias")
    assert all(dropped.startswith(other_half) or dropped.endswith(constant) for dropped in plan.dropped)


@pytest.mark.parametrize(
    "file", ["dinov3_base-meta", "dinov3_base-layer", "medsiglip-vision_model", "medimageinsight-newer"]
)
def test_any_tensor_that_is_missing_or_too_many_is_named(file: str) -> None:
    name, source = FILES[file]
    used = {
        used for piece in REGISTRY.entry(name).plan(source, target_of(name)).pieces.values() for used in piece.sources
    }
    for missing in sorted(used)[::37]:
        with pytest.raises(PackageError) as caught:
            check(name, without(source, [missing]))
        assert caught.value.code == "backbone.keys"
        assert "missing" in caught.value.message
    with pytest.raises(PackageError, match=r"belong nowhere: surplus\.weight"):
        check(name, source | {"surplus.weight": (1,)})


@pytest.mark.parametrize("name", ["dinov3_base", "medsiglip", "medimageinsight"])
@pytest.mark.parametrize(
    "other", ["dinov3_large-meta", "medgemma_896-vision_tower", "medimageinsight-newer", "dinov3_base-layer"]
)
def test_the_file_of_another_network_is_refused_with_the_first_differing_keys(name: str, other: str) -> None:
    if other.startswith(f"{name}-"):
        return
    with pytest.raises(PackageError) as caught:
        check(name, FILES[other][1])
    assert caught.value.code == "backbone.keys"
    assert any(key in caught.value.message for key in FILES[other][1]) or "missing" in caught.value.message


def test_a_file_of_another_size_is_refused() -> None:
    with pytest.raises(PackageError, match=r"layer\.12"):
        check("dinov3_base", dinov3_hugging_face(768, 24))
    with pytest.raises(PackageError, match="wrong shapes"):
        check("dinov3_base", dinov3_hugging_face(1024, 12))
    with pytest.raises(PackageError, match=r"position_embedding.*\[4096, 1152\] does not give pos_embed"):
        check("medsiglip", siglip("vision_model.", 1152, 27, 4304, 4096, head=True))


def test_a_siglip_without_its_pooling_is_no_medsiglip() -> None:
    with pytest.raises(PackageError, match=r"head\.attention\.in_proj_bias"):
        check("medsiglip", siglip("vision_model.", 1152, 27, 4304, 1024, head=False))


@pytest.mark.parametrize(("name", "naming"), SMALL_FILES)
def test_a_small_file_loads_whole_and_every_value_arrives_once(name: str, naming: str) -> None:
    """Each used value of the file is in the network, each value of the network is the file's, or a zero bias."""
    entry = small_entry(REGISTRY[name], naming)
    assert entry.bundled is not None
    published = entry.bundled.read()
    plan = entry.plan(shapes_of(published), shapes_of(entry.build_network().state_dict()))
    kept = [value for file_name, value in published.items() if file_name not in plan.dropped]
    inside = torch.cat([value.flatten() for value in Backbone(entry).network.state_dict().values()])
    inside = inside[inside != 0].sort().values
    if name.startswith("dinov3") and naming == "meta":
        # The key's third of the joint bias is masked to zero by the published network.
        n_bias = published["blocks.0.attn.qkv.bias"].numel() // 3
        kept = [torch.cat([v[:n_bias], v[2 * n_bias :]]) if v.shape == (3 * n_bias,) else v for v in kept]
    expected = torch.cat([value.flatten() for value in kept]).sort().values
    assert torch.equal(inside, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [*PARAMETERS])
def test_a_converted_file_gives_the_same_features_from_the_store(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Through the file, the store and the registry, as a user's file goes; some are published in bfloat16."""
    entry = small_entry(REGISTRY[name])
    assert entry.bundled is not None
    published = {key: value.to(dtype) for key, value in entry.bundled.read().items()}
    in_memory = replace(entry, bundled=BundledWeights(lambda: published, entry.bundled.digest))
    save_file(published, tmp_path / "published.safetensors")
    store = BackboneStore(tmp_path / "backbones")
    registry = BackboneRegistry([replace(entry, bundled=None)], store)
    stored = convert_checkpoint(
        tmp_path / "published.safetensors", name, registry, store, Terms(entry.spec.licence, entry.spec.origin)
    )
    backbone = build_backbone(name, registry)
    x_NMHW = torch.rand(1, 3, *entry.spec.native_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(backbone(x_NMHW), Backbone(in_memory)(x_NMHW))
    assert stored.record.n_parameters == sum(value.numel() for value in backbone.network.state_dict().values())
    assert all(value.dtype == torch.float32 for value in backbone.network.state_dict().values())
