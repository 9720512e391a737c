"""From a published file to stored weights: whole or not at all, and refused by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import PackageError
from engine.models.backbones.checkpoint import open_checkpoint
from engine.models.backbones.convert import Terms, convert_checkpoint, read_config
from engine.models.backbones.registry import BackboneRegistry, build_backbone
from engine.models.backbones.weights import BackboneStore
from engine.preprocess.spec import PreprocessSpec
from engine.progress import Cancelled
from tests.support.models import TINY_SPEC, build_tiny_network, tiny_checkpoint, tiny_entry

TERMS = Terms("Apache-2.0", "made by a test")


@pytest.fixture
def store(tmp_path: Path) -> BackboneStore:
    return BackboneStore(tmp_path / "backbones")


@pytest.fixture
def registry(store: BackboneStore) -> BackboneRegistry:
    return BackboneRegistry([tiny_entry()], store)


def other_weights() -> dict[str, torch.Tensor]:
    """Published names, values that differ from the bundled ones."""
    return {name: tensor + 0.25 if tensor.is_floating_point() else tensor for name, tensor in tiny_checkpoint().items()}


def as_safetensors(folder: Path) -> Path:
    save_file(other_weights(), folder / "published.bin")
    return folder / "published.bin"


def as_torch(folder: Path) -> Path:
    torch.save(other_weights(), folder / "published.pth")
    return folder / "published.pth"


def as_old_torch(folder: Path) -> Path:
    torch.save(other_weights(), folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder / "old.pth"


def as_wrapped_torch(folder: Path) -> Path:
    torch.save({"epoch": 3, "state_dict": other_weights()}, folder / "wrapped.pth")
    return folder / "wrapped.pth"


def as_shards(folder: Path) -> Path:
    weights = other_weights()
    names = sorted(weights)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, members in halves.items():
        save_file({name: weights[name] for name in members}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in halves.items() for name in part}}))
    return index


@pytest.mark.parametrize("write", [as_safetensors, as_torch, as_old_torch, as_wrapped_torch, as_shards])
def test_every_kind_of_file_gives_the_same_stored_weights(
    write: Callable[[Path], Path], tmp_path: Path, store: BackboneStore, registry: BackboneRegistry
) -> None:
    stored = convert_checkpoint(write(tmp_path), "tiny", registry, store, TERMS)
    expected = {name: other_weights()[f"published.{name}"] for name in build_tiny_network().state_dict()}
    kept = load_file(stored.weights)
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
    assert stored.record.licence == "Apache-2.0"
    assert stored.record.origin == "made by a test"
    assert stored.record.n_parameters == sum(tensor.numel() for tensor in expected.values())
    assert str(tmp_path) not in (stored.folder / "backbone.json").read_text()


def test_the_same_content_is_stored_once_whatever_the_file(
    tmp_path: Path, store: BackboneStore, registry: BackboneRegistry
) -> None:
    first = convert_checkpoint(as_safetensors(tmp_path), "tiny", registry, store, TERMS)
    second = convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, Terms("another", "another"))
    assert first == second
    assert [path.name for path in store.root.iterdir()] == [first.folder.name]


def test_a_backbone_is_built_from_the_weights_that_are_asked_for(
    tmp_path: Path, store: BackboneStore, registry: BackboneRegistry
) -> None:
    stored = convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, TERMS)
    bundled = build_backbone("tiny", registry)
    brought = build_backbone("tiny", registry, stored.record.weights_digest)
    x_NMHW = torch.rand(2, 3, 32, 32)
    assert not torch.allclose(bundled(x_NMHW), brought(x_NMHW))
    by_hand = build_tiny_network().eval()
    by_hand.load_state_dict(load_file(stored.weights))
    normalised = (x_NMHW - 0.5) / 0.25
    expected_ND = by_hand.forward_head(by_hand.forward_features(normalised), pre_logits=True)
    assert torch.allclose(brought(x_NMHW), expected_ND, atol=1e-6)
    with pytest.raises(PackageError) as caught:
        build_backbone("tiny", registry, "0" * 64)
    assert (caught.value.code, caught.value.kind) == ("backbone.weights_missing", "environment")
    assert "models convert" in caught.value.hint


def test_half_precision_weights_stay_half_on_disk_and_become_single_in_memory(
    tmp_path: Path, store: BackboneStore, registry: BackboneRegistry
) -> None:
    weights = {name: t.bfloat16() if t.is_floating_point() else t for name, t in other_weights().items()}
    save_file(weights, tmp_path / "half.safetensors")
    stored = convert_checkpoint(tmp_path / "half.safetensors", "tiny", registry, store, TERMS)
    assert load_file(stored.weights)["conv.weight"].dtype == torch.bfloat16
    network = build_backbone("tiny", registry, stored.record.weights_digest).network
    assert network.conv.weight.dtype == torch.float32
    assert torch.equal(network.conv.weight, weights["published.conv.weight"].float())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("published.conv.bias"), "1 tensors are missing: published.conv.bias"),
        (lambda w: w.update(stranger=torch.zeros(2)), "1 tensors belong nowhere: stranger"),
        (
            lambda w: w.update({"published.conv.weight": torch.zeros(12, 3, 5, 5)}),
            "published.conv.weight [12, 3, 5, 5] does not give conv.weight [12, 3, 4, 4]",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_first_differing_keys(
    change: Callable[[dict[str, torch.Tensor]], object],
    said: str,
    tmp_path: Path,
    store: BackboneStore,
    registry: BackboneRegistry,
) -> None:
    weights = other_weights()
    change(weights)
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(PackageError) as caught:
        convert_checkpoint(tmp_path / "wrong.safetensors", "tiny", registry, store, TERMS)
    assert caught.value.code == "backbone.keys"
    assert said in caught.value.message
    assert not store.root.exists()


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no checkpoint at all",
        pickle.dumps(_Runs(), protocol=2),
        b"PK\x03\x04 cut",
        (10**6).to_bytes(8, "little") + b"{",
    ],
)
def test_what_is_no_checkpoint_is_refused_and_never_run(
    content: bytes, tmp_path: Path, registry: BackboneRegistry, store: BackboneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(PackageError) as caught:
        convert_checkpoint(tmp_path / "file.pth", "tiny", registry, store, TERMS)
    assert caught.value.code == "backbone.checkpoint"
    assert "file.pth" in caught.value.message
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_and_an_index_that_leaves_its_folder_are_refused(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    for path in (tmp_path / "absent.pth", index):
        with pytest.raises(PackageError) as caught, open_checkpoint(path):
            pass
        assert caught.value.code == "backbone.checkpoint"


class _CancelAtSecond:
    def __init__(self) -> None:
        self.done = 0

    def progress(self, done: int, total: int, text: str) -> None:
        self.done = done

    def raise_if_cancelled(self) -> None:
        if self.done:
            raise Cancelled


def test_cancelling_leaves_nothing_behind(tmp_path: Path, store: BackboneStore, registry: BackboneRegistry) -> None:
    with pytest.raises(Cancelled):
        convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, TERMS, context=_CancelAtSecond())
    assert list(store.root.iterdir()) == []


def test_damaged_folders_of_the_store_are_told_and_never_used(
    tmp_path: Path, store: BackboneStore, registry: BackboneRegistry
) -> None:
    stored = convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, TERMS)
    (stored.folder / "backbone.json").write_text("{}")
    assert store.list() == ()
    (error,) = store.broken()
    assert error.code == "backbone.broken"
    assert str(stored.folder) in error.message


def test_a_weights_file_that_was_replaced_is_refused(
    tmp_path: Path, store: BackboneStore, registry: BackboneRegistry
) -> None:
    stored = convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, TERMS)
    for content in (b"cut", None):
        if content is None:
            save_file({"other": torch.zeros(1)}, stored.weights)
        else:
            stored.weights.write_bytes(content)
        with pytest.raises(PackageError) as caught:
            build_backbone("tiny", registry, stored.record.weights_digest)
        assert caught.value.code == "backbone.broken"


def test_a_removed_backbone_is_gone(tmp_path: Path, store: BackboneStore, registry: BackboneRegistry) -> None:
    store.remove(convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, TERMS))
    assert store.list() == ()


@pytest.mark.parametrize("content", ["[1]", "{", ""])
def test_a_configuration_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(PackageError) as caught:
        read_config(tmp_path / "config.json")
    assert caught.value.code == "backbone.config"


def test_what_a_configuration_decides_is_kept_with_the_weights_and_found_again(
    tmp_path: Path, store: BackboneStore
) -> None:
    """Preparation included: a network of another grid must not be given the usual one."""
    wider = replace(TINY_SPEC, size_rule="multiple", size_multiple=8, preprocessing=PreprocessSpec(size_px=(96, 96)))
    registry = BackboneRegistry([replace(tiny_entry(), resolve=lambda config: wider)], store)
    stored = convert_checkpoint(as_torch(tmp_path), "tiny", registry, store, TERMS)
    spec = registry.entry("tiny", stored.record.weights_digest).spec
    assert spec == wider
    assert spec.input_size((33, 40)) == (40, 40)
