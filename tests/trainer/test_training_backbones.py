"""A run from scratch on backbones that ask for another preparation, or for another head, than the default one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ConfigError
from engine.models.backbones import deepcntd, pillar0
from engine.models.backbones.convert import Terms, convert_checkpoint
from engine.models.backbones.registry import default_registry, open_registry
from engine.models.package import load_package
from engine.models.settings import MoLRESettings
from engine.preprocess.spec import PreprocessSpec
from tests.support.backbones import SMALL_ATLAS, random_values, shapes_of
from tests.trainer.conftest import TINY_SPEC
from trainer.config import OptimiserConfig, PhantomCohortConfig, ReferenceConfig, TrainConfig
from trainer.datasets import StudyFeatures
from trainer.loop import FitData, FitSettings, fit
from trainer.training import new_classifier, run_training


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user's weights with a small Pillar0 in it."""
    folder = tmp_path_factory.mktemp("backbones")
    shapes = shapes_of(pillar0.build_network(SMALL_ATLAS).state_dict())
    file = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file(random_values({pillar0.TOWER + name: shape for name, shape in shapes.items()}), file)
    registry = open_registry(folder)
    assert registry.store is not None
    convert_checkpoint(file, "pillar0_headct", registry, registry.store, Terms("ECL-2.0", "tests"), SMALL_ATLAS)
    return folder


def test_a_network_of_volumes_is_trained_with_its_own_preparation(backbones: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        backbone="pillar0_headct",
        threads=1,
        cohort=PhantomCohortConfig(n_train=8, n_validate=8, n_calibrate=1, n_test=2, spec=TINY_SPEC),
        reference=ReferenceConfig(n_replay=1, n_calibrate=1, n_heldout=1),
    )
    run_training(config, tmp_path, lambda event: None, backbones=backbones)
    registry = open_registry(backbones)
    package = load_package(tmp_path / "package", registry)
    assert package.manifest.preprocessing == registry.entry("pillar0_headct").spec.preprocessing
    assert (package.manifest.preprocessing.n_channels, package.manifest.preprocessing.n_slices) == (11, 32)
    assert package.metrics["config"]["preprocessing"]["min_max"] is True
    listed = json.loads((tmp_path / "reference_cohort.json").read_text(encoding="utf-8"))
    assert listed["backbone"] == "pillar0_headct"
    card = (tmp_path / "package" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "sees volumes without regard to side" in card
    assert "over slices" not in card


def test_what_a_run_says_of_preparation_and_mixture_stands(backbones: Path) -> None:
    spec = open_registry(backbones).entry("pillar0_headct").spec
    said = spec.preprocessing.model_copy(update={"align": False})
    config = TrainConfig(backbone="pillar0_headct", preprocessing=said, molre=MoLRESettings(n_experts=2))
    assert config.for_backbone(spec) == config
    with pytest.raises(ConfigError, match="3 channels, but pillar0_headct reads 11") as caught:
        TrainConfig(backbone="pillar0_headct", preprocessing=PreprocessSpec()).for_backbone(spec)
    assert caught.value.code == "training.channels"
    default = TrainConfig()
    assert default.for_backbone(default_registry().entry(default.backbone).spec).digest() == default.digest()


def test_deepcntd_is_trained_as_in_the_paper_without_a_mixture_and_with_its_fusion_layer(tmp_path: Path) -> None:
    config = TrainConfig(backbone="deepcntd_standin").for_backbone(deepcntd.SPEC)
    assert config.preprocessing.n_slices == 40
    classifier = new_classifier(config, deepcntd.SPEC)
    assert classifier.molre is None
    assert classifier.fusion is not None
    before = classifier.fusion.weight.detach().clone()
    random = np.random.default_rng(3)
    n_findings = classifier.head.out_features
    studies = tuple(
        StudyFeatures(
            str(number),
            random.normal(size=(1, deepcntd.SPEC.feature_width)).astype(np.float16),
            np.full(n_findings, number % 2, np.int8),
        )
        for number in range(8)
    )
    settings = FitSettings(
        seed=1,
        loss=config.loss,
        optimiser=OptimiserConfig(head_learning_rate=1e-2),
        min_epochs=1,
        max_epochs=2,
        patience=1,
        batch_size=4,
        keep="last",
        run_digest="",
    )
    data = FitData(tuple(map(str, range(n_findings))), studies, studies)
    fit(classifier, data, settings, tmp_path / "checkpoint.safetensors", lambda record: None)
    # Adam's first step moves a weight by its learning rate: the fusion layer has the head's.
    assert torch.median((classifier.fusion.weight - before).abs()) > 5e-3
