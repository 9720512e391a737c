"""How the backbone is computed: device, precision, batch, air, volumes, and giving way when something cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import InferenceError
from engine.inference import features, memory, precision
from engine.inference.compute import AUTOMATIC, EXACT, Computing
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor, only_air
from engine.inference.memory import batch_limit, batch_that_fits, free_bytes, peak_bytes
from engine.inference.precision import choose_precision, computing, difference, native_bfloat16
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import build_backbone
from engine.models.lora import adapter_state, apply_lora, load_adapter_state
from engine.models.settings import LoraSettings
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import AIR_HU, PreparedVolume, PreprocessSpec
from engine.preprocess.windows import to_channels, to_volume
from tests.support.models import small_head, tiny_entry

CPU = torch.device("cpu")
IN_BFLOAT16 = Computing("bfloat16", "torch")


@pytest.fixture(scope="module")
def head() -> PreparedVolume:
    return prepare(small_head(), PreprocessSpec(align=False))


def with_air(prepared: PreparedVolume, *slices: int) -> PreparedVolume:
    """The same study with slices of noisy air, as above the vertex."""
    voxels_hu = prepared.voxels_hu.copy()
    noise = np.random.default_rng(3)
    for index in slices:
        voxels_hu[index] = noise.normal(-1000, 15, voxels_hu[index].shape)
    return replace(prepared, voxels_hu=voxels_hu)


class Counting(Backbone):
    """A backbone that remembers the sizes of its batches."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.batches: list[int] = []

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x_NMHW))
        return super().forward(x_NMHW)


# Air


def test_only_slices_without_anything_in_any_window_are_air(head: PreparedVolume) -> None:
    study = with_air(head, 0, 5)
    assert np.flatnonzero(only_air(study.voxels_hu, study.spec)).tolist() == [0, 5]
    spoilt = study.voxels_hu.copy()
    spoilt[5, 100, 100] = -790.0
    assert np.flatnonzero(only_air(spoilt, study.spec)).tolist() == [0]


def test_noise_counts_where_a_window_shows_it(head: PreparedVolume) -> None:
    lung = head.spec.model_copy(update={"windows_hu": ((-1500.0, 500.0),)})
    noisy = with_air(head, 0).voxels_hu
    plain = head.voxels_hu.copy()
    plain[0] = AIR_HU
    assert not only_air(noisy, lung).any()
    assert np.flatnonzero(only_air(plain, lung)).tolist() == [0]


@pytest.mark.parametrize("how", [EXACT, IN_BFLOAT16, Computing("float32", "openvino")], ids=lambda how: str(how))
def test_airs_feature_is_the_backbones_to_the_bit(head: PreparedVolume, how: Computing) -> None:
    """On the default backbone: in a batch of air, and in a batch with head beside it, at every place."""
    extractor = FeatureExtractor(build_backbone("efficientnet_lite0"), CPU, how)
    study = with_air(head, 0, 1, 2)
    shown = extractor.features(study)
    assert np.array_equal(shown[0], shown[1])
    plan = extractor._plan((3, 224, 224))
    batch = plan.batch
    air = with_air(head, *range(batch)).voxels_hu[:batch]
    computed = extractor._run(plan, to_channels(air, study.spec.windows_hu))
    assert all(np.array_equal(row, shown[0]) for row in computed)
    for place in range(batch):
        mixed = head.voxels_hu[:batch].copy()
        mixed[place] = air[0]
        row = extractor._run(plan, to_channels(mixed, study.spec.windows_hu))[place]
        assert np.array_equal(row, shown[0])
    assert not np.array_equal(shown[3], shown[0])


def test_air_is_computed_once_and_again_when_adapters_change_the_network(head: PreparedVolume) -> None:
    backbone = Counting(tiny_entry())
    extractor = FeatureExtractor(backbone, CPU)
    study = with_air(head, 0, 1, 2, 3, 4, 5)
    first = extractor.features(study)
    backbone.batches.clear()
    again = extractor.features(study)
    assert np.array_equal(first, again)
    assert sum(backbone.batches) == len(first) - 6

    apply_lora(backbone, LoraSettings())
    generator = torch.Generator().manual_seed(3)
    state = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in adapter_state(backbone).items()}
    load_adapter_state(backbone, state)
    adapted = extractor.features(study)
    fresh = FeatureExtractor(backbone, CPU).features(study)
    assert np.array_equal(adapted, fresh)
    assert np.abs(adapted[0] - first[0]).max() > 0.01


