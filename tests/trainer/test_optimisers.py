from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from engine.errors import TrainingError
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from trainer.averaging import WeightAverage
from trainer.config import OptimiserConfig, RateConfig
from trainer.optimisers import clip_gradients, make_optimiser
from trainer.schedules import RateSchedule, rate_factor


def _classifier() -> MoLREClassifier:
    return MoLREClassifier(8, 3, MoLRESettings(n_experts=2, rank=2, hidden=4), fusion_hidden=5)


def test_every_part_has_its_rate_and_its_decay() -> None:
    classifier = _classifier()
    config = OptimiserConfig(pooling_learning_rate=2e-3, weight_decay=0.05, head_weight_decay=0.2, molre_weight_decay=0)
    optimiser = make_optimiser(classifier, config)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    assert len(found) == len(list(classifier.parameters()))
    for name, parameter in classifier.named_parameters():
        expected = {"molre": (1e-4, 0), "pooling": (2e-3, 0.05), "fusion": (1e-3, 0.2), "head": (1e-3, 0.2)}
        assert found[id(parameter)] == expected[name.split(".")[0]], name


def test_adapters_of_the_backbone_have_the_adapters_rate_and_the_backbones_own_weights_another() -> None:
    adapted = nn.ModuleDict({"layer": nn.ModuleDict({"lora_A": nn.Linear(2, 2, bias=False), "base": nn.Linear(2, 2)})})
    model = nn.ModuleDict({"backbone": adapted, "classifier": _classifier()})
    config = OptimiserConfig(lora_learning_rate=3e-4, lora_weight_decay=0.0, backbone_weight_decay=0.3)
    *_, lora, backbone = make_optimiser(model, config).param_groups
    assert [(len(group["params"]), group["lr"], group["weight_decay"]) for group in (lora, backbone)] == [
        (1, 3e-4, 0.0),
        (2, 1e-5, 0.3),
    ]
    adapted["layer"]["base"].requires_grad_(False)
    groups = make_optimiser(model, config).param_groups
    assert sorted(group["lr"] for group in groups) == [1e-4, 3e-4, 1e-3, 1e-3, 1e-3]


def test_a_step_without_gradient_shrinks_a_weight_by_rate_times_decay_alone() -> None:
    classifier = _classifier()
    optimiser = make_optimiser(classifier, OptimiserConfig(head_weight_decay=0.5, weight_decay=0.0))
    before = classifier.head.weight.detach().clone(), classifier.pooling.query_D.detach().clone()
    for parameter in classifier.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert torch.allclose(classifier.head.weight, before[0] * (1 - 1e-3 * 0.5), rtol=1e-6)
    assert torch.equal(classifier.pooling.query_D, before[1])


def test_warm_up_and_cosine_are_those_computed_by_hand() -> None:
    rate = RateConfig(warmup_steps=4, decay="cosine", final_share=0.2)
    assert [rate_factor(step, 12, rate) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    # From step 4 to 12: half way the cosine is 0.5, so 0.2 + 0.8 / 2; at a quarter (1 + cos 45°) / 2.
    assert rate_factor(4, 12, rate) == pytest.approx(1.0)
    assert rate_factor(6, 12, rate) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert rate_factor(8, 12, rate) == pytest.approx(0.6)
    assert rate_factor(12, 12, rate) == rate_factor(99, 12, rate) == pytest.approx(0.2)
    assert {rate_factor(step, 12, RateConfig()) for step in range(20)} == {1.0}


def test_the_schedule_multiplies_the_full_rate_of_every_group() -> None:
    optimiser = make_optimiser(_classifier(), OptimiserConfig())
    schedule = RateSchedule(optimiser, RateConfig(warmup_steps=2), 10)
    schedule.set_for(0)
    assert sorted(group["lr"] for group in optimiser.param_groups) == pytest.approx([5e-5, 5e-4, 5e-4, 5e-4])
    schedule.set_for(5)
    assert sorted(group["lr"] for group in optimiser.param_groups) == [1e-4, 1e-3, 1e-3, 1e-3]


def test_a_long_gradient_is_shortened_and_a_short_one_left() -> None:
    weights = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients(weights, None, ()) is None
    assert weights[0].grad.item() == 3.0
    assert clip_gradients(weights, 10.0, ()) == pytest.approx(5.0)
    assert weights[0].grad.item() == pytest.approx(3.0)
    assert clip_gradients(weights, 1.0, ()) == pytest.approx(5.0)
    assert [weight.grad.item() for weight in weights] == pytest.approx([0.6, 0.8], rel=1e-4)


def test_a_gradient_that_is_not_finite_names_the_studies() -> None:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([float("nan")])
    with pytest.raises(TrainingError, match="phantom-1, phantom-2, phantom-3 and 1 more") as caught:
        clip_gradients([weight], 1.0, [f"phantom-{number}" for number in range(1, 5)])
    assert caught.value.code == "training.non_finite_gradient"


def test_the_average_follows_the_weights_by_its_decay_and_lends_itself_only() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(2.0)
    average.update()
    assert average.weights["weight"].item() == pytest.approx(1.1)
    average.update()
    assert average.weights["weight"].item() == pytest.approx(1.19)
    with average.in_place():
        assert model.weight.item() == pytest.approx(1.19)
    assert model.weight.item() == 2.0
