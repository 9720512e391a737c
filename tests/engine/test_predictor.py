"""The predictor: what it says, that it says it again, and what it refuses to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.analysis import Analysis
from engine.errors import InferenceError, PackageError
from engine.findings.catalogue import Catalogue
from engine.inference.device import choose_device, repeatable
from engine.inference.features import FeatureExtractor
from engine.inference.memory import batch_limit
from engine.inference.predictor import Predictor
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry
from engine.models.calibration import Calibration
from engine.models.lora import adapter_state, apply_lora
from engine.models.manifest import LoraReference
from engine.models.package import load_package, write_package
from engine.models.settings import LoraSettings
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from engine.progress import Cancelled, CancelToken
from tests.support.models import (
    TINY_WIDTH,
    draft,
    random_classifier,
    small_head,
    tiny_entry,
    tiny_registry,
    write_random_package,
)

REGISTRY = tiny_registry()
CPU = torch.device("cpu")


class Recorder:
    """A context that remembers, and cancels after so many checks."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.steps: list[tuple[int, int, str]] = []
        self._checks_left = cancel_after
        self._token = CancelToken()

    def progress(self, done: int, total: int, text: str) -> None:
        self.steps.append((done, total, text))

    def raise_if_cancelled(self) -> None:
        if self._checks_left is not None:
            self._checks_left -= 1
            if self._checks_left < 0:
                self._token.cancel()
        self._token.raise_if_cancelled()


@pytest.fixture(scope="module")
def keys(request: pytest.FixtureRequest) -> tuple[str, ...]:
    catalogue: Catalogue = request.getfixturevalue("catalogue")
    names = list(catalogue)
    # Not in catalogue order: results must be mapped by key.
    return (names[40], names[3], names[17])


def predictor_for(folder: Path, keys: tuple[str, ...], catalogue: Catalogue, **changes: object) -> Predictor:
    write_random_package(folder, keys, REGISTRY, **changes)
    return Predictor.open(folder, catalogue, "cpu", REGISTRY)


def analyse(predictor: Predictor, context: Recorder | None = None) -> Analysis:
    return predictor.analyse(
        small_head(),
        study_instance_uid="2.25.100",
        series_instance_uid="2.25.200",
        read_s=0.5,
        warnings=("from reading",),
        context=context or Recorder(),
    )


