"""Adapters that learn from slices: what a slice's labels are, what trains, what the package holds, and going on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import Ridge

from engine.errors import TrainingError
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones.registry import default_registry
from engine.models.lora import adapter_state, package_backbone
from engine.models.package import load_package
from engine.models.settings import LoraSettings
from engine.phantom.study import PAINTED_KEYS, PhantomStudy
from engine.preprocess.windows import to_channels
from engine.progress import NULL_CONTEXT, Cancelled, CancelOnly, CancelToken
from tests.trainer.conftest import tiny_config
from trainer.config import EndToEndConfig, ImportedCohortConfig, SliceTrainingConfig, TrainConfig
from trainer.datasets import StudyFeatures
from trainer.end_to_end import adapted_backbone, open_team
from trainer.protocol import EpochEnded, Event
from trainer.reference import read_reference
from trainer.slice_training import cohort_of_adapted_backbone, slice_evidence
from trainer.sources import Draw
from trainer.training import new_classifier, run_training
from trainer.volumes.build import PreparedCohort, prepare_cohort, slice_labels
from trainer.volumes.features import adapter_digest, features_of_prepared
from trainer.volumes.shards import PreparedStudy, ShardEntry, read_entries, read_voxels, write_shard
from trainer.volumes.slices import SliceModel, SliceSource, train_on_slices

LORA = LoraSettings(rank=2, targets=("conv_head",))


def slices_config(**changes: Any) -> TrainConfig:
    own = {
        "lora": LORA,
        "slice_training": SliceTrainingConfig(epochs=2, batch_size=16, lora_learning_rate=1e-2, warmup_steps=0),
        "end_to_end": EndToEndConfig(studies_per_shard=4, device="cpu"),
    }
    return tiny_config().model_copy(update=own | changes)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedCohort:
    return prepare_cohort(slices_config(), tmp_path_factory.mktemp("slices"))


def phantom(masks: dict[str, list[int]], n_slices: int) -> PhantomStudy:
    """A study of which only the masks matter: one voxel in each of the slices named."""
    made = {}
    for key, slices in masks.items():
        made[key] = np.zeros((n_slices, 2, 2), dtype=np.bool_)
        made[key][slices, 0, 1] = True
    return SimpleNamespace(masks=made)  # type: ignore[return-value]


def test_a_slice_is_labelled_by_the_share_of_it_that_the_mask_reaches() -> None:
    study = phantom({"meningioma": [1, 2], "contusion": [0]}, n_slices=4)
    # Five prepared slices over four acquired ones; the last holds nothing that was acquired.
    weights = np.array(
        [[0.8, 0.2, 0, 0], [0.5, 0.5, 0, 0], [0, 0.4, 0.6, 0], [0, 0, 0.1, 0.9], [0, 0, 0, 0]], dtype=np.float32
    )
    labels_SC = slice_labels(study, weights)
    assert labels_SC[:, PAINTED_KEYS.index("meningioma")].tolist() == [-1, 1, 1, -1, 0]
    assert labels_SC[:, PAINTED_KEYS.index("contusion")].tolist() == [1, 1, 0, 0, 0]
    assert not np.delete(labels_SC, [PAINTED_KEYS.index(key) for key in study.masks], axis=1).any()


def test_a_finding_that_fills_half_of_no_slice_is_in_those_it_fills_most() -> None:
    labels_SC = slice_labels(phantom({"aneurysm": [0]}, 3), np.array([[0.3, 0.7, 0], [0.2, 0, 0.8]], dtype=np.float32))
    assert labels_SC[:, PAINTED_KEYS.index("aneurysm")].tolist() == [1, -1]


def test_a_shard_gives_back_slice_labels_and_says_where_there_are_none(tmp_path: Path) -> None:
    labels_SC = np.array([[0, 1], [-1, 0], [1, 1]], dtype=np.int8)
    voxels = np.zeros((3, 4, 4), dtype=np.int16)
    write_shard(
        tmp_path / "a.zarr",
        [
            PreparedStudy("known", "p", voxels, np.array([1, 1], dtype=np.int8), labels_SC),
            PreparedStudy("normal", "q", voxels, np.array([0, 0], dtype=np.int8), np.zeros_like(labels_SC)),
            PreparedStudy("not known", "r", voxels, np.array([1, 0], dtype=np.int8)),
        ],
    )
    known, normal, unknown = read_entries(tmp_path / "a.zarr")
    assert np.array_equal(known.slice_labels_SC(), labels_SC)
    assert not normal.slice_labels_SC().any()
    assert (unknown.slice_labels_SC() == -1).all()


def test_slices_are_those_of_the_volumes_with_their_labels(prepared: PreparedCohort, tmp_path: Path) -> None:
    entries, spec = prepared.entries["train"], slices_config().preprocessing
    source = SliceSource(entries, spec, torch.device("cpu"), tmp_path / "train")
    assert source.labels_NC.shape == (sum(entry.n_slices for entry in entries), len(prepared.keys))
    number = entries[0].n_slices + 2  # The third slice of the second study.
    batch = source.batch([number, 0])
    expected = to_channels(read_voxels(entries[1])[2:3].astype(np.float32), spec.windows_hu)[0]
    assert np.allclose(batch.pictures_BMHW[0].numpy(), expected, atol=1e-6)
    assert batch.identifiers == (f"{entries[1].identifier}, slice 3", f"{entries[0].identifier}, slice 1")
    labels_C = entries[1].slice_labels_SC()[2]
    assert np.array_equal(batch.targets_BC[0].numpy() == 1, labels_C == 1)
    assert np.array_equal(batch.known_BC[0].numpy(), labels_C != -1)


def test_slices_are_mirrored_only_while_learning_and_the_same_way_again(
    prepared: PreparedCohort, tmp_path: Path
) -> None:
    entries, spec = prepared.entries["train"], slices_config().preprocessing
    chosen = list(range(40))
    source = SliceSource(entries, spec, torch.device("cpu"), tmp_path / "train", mirror=0.5)
    plain = source.batch(chosen).pictures_BMHW
    draw = Draw(seed=3, epoch=2, places=tuple(range(100, 140)))
    shown = source.batch(chosen, draw).pictures_BMHW
    mirrored = [bool(torch.equal(shown[n], plain[n].flip(2))) for n in chosen]
    kept = [bool(torch.equal(shown[n], plain[n])) for n in chosen]
    assert all(one or other for one, other in zip(mirrored, kept, strict=True))
    assert 8 < sum(mirrored) < 32
    assert torch.equal(shown, source.batch(chosen, draw).pictures_BMHW)
    assert not torch.equal(shown, source.batch(chosen, Draw(3, 3, draw.places)).pictures_BMHW)


def test_what_a_study_has_is_in_one_of_its_slices_and_nothing_else_is(prepared: PreparedCohort) -> None:
    for entry in (*prepared.entries["train"], *prepared.entries["validate"]):
        assert np.array_equal((entry.slice_labels_SC() == 1).any(axis=0), entry.labels_C == 1)
    assert all(entry.slice_facts is None for entry in prepared.entries["test"])


def test_only_adapters_and_the_passing_head_train(prepared: PreparedCohort, tmp_path: Path) -> None:
    config = slices_config()
    backbone = adapted_backbone(config, default_registry())
    names = {name for name, parameter in SliceModel(backbone, 3, 1).named_parameters() if parameter.requires_grad}
    assert {name for name in names if "lora_" not in name} == {"head.weight", "head.bias"}
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    train(config, prepared, tmp_path, backbone)
    changed = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)


def train(config: TrainConfig, prepared: PreparedCohort, out: Path, backbone: Any = None) -> Any:
    backbone = backbone or adapted_backbone(config, default_registry())
    train_on_slices(backbone, prepared, config, out / "slices.safetensors", open_team(config), lambda _: None)
    return adapter_state(backbone)


def test_a_stopped_stage_goes_on_to_the_same_bits(prepared: PreparedCohort, tmp_path: Path) -> None:
    config = slices_config()
    whole = train(config, prepared, tmp_path / "whole")
    token = CancelToken()
    backbone = adapted_backbone(config, default_registry())
    with pytest.raises(Cancelled):
        train_on_slices(
            backbone,
            prepared,
            config,
            tmp_path / "stopped" / "slices.safetensors",
            open_team(config),
            lambda record: token.cancel(),
            CancelOnly(token),
        )
    again = train(config, prepared, tmp_path / "stopped")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_adapters_learn_what_is_in_a_slice(prepared: PreparedCohort, tmp_path: Path) -> None:
    stage = SliceTrainingConfig(epochs=6, batch_size=16, lora_learning_rate=1e-2, head_learning_rate=1e-2)
    config = slices_config(slice_training=stage)
    records: list[Any] = []
    backbone = adapted_backbone(config, default_registry())
    train_on_slices(backbone, prepared, config, tmp_path / "s.safetensors", open_team(config), records.append)
    assert records[-1].train_loss < 0.7 * records[0].train_loss


def test_features_are_the_adapted_backbones_and_kept_apart_from_the_frozen_ones(
    prepared: PreparedCohort, tmp_path: Path
) -> None:
    config = slices_config()
    backbone = adapted_backbone(config, default_registry())
    untrained = adapter_digest(backbone)
    train(config, prepared, tmp_path, backbone)
    assert adapter_digest(backbone) != untrained
    cache = tmp_path / "features"
    frozen = features_of_prepared(prepared, config, cache, splits=("test",))["test"]
    adapted = features_of_prepared(prepared, config, cache, splits=("test",), adapted=backbone)["test"]
    assert not np.allclose(frozen[0].features_SD, adapted[0].features_SD, atol=1e-2)
    voxels = SimpleNamespace(
        voxels_hu=read_voxels(prepared.entries["test"][0]).astype(np.float32), spec=config.preprocessing
    )
    exact = FeatureExtractor(backbone, choose_device("cpu")).features(voxels)  # type: ignore[arg-type]
    assert np.allclose(adapted[0].features_SD, exact, atol=2e-3 * float(np.abs(exact).max()))


def studies_of_slices(n_studies: int = 12) -> tuple[list[StudyFeatures], list[ShardEntry]]:
    """Studies whose slices show a finding along one direction of the features, beside three that say nothing."""
    random = np.random.default_rng(5)
    studies, entries = [], []
    for number in range(n_studies):
        labels_SC = (random.random((20, 2)) < 0.2).astype(np.int8) * np.array([number % 2, 1], dtype=np.int8)
        features_SD = random.normal(3.0, 1.0, (20, 5)).astype(np.float16)
        features_SD[:, :2] += 4.0 * labels_SC
        facts = np.array([[s, c, 1] for s, c in zip(*np.nonzero(labels_SC), strict=True)], dtype=np.int16)
        labels_C = labels_SC.max(axis=0)
        studies.append(StudyFeatures(f"study-{number}", features_SD, labels_C))
        entries.append(ShardEntry(Path("x"), 0, 20, f"study-{number}", "", labels_C, "", facts.reshape(-1, 3)))
    return studies, entries


def test_the_evidence_of_slices_is_least_squares_with_a_ridge() -> None:
    studies, entries = studies_of_slices()
    evidence = slice_evidence(studies, entries, ridge=0.1)
    features_ND = np.concatenate([study.features_SD for study in studies]).astype(np.float64)
    shown_NC = np.concatenate([entry.slice_labels_SC() for entry in entries]).astype(np.float64)
    centred = features_ND - features_ND.mean(axis=0)
    strength = 0.1 * centred.var(axis=0).mean() * len(centred)
    independent = Ridge(alpha=strength, fit_intercept=True).fit(features_ND, shown_NC)
    assert np.allclose(evidence.weight_CD, 20 * independent.coef_, rtol=1e-4)
    # The mean study has the logit of the prevalence: of the second finding all studies but none are positive.
    mean_logit = evidence.weight_CD @ features_ND.mean(axis=0) + evidence.bias_C
    shares = np.clip(np.mean([study.labels_C for study in studies], axis=0), 0.5 / 12, 1 - 0.5 / 12)
    assert np.allclose(mean_logit, np.log(shares / (1 - shares)), atol=1e-3)


def test_the_classifier_begins_with_the_evidence_of_all_training_studies(tmp_path: Path) -> None:
    stage = SliceTrainingConfig(epochs=1, n_studies=7, batch_size=16)
    config = slices_config(slice_training=stage)
    adapted = cohort_of_adapted_backbone(config, tmp_path, default_registry(), NULL_CONTEXT)
    entries = prepare_cohort(config, tmp_path / "prepared").entries["train"]
    studies = adapted.loaded.features["train"]
    assert len(studies) == 12
    expected = slice_evidence(studies, entries, stage.ridge)
    assert np.array_equal(adapted.evidence.weight_CD, expected.weight_CD)
    classifier = new_classifier(config, adapted.backbone.spec, len(adapted.loaded.keys))
    adapted.begin_head(classifier)
    assert np.array_equal(classifier.head.weight.detach().numpy(), expected.weight_CD)
    assert np.array_equal(classifier.head.bias.detach().numpy(), expected.bias_C)


@pytest.fixture(scope="module")
def slice_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    out = tmp_path_factory.mktemp("slice_run")
    events: list[Event] = []
    run_training(slices_config(), out, events.append)
    return out, events


def test_the_package_holds_the_adapters_and_says_how_they_learnt(slice_run: tuple[Path, list[Event]]) -> None:
    out, events = slice_run
    package = load_package(out / "package")
    assert package.manifest.lora is not None
    assert package.manifest.lora.settings.rank == 2
    metrics = json.loads((out / "package" / "metrics.json").read_bytes())
    assert metrics["slice_training"]["epochs"] == 2
    card = " ".join((out / "package" / "MODEL_CARD.md").read_text(encoding="utf-8").split())
    assert "first learnt which findings are in single slices" in card
    assert "not the paper's protocol" in card
    # The live curve is the classifier's alone: epochs of adapters are told as progress.
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == list(range(1, 21))


def test_the_reference_cohort_holds_features_of_the_packages_own_backbone(
    slice_run: tuple[Path, list[Event]],
) -> None:
    out, _ = slice_run
    package = load_package(out / "package")
    config = slices_config()
    shipped = read_reference(out / "reference_cohort.safetensors", package.manifest).studies["heldout"][0]
    entry = next(
        entry
        for entry in prepare_cohort(config, out / "prepared").entries["test"]
        if entry.identifier == shipped.identifier
    )
    voxels = SimpleNamespace(voxels_hu=read_voxels(entry).astype(np.float32), spec=config.preprocessing)
    computed = FeatureExtractor(package_backbone(package, default_registry()), choose_device("cpu")).features(voxels)  # type: ignore[arg-type]
    assert np.allclose(shipped.features_SD, computed, atol=2e-3 * float(np.abs(computed).max()))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora": None}, "slice_training needs"),
        ({"mode": "end_to_end"}, "slice_training needs"),
        ({"cohort": ImportedCohortConfig(manifest=Path("x"))}, "phantoms"),
        ({"slice_training": None, "end_to_end": EndToEndConfig()}, "lora needs slice_training"),
    ],
)
def test_pairs_that_cannot_be_meant_are_refused(changes: dict[str, Any], told: str) -> None:
    values = {"lora": LORA, "slice_training": SliceTrainingConfig()} | changes
    with pytest.raises(ValidationError, match=told):
        TrainConfig(**values)


def test_a_full_disk_is_said(prepared: PreparedCohort, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(TrainingError) as caught:
        SliceSource(
            prepared.entries["train"],
            slices_config().preprocessing,
            torch.device("cpu"),
            tmp_path / "taken" / "train",
        )
    assert caught.value.code == "training.write"


def test_a_run_that_is_stopped_in_the_stage_can_be_gone_on_with(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        cohort_of_adapted_backbone(slices_config(), tmp_path, default_registry(), CancelOnly(token))