def test_a_study_of_nothing_but_air_has_features(head: PreparedVolume) -> None:
    study = with_air(head, *range(len(head.voxels_hu)))
    found = FeatureExtractor(Backbone(tiny_entry()), CPU).features(study)
    assert len(np.unique(found, axis=0)) == 1


# Batch and memory


def test_the_batch_is_a_power_of_two_that_fits_and_pays() -> None:
    assert [batch_that_fits(100, free, 64) for free in (0, 99, 100, 399, 400, 799, 10**9)] == [1, 1, 1, 2, 4, 4, 64]
    assert batch_that_fits(0, 10, 16) == 10 & ~7 == 8
    assert batch_limit(CPU) == 4
    assert free_bytes(CPU) > 0


def test_peak_memory_counts_what_lives_at_one_moment() -> None:
    def work() -> torch.Tensor:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second * 2
        del second
        return third.view(10, 100).sum()

    with torch.inference_mode():
        assert peak_bytes(work, CPU) == pytest.approx(8000, abs=16)


def test_peak_memory_of_a_batch_grows_with_it() -> None:
    backbone = build_backbone("efficientnet_lite0")
    with torch.inference_mode():
        one, four = (peak_bytes(lambda n=n: backbone(torch.zeros(n, 3, 224, 224)), CPU) for n in (1, 4))
    largest_map = 96 * 112 * 112 * 4
    assert 2 * largest_map <= one <= 6 * largest_map
    assert four == pytest.approx(4 * one, rel=0.05)