def test_findings_stand_in_catalogue_order_by_key(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    analysis = analyse(predictor)
    assert [finding.key for finding in analysis.findings] == list(catalogue)
    assert len(analysis.findings) == 75
    assert {finding.key for finding in analysis.findings if finding.covered} == set(keys)
    for finding in analysis.findings:
        assert (finding.label, finding.category) == (catalogue[finding.key].label, catalogue[finding.key].category)
        values = (finding.logit, finding.probability, finding.operating_point, finding.positive)
        assert all((value is not None) == finding.covered for value in values), finding.key
        assert finding.calibrated_probability is None
    for row, key in enumerate(keys):
        finding = analysis.finding(key)
        assert finding.logit == pytest.approx(float(analysis.ledger.logits[row]), abs=0)
        assert finding.probability == pytest.approx(1 / (1 + np.exp(-finding.logit)))


def test_logits_are_the_classifiers_on_the_backbones_features(
    tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue
) -> None:
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    analysis = analyse(predictor)
    prepared = prepare(small_head(), predictor.package.manifest.preprocessing)
    features_SD = predictor.features(prepared)
    assert features_SD.shape == (len(prepared.voxels_hu), TINY_WIDTH)
    output = random_classifier(TINY_WIDTH, len(keys))(torch.from_numpy(features_SD)[None])
    assert np.allclose(analysis.ledger.logits, output.logits_BC[0].detach(), atol=1e-6)
    assert np.allclose([item.attention for item in analysis.slices], output.attention_BS[0].detach(), atol=1e-6)


def test_ledger_attention_and_gates_add_up(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    analysis = analyse(predictor_for(tmp_path / "package", keys, catalogue))
    ledger = analysis.ledger
    assert ledger.keys == keys
    assert ledger.values.shape == (3, len(analysis.slices), 7)
    assert ledger.values.dtype == np.float32
    assert np.abs(ledger.values.sum(axis=(1, 2)) + ledger.bias - ledger.logits).max() < 1e-4
    assert sum(item.attention for item in analysis.slices) == pytest.approx(1, abs=1e-5)
    for item in analysis.slices:
        assert len(item.gate_weights) == 6
        assert sum(item.gate_weights) == pytest.approx(1, abs=1e-5)


def test_slices_name_the_acquired_ones_under_them(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    volume = small_head()
    analysis = analyse(predictor)
    prepared = prepare(volume, predictor.package.manifest.preprocessing)
    assert [item.index for item in analysis.slices] == list(range(len(prepared.voxels_hu)))
    assert analysis.acquired_weights.shape == (len(analysis.slices), len(volume.voxels))
    for item in analysis.slices:
        heaviest = int(np.argmax(analysis.acquired_weights[item.index]))
        assert item.sop_instance_uids[0] == volume.sop_instance_uids[heaviest]
        assert item.position_mm == pytest.approx(float(prepared.position_mm[item.index]))


def test_identity_geometry_warnings_and_times(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    analysis = analyse(predictor)
    assert analysis.model.digest == predictor.package.digest
    assert analysis.model.notice == "Random weights, for tests only."
    assert (analysis.study_instance_uid, analysis.series_instance_uid) == ("2.25.100", "2.25.200")
    assert analysis.geometry.acquired_slices == 6
    assert analysis.geometry.normal_spacing_mm == pytest.approx((5.0,) * 5)
    assert analysis.warnings[0] == "from reading"
    assert analysis.device in ("cpu float32", "cpu float32 openvino", "cpu bfloat16")
    times = analysis.timings_s
    assert times.read == 0.5
    assert min(times.prepare, times.backbone, times.head) > 0
    assert times.total == pytest.approx(times.read + times.prepare + times.backbone + times.head)


def test_the_same_numbers_run_after_run(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    """With the real backbone, and from a package opened anew."""
    write_random_package(tmp_path / "package", keys)
    first, second = (analyse(Predictor.open(tmp_path / "package", catalogue, "cpu")) for _ in range(2))
    assert np.array_equal(first.ledger.values, second.ledger.values)
    assert np.array_equal(first.ledger.logits, second.ledger.logits)
    assert first.findings == second.findings
    assert first.slices == second.slices
    assert np.ptp([item.attention for item in first.slices]) > 0


def test_operating_point_and_calibration_decide(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    plain = analyse(predictor_for(tmp_path / "plain", keys, catalogue))
    probabilities = {key: plain.finding(key).probability for key in keys}
    points = {keys[0]: probabilities[keys[0]] - 0.01, keys[1]: probabilities[keys[1]] + 0.01, keys[2]: 0.5}
    shift = 30.0 if probabilities[keys[2]] < 0.5 else -30.0
    calibration = {keys[2]: {"method": "platt", "slope": 1.0, "intercept": shift}}
    other = predictor_for(tmp_path / "b", keys, catalogue, operating_points=points, calibration=calibration)
    analysis = analyse(other)
    assert analysis.finding(keys[0]).positive is True
    assert analysis.finding(keys[1]).positive is False
    shifted = analysis.finding(keys[2])
    assert shifted.probability == probabilities[keys[2]]
    assert shifted.calibrated_probability == pytest.approx(1 / (1 + np.exp(-(shifted.logit + shift))))
    assert shifted.positive is (shift > 0)


def test_progress_reaches_the_end_and_cancel_stops_between_batches(
    tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue
) -> None:
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    prepared = prepare(small_head(), predictor.package.manifest.preprocessing)
    recorder = Recorder()
    predictor.features(prepared, recorder)
    total = len(prepared.voxels_hu)
    assert total > batch_limit(CPU)
    assert [step[0] for step in recorder.steps] == [*range(4, total, 4), total]
    assert {step[1] for step in recorder.steps} == {total}
    stopped = Recorder(cancel_after=1)
    with pytest.raises(Cancelled):
        predictor.features(prepared, stopped)
    assert len(stopped.steps) == 1


def test_a_result_whose_ledger_does_not_add_up_is_not_shown(
    tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue
) -> None:
    """Weights so large that float32 cannot hold the split to 1e-4."""
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    with torch.no_grad():
        predictor.package.classifier.head.weight.mul_(1e6)
    with pytest.raises(InferenceError) as caught:
        analyse(predictor)
    assert caught.value.code == "inference.ledger"


def test_numbers_that_are_not_finite_are_not_shown(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    predictor = predictor_for(tmp_path / "package", keys, catalogue)
    with torch.no_grad():
        predictor.package.classifier.head.weight.mul_(float("inf"))
    with pytest.raises(InferenceError) as caught:
        analyse(predictor)
    assert caught.value.code == "inference.not_finite"
    backbone = Backbone(tiny_entry())
    with torch.no_grad():
        backbone.network.conv.weight.mul_(float("nan"))
    prepared = prepare(small_head(), PreprocessSpec(align=False))
    with pytest.raises(InferenceError) as caught:
        FeatureExtractor(backbone, CPU).features(prepared)
    assert caught.value.code == "inference.not_finite"


def test_packages_that_do_not_fit_are_refused(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    write_random_package(tmp_path / "unknown", ("a_key_of_tomorrow",), REGISTRY)
    with pytest.raises(PackageError, match="a_key_of_tomorrow") as caught:
        Predictor.open(tmp_path / "unknown", catalogue, "cpu", REGISTRY)
    assert caught.value.code == "package.unknown_finding"
    write_random_package(tmp_path / "real", keys)
    package = load_package(tmp_path / "real")
    with pytest.raises(PackageError) as caught:
        Predictor(package, Backbone(tiny_entry()), CPU, catalogue)
    assert caught.value.code == "package.other_backbone"


def test_adapters_of_the_package_change_the_features(
    tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue
) -> None:
    adapted = Backbone(tiny_entry())
    apply_lora(adapted, LoraSettings())
    generator = torch.Generator().manual_seed(17)
    state = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in adapter_state(adapted).items()}
    tensors = {name: tuple(tensor.shape) for name, tensor in state.items()}
    write_package(
        tmp_path / "package",
        draft(keys, tiny_entry(), lora=LoraReference(settings=LoraSettings(), tensors=tensors)),
        random_classifier(TINY_WIDTH, len(keys)),
        calibration=Calibration({}),
        metrics={},
        card="",
        adapter=state,
        registry=REGISTRY,
    )
    prepared = prepare(small_head(), PreprocessSpec(align=False))
    predictor = Predictor.open(tmp_path / "package", catalogue, "cpu", REGISTRY)
    plain = FeatureExtractor(Backbone(tiny_entry()), CPU).features(prepared)
    assert np.abs(predictor.features(prepared) - plain).max() > 0.1


class Hungry(Backbone):
    """A backbone that runs out of memory above a number of slices."""

    limit = 1

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        if len(x_NMHW) > self.limit:
            raise torch.OutOfMemoryError("synthetic")
        return super().forward(x_NMHW)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_less_memory_means_smaller_batches_and_the_same_features(limit: int) -> None:
    prepared = prepare(small_head(), PreprocessSpec(align=False))
    hungry = Hungry(tiny_entry())
    hungry.limit = limit
    plain = FeatureExtractor(Backbone(tiny_entry()), CPU).features(prepared)
    assert np.allclose(FeatureExtractor(hungry, CPU).features(prepared), plain, atol=1e-5)


class HungryElsewhere(Backbone):
    """A backbone that has memory on the CPU only."""

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        if x_NMHW.device.type != "cpu":
            raise torch.OutOfMemoryError("synthetic")
        return super().forward(x_NMHW)


def test_a_device_without_memory_gives_way_to_the_cpu_with_a_warning() -> None:
    """The meta device stands for a GPU: data goes there, and nothing can be computed."""
    prepared = prepare(small_head(), PreprocessSpec(align=False))
    extractor = FeatureExtractor(HungryElsewhere(tiny_entry()), CPU)
    extractor.device = torch.device("meta")
    plain = FeatureExtractor(Backbone(tiny_entry()), CPU).features(prepared)
    assert np.array_equal(extractor.features(prepared), plain)
    assert extractor.device == CPU
    assert len(extractor.warnings) == 1
    assert "CPU" in extractor.warnings[0]


def test_without_memory_for_one_slice_it_says_so() -> None:
    hungry = Hungry(tiny_entry())
    hungry.limit = 0
    with pytest.raises(InferenceError) as caught:
        FeatureExtractor(hungry, CPU).features(prepare(small_head(), PreprocessSpec(align=False)))
    assert (caught.value.code, caught.value.kind) == ("inference.memory", "environment")


def test_device_choice() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InferenceError) as caught:
        choose_device("tpu")
    assert caught.value.kind == "input"
    if not torch.cuda.is_available():
        with pytest.raises(InferenceError) as caught:
            choose_device("cuda")
        assert caught.value.kind == "environment"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_gpu_agrees_with_the_cpu_and_gives_way_to_it() -> None:
    prepared = prepare(small_head(), PreprocessSpec(align=False))
    plain = FeatureExtractor(Backbone(tiny_entry()), CPU).features(prepared)
    assert np.allclose(
        FeatureExtractor(Backbone(tiny_entry()), torch.device("cuda")).features(prepared), plain, atol=1e-4
    )


def test_torchs_settings_are_put_back() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    tf32 = torch.backends.cudnn.allow_tf32
    with repeatable():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.allow_tf32 == tf32


def test_an_injected_registry_is_used(tmp_path: Path, keys: tuple[str, ...], catalogue: Catalogue) -> None:
    write_random_package(tmp_path / "package", keys, REGISTRY)
    with pytest.raises(PackageError) as caught:
        Predictor.open(tmp_path / "package", catalogue, "cpu", BackboneRegistry([]))
    assert caught.value.code == "backbone.unknown"
