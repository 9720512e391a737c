"""What a benchmark refuses, which runs it has, and how large the control is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from engine.errors import ConfigError, PackageError
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.models.classifier import MoLREClassifier
from engine.models.package import read_package
from engine.models.settings import MoLRESettings
from tests.conftest import PROJECT_ROOT
from tests.trainer.conftest import TINY_SPEC, TinyRun
from tests.trainer.made_up import made_up_config
from trainer.benchmark.cohort import Studies
from trainer.benchmark.config import BackboneChoice, BenchmarkConfig, molre_parameters, single_adapter
from trainer.benchmark.plan import count_parameters, make_plan
from trainer.training import new_classifier

LITE0_FEATURES = 3_371_008
"""Parameters of EfficientNet-Lite0 without its layer of 1000 classes: 4,652,008 less 1280 × 1000 + 1000."""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unknown": 1}, "unknown"),
        ({"arms": []}, "arms"),
        ({"arms": ["heads"]}, "arms"),
        ({"arms": ["head", "head"]}, "twice"),
        ({"seeds": [1, 2, 1]}, "twice"),
        ({"seeds": [-1]}, "seed"),
        ({"backbones": []}, "backbones"),
        ({"backbones": [{"name": "a_b"}, {"name": "a-b"}]}, "a_b and a-b"),
        ({"arms": ["head", "single"]}, "single is the control of molre"),
        ({"arms": ["lora", "lora_single"]}, "lora_single is the control of lora_molre"),
        ({"lora": {"rank": 4}}, "lora needs one of the arms"),
        ({"adapters": "package", "arms": ["lora"]}, "adapters needs one backbone"),
        ({"adapters": "package", "backbones": [{"name": "a"}, {"name": "b"}]}, "adapters needs one backbone"),
        ({"augment": {}}, "augment needs one of the arms"),
        ({"arms": ["head"], "molre": {"rank": 4}}, "molre needs an arm"),
        ({"molre": {"n_experts": 1}}, "n_experts"),
        ({"rate": {"final_share": 0.1}}, "final_share"),
        ({"schedule": {"min_epochs": 20, "max_epochs": 3}}, "max_epochs"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made_up_config(**changes)
    assert words in str(caught.value)


def test_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text('arms = ["head"]\nbackbone = "x"', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bench\.toml.*backbone"):
        BenchmarkConfig.from_toml(tmp_path / "bench.toml")


@pytest.mark.parametrize("name", ["benchmark_adapted", "benchmark_frozen", "benchmark_lora"])
def test_the_shipped_benchmarks_are_valid(name: str) -> None:
    config = BenchmarkConfig.from_toml(PROJECT_ROOT / "resources" / "training" / f"{name}.toml")
    assert config.seeds == (1, 2, 3)
    assert len(config.arms) % 3 == 0, "each mixture has its base and its control"
    assert config.preprocessing is not None or len(config.backbones) == 1, "the cohort is painted once"


def test_every_backbone_arm_and_seed_is_one_run() -> None:
    config = made_up_config(arms=["head", "molre", "single", "lora", "lora_molre", "lora_single"], seeds=[5, 6])
    cells = make_plan(config, open_registry(None)).cells
    assert len({cell.place for cell in cells}) == len({cell.digest for cell in cells}) == 12
    by_arm = {cell.arm: cell.config for cell in cells if cell.seed == 5}
    assert {arm: run.mode for arm, run in by_arm.items()} == {
        **dict.fromkeys(("head", "molre", "single"), "cached"),
        **dict.fromkeys(("lora", "lora_molre", "lora_single"), "end_to_end"),
    }
    assert {arm for arm, run in by_arm.items() if run.molre is None} == {"head", "lora"}
    assert {arm for arm, run in by_arm.items() if run.lora is not None} == {"lora", "lora_molre", "lora_single"}
    assert by_arm["molre"].molre == MoLRESettings(n_experts=6, rank=8, hidden=256)
    assert by_arm["single"].molre is not None
    assert by_arm["single"].molre.n_experts == 1
    assert {run.seed for run in by_arm.values()} == {5}


def test_where_shards_lie_and_how_many_compute_change_no_run() -> None:
    registry = open_registry(None)
    plain = make_plan(made_up_config(), registry).cells
    moved = make_plan(made_up_config(workers=3, threads=2, shards="elsewhere"), registry).cells
    assert [cell.digest for cell in plain] == [cell.digest for cell in moved]
    other = make_plan(made_up_config(optimiser={"weight_decay": 0.5}), registry).cells
    assert {cell.digest for cell in plain}.isdisjoint(cell.digest for cell in other)


@pytest.mark.parametrize(
    ("settings", "width"),
    [
        (MoLRESettings(), 1280),
        (MoLRESettings(), 768),
        (MoLRESettings(n_experts=3, rank=4, hidden=16), 64),
        (MoLRESettings(n_experts=2, rank=1, hidden=1), 32),
    ],
)
def test_the_control_has_the_mixtures_parameters_as_nearly_as_a_whole_rank_allows(
    settings: MoLRESettings, width: int
) -> None:
    mixture = MoLREClassifier(width, 3, settings).molre
    assert mixture is not None
    wanted = sum(value.numel() for value in mixture.parameters())
    assert molre_parameters(settings, width) == wanted, "router counted"
    chosen = single_adapter(settings, width)
    assert (chosen.n_experts, chosen.hidden) == (1, 1)
    sizes = {rank: 2 * rank * width for rank in range(1, 300)}
    assert abs(sizes[chosen.rank] - wanted) == min(abs(size - wanted) for size in sizes.values())


def test_the_router_of_one_expert_does_nothing_and_is_not_counted() -> None:
    chosen = single_adapter(MoLRESettings(), 1280)
    assert chosen.rank == 177
    classifier = MoLREClassifier(1280, 3, chosen)
    assert classifier.molre is not None
    torch.nn.init.normal_(classifier.molre.up_KDR)
    classifier(torch.randn(2, 5, 1280)).logits_BC.sum().backward()
    dead, alive = set(), 0
    for name, value in classifier.molre.named_parameters():
        if value.grad is None or not torch.count_nonzero(value.grad):
            dead.add(name)
        else:
            alive += value.numel()
    assert dead == {"router_hidden.weight", "router_hidden.bias", "router_out.weight", "router_out.bias"}
    assert alive == molre_parameters(chosen, 1280) == 2 * 177 * 1280


def test_parameters_are_those_of_the_model_that_is_trained() -> None:
    registry = open_registry(None)
    config = made_up_config(arms=["head", "molre", "single", "lora", "lora_molre", "lora_single"], seeds=[1])
    plan = make_plan(config, registry)
    counts = {cell.arm: count_parameters(cell.config, registry, 75) for cell in plan.cells}
    spec = plan.specs["efficientnet_lite0"]
    runs = {cell.arm: cell.config for cell in plan.cells}
    head = sum(value.numel() for value in new_classifier(runs["head"], spec, 75).parameters())
    molre = sum(value.numel() for value in new_classifier(runs["molre"], spec, 75).parameters())
    assert (counts["head"].trainable, counts["molre"].trainable) == (head, molre)
    assert counts["head"].total - head == counts["molre"].total - molre == LITE0_FEATURES
    assert counts["molre"].adapter == molre - head == 452_358
    assert (counts["single"].adapter, counts["single"].rank) == (453_120, 177)
    assert counts["lora"].lora > 0
    assert counts["lora_molre"].trainable - counts["lora"].trainable == 452_358
    assert counts["lora"].total == LITE0_FEATURES + counts["lora"].trainable


def test_what_a_backbone_cannot_have_is_named_and_not_run() -> None:
    entries = dict(open_registry(None))
    lite = entries["efficientnet_lite0"]
    poor = replace(lite, spec=replace(lite.spec, name="poor", display_name="Poor", molre=False, lora_targets=()))
    registry = BackboneRegistry([lite, poor])
    config = made_up_config(
        backbones=[{"name": "efficientnet_lite0"}, {"name": "poor"}], arms=["head", "molre", "lora"], seeds=[1]
    )
    plan = make_plan(config, registry)
    assert [(cell.backbone.name, cell.arm) for cell in plan.cells] == [
        ("efficientnet_lite0", "head"),
        ("efficientnet_lite0", "molre"),
        ("efficientnet_lite0", "lora"),
        ("poor", "head"),
    ]
    assert "no MoLRE" in str(plan.gap("poor", "molre"))
    assert "LoRA" in str(plan.gap("poor", "lora"))
    assert plan.gap("poor", "head") is None


def test_a_control_that_no_rank_reaches_is_named() -> None:
    config = made_up_config(molre={"n_experts": 40, "rank": 16})
    plan = make_plan(config, open_registry(None))
    assert {cell.arm for cell in plan.cells} == {"head", "molre"}
    assert "256" in str(plan.gap("efficientnet_lite0", "single"))


def test_an_unknown_backbone_and_missing_weights_are_said_before_anything_runs() -> None:
    for name, code in (("nobody", "backbone.unknown"), ("dinov3_base", "backbone.weights_missing")):
        with pytest.raises(PackageError) as caught:
            make_plan(made_up_config(backbones=[{"name": "efficientnet_lite0"}, {"name": name}]), open_registry(None))
        assert caught.value.code == code


def test_a_backbones_own_preparation_goes_before_the_benchmarks() -> None:
    own = {"spacing_mm": [8.0, 2.0, 2.0], "size_px": [112, 112]}
    config = made_up_config(
        backbones=[{"name": "efficientnet_lite0", "preprocessing": own}, {"name": "efficientnet_lite0-b"}],
        preprocessing={"spacing_mm": [6.0, 1.5, 1.5]},
    )
    sizes = [config.train_config(choice, "head", 1, None).preprocessing.spacing_mm[0] for choice in config.backbones]
    assert sizes == [8.0, 6.0]
    assert BackboneChoice(name="timm:vit_tiny").slug == "timm-vit-tiny"


def test_adapters_of_a_package_are_carried_counted_and_named(resources: Path) -> None:
    registry = open_registry(None)
    folder = resources / "models" / "phantom-demo"
    plan = make_plan(made_up_config(adapters=str(folder), seeds=[1]), registry)
    plain = make_plan(made_up_config(seeds=[1]), registry)
    manifest = read_package(folder, registry).manifest
    assert manifest.lora is not None
    assert plan.specs["efficientnet_lite0"].display_name.endswith(
        f"with the adapters of phantom-demo {manifest.version}"
    )
    for cell, bare in zip(plan.cells, plain.cells, strict=True):
        assert cell.digest != bare.digest
        with_them = count_parameters(cell.config, registry, 75, cell.carried)
        without = count_parameters(bare.config, registry, 75, bare.carried)
        assert with_them.lora > 0 == without.lora
        assert with_them.trainable == without.trainable
        assert with_them.total - without.total == with_them.lora


def test_features_are_those_of_the_backbone_that_carries_the_adapters(resources: Path, tmp_path: Path) -> None:
    registry = open_registry(None)
    folder = resources / "models" / "phantom-demo"
    grid = {"spacing_mm": [12.0, 3.2, 3.2], "size_px": [64, 64], "align": False}
    cohort = {"n_train": 1, "n_validate": 1, "n_calibrate": 1, "n_test": 1, "spec": TINY_SPEC.model_dump()}
    own = {"cohort": cohort, "preprocessing": grid, "shards": str(tmp_path / "shards"), "seeds": [1]}
    features = []
    for adapters in (None, str(folder)):
        config = made_up_config(adapters=adapters, **own)
        run = make_plan(config, registry).cells[0].config
        features.append(Studies(config, tmp_path).loaded(run).features["test"][0].features_SD)
    assert not np.allclose(features[0], features[1], atol=1e-2)


def test_a_package_without_adapters_or_of_another_backbone_lends_none(tiny_run: TinyRun, resources: Path) -> None:
    lends = resources / "models" / "phantom-demo"
    for folder, backbone in ((tiny_run.package, "efficientnet_lite0"), (lends, "efficientnet_lite1")):
        with pytest.raises(ConfigError) as caught:
            make_plan(made_up_config(adapters=str(folder), backbones=[{"name": backbone}]), open_registry(None))
        assert caught.value.code == "benchmark.adapters"