def test_little_free_memory_makes_small_batches(head: PreparedVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Counting(tiny_entry())
    one = torch.zeros(1, 3, 224, 224)
    with torch.inference_mode():
        slice_bytes = peak_bytes(lambda: backbone(one), CPU)
    monkeypatch.setattr(features, "free_bytes", lambda device: 3 * slice_bytes)
    extractor = FeatureExtractor(backbone, CPU)
    backbone.batches.clear()
    found = extractor.features(head)
    assert max(backbone.batches) == 2
    monkeypatch.undo()
    assert np.allclose(found, FeatureExtractor(Backbone(tiny_entry()), CPU).features(head), atol=1e-5)


class Hungry(Backbone):
    """A backbone that runs out of memory above so many slices; the class of error is torch's own."""

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        if len(x_NMHW) > 2:
            raise torch.OutOfMemoryError("synthetic")
        return super().forward(x_NMHW)


def test_running_out_of_memory_is_said(head: PreparedVolume) -> None:
    extractor = FeatureExtractor(Hungry(tiny_entry()), CPU)
    extractor.features(head)
    assert any("2 slices at a time" in text for text in extractor.warnings)


class ReallyHungry(Backbone):
    """A backbone that asks the allocator for more memory than there is, for more slices than one at a time."""

    limit = 1

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        if len(x_NMHW) > self.limit:
            torch.empty(1 << 50, dtype=torch.uint8)
        return super().forward(x_NMHW)


def test_memory_that_the_cpu_does_not_have_means_fewer_slices_at_a_time(head: PreparedVolume) -> None:
    """Torch raises a plain RuntimeError there."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert not isinstance(caught.value, torch.OutOfMemoryError)
    extractor = FeatureExtractor(ReallyHungry(tiny_entry()), CPU)
    found = extractor.features(head)
    assert np.allclose(found, FeatureExtractor(Backbone(tiny_entry()), CPU).features(head), atol=1e-5)
    assert any("1 slices at a time" in text or "one slice" in text for text in extractor.warnings)


def test_a_fault_that_a_single_slice_has_too_is_not_taken_for_want_of_memory(head: PreparedVolume) -> None:
    class Faulty(Backbone):
        calls = 0

        def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("synthetic")
            return super().forward(x_NMHW)

    with pytest.raises(RuntimeError, match="synthetic"):
        FeatureExtractor(Faulty(tiny_entry()), CPU).features(head)


def test_apples_gpu_without_an_operator_gives_way_to_the_cpu(head: PreparedVolume) -> None:
    """Where there is none, sending anything there raises torch's plain RuntimeError, as a missing operator does."""
    if torch.backends.mps.is_available():
        pytest.skip("this machine has one that works")
    extractor = FeatureExtractor(Backbone(tiny_entry()), CPU, AUTOMATIC)
    extractor.device = torch.device("mps")
    found = extractor.features(head)
    assert extractor.device == CPU
    assert "CPU" in extractor.warnings[0]
    assert np.isfinite(found).all()


# Precision


def test_device_choices_name_what_is_missing() -> None:
    for choice, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if there:
            assert choose_device(choice).type == choice
        else:
            with pytest.raises(InferenceError) as caught:
                choose_device(choice)
            assert (caught.value.code, caught.value.kind) == (f"inference.no_{choice}", "environment")


def test_automatic_precision_asks_the_hardware_and_then_the_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.ones(1, 100)
    for native, moved, expected in ((False, 0.0, "float32"), (True, 0.001, "bfloat16"), (True, 0.2, "float32")):
        monkeypatch.setattr(precision, "native_bfloat16", lambda device, native=native: native)
        tried = {"float32": exact, "bfloat16": exact * (1 + moved)}
        assert choose_precision("auto", CPU, tried.__getitem__) == expected
    monkeypatch.setattr(precision, "native_bfloat16", lambda device: True)
    broken = {"float32": exact, "bfloat16": exact * float("nan")}
    assert choose_precision("auto", CPU, broken.__getitem__) == "float32"


def test_a_precision_that_was_chosen_is_used_or_refused() -> None:
    assert choose_precision("bfloat16", CPU, {}.__getitem__) == "bfloat16"
    assert choose_precision("float32", CPU, {}.__getitem__) == "float32"
    for choice, device in (("float16", CPU), ("bfloat16", torch.device("mps"))):
        with pytest.raises(InferenceError) as caught:
            choose_precision(choice, device, {}.__getitem__)
        assert caught.value.code == "inference.precision_unknown"


def test_efficientnet_stays_in_float32(head: PreparedVolume) -> None:
    """bfloat16 moves its features by several per cent, so no hardware makes ``auto`` take it."""
    extractor = FeatureExtractor(build_backbone("efficientnet_lite0"), CPU, Computing("auto", "torch"))
    extractor.features(replace(head, voxels_hu=head.voxels_hu[:4]))
    assert extractor.computed_on == "cpu float32"


def test_bfloat16_is_near_and_comes_back_as_float32(head: PreparedVolume) -> None:
    plain = FeatureExtractor(Backbone(tiny_entry()), CPU)
    reduced = FeatureExtractor(Backbone(tiny_entry()), CPU, IN_BFLOAT16)
    exact, near = plain.features(head), reduced.features(head)
    assert near.dtype == np.float32
    assert (plain.computed_on, reduced.computed_on) == ("cpu float32", "cpu bfloat16")
    apart = difference(torch.from_numpy(near), torch.from_numpy(exact))
    assert 1e-6 < apart < 0.02
    assert plain.exact() is plain
    assert np.array_equal(reduced.exact().features(head), exact)


def test_the_block_sets_and_restores_autocast() -> None:
    product = torch.ones(2, 2)
    with computing(CPU, "bfloat16"):
        assert (product @ product).dtype == torch.bfloat16
    with computing(CPU, "float32"):
        assert (product @ product).dtype == torch.float32
        assert torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_what_the_cpu_can_do_is_read_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in (({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert native_bfloat16(CPU) is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert native_bfloat16(CPU) is False


# Volumes


def build_tiny_volume_network(config: object = None) -> torch.nn.Module:
    class TinyVolume(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv3d(3, 5, (2, 8, 8), stride=(2, 8, 8))

        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).relu()

        def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
            return x.mean(dim=(2, 3, 4))

    return TinyVolume()


def test_a_network_of_volumes_gives_one_feature_a_study(head: PreparedVolume) -> None:
    flat = tiny_entry()
    published = {"published.conv.weight": torch.randn(5, 3, 2, 8, 8), "published.conv.bias": torch.randn(5)}
    assert flat.bundled is not None
    entry = replace(
        flat,
        spec=replace(flat.spec, dimensions=3, feature_width=5, native_size=(8, 224, 224)),
        build_network=build_tiny_volume_network,
        bundled=replace(flat.bundled, read=lambda: published),
    )
    backbone = Backbone(entry)
    extractor = FeatureExtractor(backbone, CPU, AUTOMATIC)
    found = extractor.features(head)
    with torch.inference_mode():
        expected = backbone(torch.from_numpy(to_volume(head.voxels_hu, head.spec)).unsqueeze(0))
    assert found.shape == (1, 5)
    assert np.allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert extractor.computed_on == "cpu float32"


def test_a_gpu_that_counts_is_asked_for_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins answer for a card of 8 GiB of which 6 are free and 1 is torch's own, unused."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (6 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 << 30)
    assert memory.free_bytes(torch.device("cuda")) == int((7 << 30) * 0.8)
