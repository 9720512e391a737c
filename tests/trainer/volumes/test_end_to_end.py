"""Training end to end: what trains, what stays frozen, what the package holds, and that a killed run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ConfigError, HeadCTError, TrainingError
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones import pillar0
from engine.models.backbones.convert import Terms, convert_checkpoint
from engine.models.backbones.registry import build_backbone, default_registry, open_registry
from engine.models.lora import adapter_state, apply_lora, load_adapter_state
from engine.models.package import LoadedPackage, load_package
from engine.models.settings import LoraSettings
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from tests.support.backbones import SMALL_ATLAS, random_values, shapes_of
from tests.trainer.conftest import TINY_SPEC
from trainer.config import TrainConfig
from trainer.end_to_end import adapted_backbone
from trainer.evaluate import predict_logits
from trainer.reference import read_reference
from trainer.training import new_classifier, run_training
from trainer.volumes.build import prepare_cohort
from trainer.volumes.model import EndToEndModel
from trainer.volumes.source import ShardSource

ROOT = Path(__file__).parents[3]
CONFIG = f"""
name = "tiny"
mode = "end_to_end"
threads = 1
[cohort]
n_train = 6
n_validate = 6
n_calibrate = 1
n_test = 2
[cohort.spec]
matrix = {TINY_SPEC.matrix}
pixel_spacing_mm = {TINY_SPEC.pixel_spacing_mm}
n_slices = {TINY_SPEC.n_slices}
slice_spacing_mm = {TINY_SPEC.slice_spacing_mm}
[preprocessing]
spacing_mm = [12.0, 3.2, 3.2]
size_px = [64, 64]
align = false
[lora]
rank = 2
targets = ["conv_head"]
[augment]
[end_to_end]
studies_per_shard = 4
device = "cpu"
[optimiser]
lora_learning_rate = 1e-2
clip_norm = 1.0
average_decay = 0.9
[rate]
warmup_steps = 3
decay = "cosine"
[sampling]
repeat_threshold = 0.3
[schedule]
min_epochs = 20
max_epochs = 20
batch_size = 3
checkpoint_steps = 2
[reference]
n_replay = 2
n_calibrate = 1
n_heldout = 2
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def _command(config: Path, out: Path, *more: str) -> list[str]:
    return ["main.py", "--home", str(out.parent / "home"), "train", str(config), "--out", str(out), *more]


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def left_alone(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run through the real command."""
    out = tmp_path_factory.mktemp("alone") / "out"
    process = _start(_command(config_file, out))
    errors = process.communicate(timeout=250)[1]
    assert process.returncode == 0, errors.decode()
    return out


@pytest.fixture(scope="module")
def package(left_alone: Path) -> LoadedPackage:
    return load_package(left_alone / "package")


@pytest.mark.slow
def test_the_package_holds_adapters_that_were_trained(package: LoadedPackage) -> None:
    lora = package.manifest.lora
    assert lora is not None
    assert (lora.settings.rank, lora.settings.targets) == (2, ("conv_head",))
    assert set(lora.tensors) == set(package.adapter)
    second = [tensor for name, tensor in package.adapter.items() if "lora_B" in name]
    assert all(float(tensor.abs().max()) > 1e-4 for tensor in second)
    card = (package.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "end to end on prepared volumes, augmented in 3D, with LoRA (rank 2, α 16)" in card
    assert "Frozen backbone" not in card


@pytest.mark.slow
def test_the_packaged_model_gives_the_shipped_features_from_the_phantom_itself(
    left_alone: Path, package: LoadedPackage
) -> None:
    """Through inference's own path: prepared in float32, adapters loaded from the package."""
    reference = read_reference(left_alone / "reference_cohort.safetensors", package.manifest)
    assert {role: len(studies) for role, studies in reference.studies.items()} == {
        "replay": 2,
        "calibrate": 1,
        "heldout": 2,
    }
    shipped = reference.studies["heldout"][0]
    volume = generate(int(shipped.identifier.removeprefix("phantom-")), TINY_SPEC).volume
    backbone = build_backbone(package.manifest.backbone.name)
    frozen = FeatureExtractor(backbone, choose_device("cpu")).features(prepare(volume, package.manifest.preprocessing))
    apply_lora(backbone, package.manifest.lora.settings)
    load_adapter_state(backbone, package.adapter)
    adapted = FeatureExtractor(backbone, choose_device("cpu")).features(prepare(volume, package.manifest.preprocessing))
    moved = np.abs(adapted - frozen).mean()
    assert np.abs(adapted - shipped.features_SD).mean() < 0.1 * moved
    assert predict_logits(package.classifier, [shipped]).shape == (1, len(package.manifest.finding_keys))


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_it_is_the_same_package(
    config_file: Path, left_alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(left_alone / "prepared", out / "prepared")
    process = _start(_command(config_file, out))
    curve = out / "curve.csv"
    while process.poll() is None:
        if curve.exists() and curve.read_text(encoding="utf-8").count("\n") > 4:
            time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "package").exists()
    resumed = _start(_command(config_file, out, "--resume"))
    errors = resumed.communicate(timeout=250)[1]
    assert resumed.returncode == 0, errors.decode()
    for name in ("package/model.safetensors", "package/calibration.json", "curve.csv", "reference_cohort.safetensors"):
        assert (out / name).read_bytes() == (left_alone / name).read_bytes(), name


@pytest.mark.slow
def test_two_processes_learn_what_one_does(config_file: Path, left_alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start(["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *_command(config_file, out)])
    errors = process.communicate(timeout=280)[1]
    assert process.returncode == 0, errors.decode()
    curves = [np.genfromtxt(folder / "curve.csv", delimiter=",", skip_header=1)[:, 1:3] for folder in (left_alone, out)]
    assert curves[0] == pytest.approx(curves[1], rel=2e-2)
    one, two = load_package(left_alone / "package"), load_package(out / "package")
    assert one.manifest.training.trained_on == two.manifest.training.trained_on
    assert set(one.adapter) == set(two.adapter)


def _config() -> TrainConfig:
    import tomllib

    return TrainConfig.model_validate(tomllib.loads(CONFIG))


def test_only_adapters_and_classifier_train_and_the_adapters_get_a_gradient(tmp_path: Path) -> None:
    config = _config()
    backbone = adapted_backbone(config, default_registry())
    prepared = prepare_cohort(
        config.model_copy(update={"cohort": config.cohort.model_copy(update={"n_train": 2})}), tmp_path
    )
    model = EndToEndModel(backbone, new_classifier(config, backbone.spec))
    source = ShardSource(prepared.entries["train"], config.preprocessing, torch.device("cpu"))
    logits_BC = model(source.batch([0, 1]))
    alone = torch.cat([model(source.batch([number])) for number in (0, 1)])
    assert torch.allclose(logits_BC, alone, atol=1e-5), "a study's logits do not depend on its neighbour's length"
    logits_BC.sum().backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert trained == {name for name, value in model.named_parameters() if value.requires_grad}
    adapters = set(adapter_state(backbone))
    assert {name.removeprefix("backbone.network.") for name in trained if name.startswith("backbone.")} == adapters
    features = model.study_features(source.pictures(0))
    expected = FeatureExtractor(backbone, choose_device("cpu")).features(
        prepare(generate(1_000_000, TINY_SPEC).volume, config.preprocessing)
    )
    assert features.numpy() == pytest.approx(expected, abs=0.05)


def test_the_same_seed_makes_the_same_adapters() -> None:
    config = _config()
    one, two = (adapter_state(adapted_backbone(config, default_registry())) for _ in range(2))
    other = adapter_state(adapted_backbone(config.model_copy(update={"seed": 2}), default_registry()))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_network_of_volumes_of_the_users_is_trained_end_to_end(tmp_path: Path) -> None:
    shapes = shapes_of(pillar0.build_network(SMALL_ATLAS).state_dict())
    save_file(
        random_values({pillar0.TOWER + name: shape for name, shape in shapes.items()}), tmp_path / "m.safetensors"
    )
    folder = tmp_path / "backbones"
    registry = open_registry(folder)
    assert registry.store is not None
    convert_checkpoint(
        tmp_path / "m.safetensors", "pillar0_headct", registry, registry.store, Terms("ECL-2.0", "tests"), SMALL_ATLAS
    )
    config = _config()
    values = config.model_dump(mode="json", include={"cohort", "mode", "threads", "augment", "schedule", "reference"})
    values |= {"lora": {"rank": 2}, "backbone": "pillar0_headct", "end_to_end": {"device": "cpu"}}
    config = TrainConfig.model_validate(values)
    spec = registry.entry("pillar0_headct").spec
    said = config.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"n_slices": None})})
    with pytest.raises(ConfigError, match="must be of one size") as caught:
        TrainConfig.model_validate(said.model_dump(exclude={"molre"})).for_backbone(spec)
    assert caught.value.code == "training.volume_size"
    run_training(config, tmp_path / "out", lambda event: None, backbones=folder)
    package = load_package(tmp_path / "out" / "package", open_registry(folder))
    assert package.manifest.preprocessing.n_slices == 32
    assert any(float(tensor.abs().max()) > 0 for name, tensor in package.adapter.items() if "lora_B" in name)


def test_what_does_not_fit_the_backbone_is_said_before_anything_is_prepared(tmp_path: Path) -> None:
    config = _config().model_copy(update={"lora": LoraSettings(targets=("no_such_layer",))})
    with pytest.raises(HeadCTError, match="no_such_layer"):
        run_training(config, tmp_path, lambda event: None)
    config = _config().model_copy(update={"preprocessing": PreprocessSpec(windows_hu=((0.0, 80.0),))})
    with pytest.raises(ConfigError, match="1 channels"):
        run_training(config, tmp_path, lambda event: None)
    assert list(tmp_path.iterdir()) == []


def test_cached_features_are_one_processs_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError) as caught:
        run_training(TrainConfig(), tmp_path, lambda event: None)
    assert caught.value.code == "training.one_process"
