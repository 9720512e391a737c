"""A whole backbone trained end to end: the published protocols, what trains, what is kept of it, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from engine.errors import PackageError, TrainingError
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones import deepcntd, pillar0
from engine.models.backbones.convert import Terms, convert_checkpoint
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone, default_registry, open_registry
from engine.models.backbones.spec import BackboneSpec
from engine.models.backbones.weights import BackboneStore
from engine.models.fine_tuning import Origin, store_fine_tuned, train_whole
from engine.models.package import load_package, verify_package
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.progress import Cancelled
from tests.support.backbones import SMALL_ATLAS, random_values, shapes_of, small_entry
from tests.trainer.conftest import TINY_SPEC
from trainer.config import OptimiserConfig, PhantomCohortConfig, ReferenceConfig, ScheduleConfig, TrainConfig
from trainer.reference import read_reference
from trainer.training import CHECKPOINT_FILE, run_training

NAME = "pillar0_headct"
VOLUMES = [entry.spec for entry in default_registry().values() if entry.spec.dimensions == 3]


def _end_to_end(**said: object) -> TrainConfig:
    return TrainConfig.model_validate({"mode": "end_to_end", "backbone": NAME, **said})


@pytest.mark.parametrize("spec", VOLUMES, ids=lambda spec: spec.name)
def test_every_network_of_volumes_says_how_it_is_trained_and_where_that_stands(spec: BackboneSpec) -> None:
    assert spec.training is not None
    assert spec.training.source


def test_pillar0_is_trained_as_its_authors_trained_it() -> None:
    """arXiv:2511.17803, section A.5: 1e-5, batches of 8 accumulated over 4, random rotations."""
    config = _end_to_end().for_backbone(pillar0.SPEC)
    assert config.fine_tune == "full"
    assert config.lora is None
    rates = {part: config.optimiser.learning_rate(part) for part in ("backbone", "head", "pooling", "molre")}
    assert rates == {"backbone": 1e-5, "head": 1e-5, "pooling": 1e-5, "molre": 1e-4}
    assert {config.optimiser.decay(part) for part in rates} == {0.0}
    assert (config.schedule.batch_size, config.optimiser.accumulate) == (32, 4)
    augment = config.augment
    assert augment is not None
    assert (augment.rotation_rad, augment.mirror) == (0.1, 0.0)
    assert {augment.scale, augment.brightness} == {(1.0, 1.0)}
    assert {augment.elastic_alpha, augment.noise_variance} == {(0.0, 0.0)}
    assert (config.rate, config.loss) == (TrainConfig().rate, TrainConfig().loss)
    assert config.for_backbone(pillar0.SPEC) == config
    assert TrainConfig.model_validate(config.model_dump()) == config


def test_deepcntd_keeps_its_encoders_and_the_papers_rates() -> None:
    config = _end_to_end(backbone="deepcntd_standin").for_backbone(deepcntd.SPEC)
    assert config.fine_tune == "none"
    assert config.molre is None
    assert (config.optimiser, config.schedule, config.augment) == (OptimiserConfig(), ScheduleConfig(), None)


def test_what_a_configuration_says_stands() -> None:
    said = _end_to_end(optimiser={"head_learning_rate": 1e-3}, schedule={"batch_size": 2}, augment={"mirror": 0.25})
    config = said.for_backbone(pillar0.SPEC)
    assert config.fine_tune == "full"
    assert (config.optimiser.head_learning_rate, config.optimiser.backbone_learning_rate) == (1e-3, 1e-5)
    assert (config.schedule.batch_size, config.optimiser.accumulate) == (2, 1)
    assert config.augment == said.augment


def test_a_run_that_trains_other_parts_than_the_publisher_has_the_papers_rates() -> None:
    for said in (_end_to_end(lora={"rank": 2}), _end_to_end(fine_tune="none"), TrainConfig(backbone=NAME)):
        config = said.for_backbone(pillar0.SPEC)
        assert config.fine_tune == "none"
        assert (config.optimiser, config.schedule, config.augment) == (OptimiserConfig(), ScheduleConfig(), None)


@pytest.mark.parametrize("more", [{"mode": "cached"}, {"lora": {}}])
def test_pairs_that_cannot_be_meant_are_refused_naming_both(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r'fine_tune = "full".*(mode|lora)'):
        _end_to_end(**{"fine_tune": "full", **more})


def test_a_run_without_a_whole_backbone_keeps_its_digest() -> None:
    """A run that was begun before there was such a key goes on from its checkpoint."""
    plain = TrainConfig()
    other = plain.model_copy(update={"optimiser": OptimiserConfig(backbone_learning_rate=3e-5)})
    assert other.digest() == plain.digest()
    whole = [
        _end_to_end(fine_tune="full", optimiser={"backbone_learning_rate": rate}).digest() for rate in (1e-5, 3e-5)
    ]
    assert len({_end_to_end().digest(), *whole}) == 3


@pytest.mark.parametrize("name", [NAME, "deepcntd_standin", "efficientnet_lite0"])
def test_exactly_what_the_feature_depends_on_trains(name: str) -> None:
    backbone = Backbone(small_entry(default_registry()[name]))
    names = train_whole(backbone)
    every = dict(backbone.network.named_parameters())
    assert {key for key, value in every.items() if value.requires_grad} == set(names)
    spec = backbone.spec
    x = torch.rand((2, len(spec.mean), *spec.native_size), generator=torch.Generator().manual_seed(4))
    backbone(x).square().sum().backward()
    assert {key for key, value in every.items() if value.grad is not None} == set(names)
    # Atlas keeps copies for scales that are finished, timm a layer of classes; DeepCNTD's stand-in uses all it has.
    assert (len(names) < len(every)) == (name != "deepcntd_standin")


def test_fine_tuned_weights_are_found_by_their_digest_only(tmp_path: Path) -> None:
    store = BackboneStore(tmp_path)
    registry = BackboneRegistry([small_entry(default_registry()["deepcntd_standin"])], store)
    entry = registry["deepcntd_standin"]
    backbone, parent = Backbone(entry), registry.weights_digest(entry.spec.name)
    with torch.no_grad():
        for parameter in backbone.network.parameters():
            parameter.mul_(1.5)
    stored = store_fine_tuned(backbone, Origin(parent, "run 1.0.0", "a" * 64), registry, store)
    record = stored.record
    assert (record.parent_digest, record.source_name) == (parent, "fine-tuning by run 1.0.0")
    assert registry.weights_digest(entry.spec.name) == parent
    assert registry.stored(entry.spec.name) is None
    assert registry.stored(entry.spec.name, record.weights_digest) == stored
    again = build_backbone(entry.spec.name, registry, record.weights_digest)
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key
    assert store_fine_tuned(backbone, Origin(parent, "run 2.0.0", "b" * 64), registry, store) == stored
    assert [path.name for path in tmp_path.iterdir()] == [stored.folder.name]


def test_without_a_folder_to_keep_it_in_a_whole_backbone_is_not_trained(tmp_path: Path) -> None:
    config = TrainConfig(mode="end_to_end", fine_tune="full")
    with pytest.raises(TrainingError) as caught:
        run_training(config, tmp_path, lambda event: None)
    assert caught.value.code == "training.no_backbone_folder"
    assert list(tmp_path.iterdir()) == []


class _StopAfter:
    """Cancels after so many questions, once training has begun."""

    def __init__(self, checkpoint: Path, questions: int) -> None:
        self._checkpoint, self._left = checkpoint, questions

    def progress(self, done: int, total: int, text: str) -> None:
        pass

    def raise_if_cancelled(self) -> None:
        self._left -= self._checkpoint.exists()
        if self._left < 0:
            raise Cancelled


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user's weights with a small Pillar0 in it."""
    folder = tmp_path_factory.mktemp("backbones")
    shapes = shapes_of(pillar0.build_network(SMALL_ATLAS).state_dict())
    file = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file(random_values({pillar0.TOWER + name: shape for name, shape in shapes.items()}), file)
    registry = open_registry(folder)
    assert registry.store is not None
    convert_checkpoint(file, NAME, registry, registry.store, Terms("ECL-2.0", "tests"), SMALL_ATLAS)
    return folder


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return _end_to_end(
        name="whole",
        threads=1,
        cohort=PhantomCohortConfig(n_train=4, n_validate=6, n_calibrate=1, n_test=1, spec=TINY_SPEC),
        end_to_end={"device": "cpu", "read_ahead": 0},
        optimiser={"backbone_learning_rate": 1e-4},
        schedule={"max_epochs": 20, "batch_size": 2, "checkpoint_steps": 1},
        reference=ReferenceConfig(n_replay=1, n_calibrate=1, n_heldout=1),
    )


@pytest.fixture(scope="module")
def left_alone(config: TrainConfig, backbones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    run_training(config, out, lambda event: None, backbones=backbones)
    return out


@pytest.mark.slow
def test_the_package_refers_to_the_trained_backbone_and_that_to_its_parent(left_alone: Path, backbones: Path) -> None:
    registry = open_registry(backbones)
    package = load_package(left_alone / "package", registry)
    wanted = package.manifest.backbone.weights_digest
    stored, published = registry.stored(NAME, wanted), registry.stored(NAME)
    assert stored is not None
    assert published is not None
    assert wanted != published.record.weights_digest
    assert (stored.record.parent_digest, published.record.parent_digest) == (published.record.weights_digest, None)
    assert stored.record.config == published.record.config
    assert (package.manifest.lora, dict(package.adapter)) == (None, {})
    run = json.loads((left_alone / "run.json").read_text(encoding="utf-8"))
    assert run["digests"]["backbone"] == published.record.weights_digest
    before, after = load_file(published.weights), load_file(stored.weights)
    backbone = build_backbone(NAME, registry)
    trained = set(train_whole(backbone))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved <= trained
    assert len(moved) > 0.9 * len(trained)
    card = (left_alone / "package" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"The whole backbone `{NAME}`" in card
    assert "the whole backbone at a learning rate of 0.0001" in card


@pytest.mark.slow
def test_the_package_gives_the_shipped_features_from_the_phantom_itself(left_alone: Path, backbones: Path) -> None:
    registry = open_registry(backbones)
    manifest = load_package(left_alone / "package", registry).manifest
    shipped = read_reference(left_alone / "reference_cohort.safetensors", manifest).studies["heldout"][0]
    volume = prepare(
        generate(int(shipped.identifier.removeprefix("phantom-")), TINY_SPEC).volume, manifest.preprocessing
    )

    def features(digest: str | None) -> np.ndarray:
        return FeatureExtractor(build_backbone(NAME, registry, digest), choose_device("cpu")).features(volume)

    published, trained = features(None), features(manifest.backbone.weights_digest)
    moved = np.abs(trained - published).mean()
    assert moved > 0
    assert np.abs(trained - shipped.features_SD).mean() < 0.2 * moved


@pytest.mark.slow
def test_without_the_trained_backbone_the_package_is_refused_and_says_so(
    left_alone: Path, backbones: Path, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match="cannot be used yet") as caught:
        verify_package(left_alone / "package", open_registry(tmp_path))
    assert (caught.value.code, caught.value.kind) == ("package.backbone_weights", "environment")
    assert "fine-tuned are a folder to be copied" in caught.value.hint


@pytest.mark.slow
def test_stopped_inside_an_epoch_and_resumed_it_is_the_same_backbone(
    config: TrainConfig, left_alone: Path, backbones: Path, tmp_path: Path
) -> None:
    shards, stop = left_alone / "prepared", _StopAfter(tmp_path / CHECKPOINT_FILE, 7)
    with pytest.raises(Cancelled):
        run_training(config, tmp_path, lambda event: None, stop, backbones, shards=shards)
    assert not (tmp_path / "package").exists()
    run_training(config, tmp_path, lambda event: None, backbones=backbones, resume=True, shards=shards)
    registry = open_registry(backbones)
    one, two = (load_package(folder / "package", registry).manifest for folder in (left_alone, tmp_path))
    assert one.backbone == two.backbone
    assert one.files["model.safetensors"] == two.files["model.safetensors"]
    assert (tmp_path / "curve.csv").read_bytes() == (left_alone / "curve.csv").read_bytes()
    assert registry.store is not None
    assert len(registry.store.list()) == 2
