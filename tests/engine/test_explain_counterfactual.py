"""Counterfactuals against true second runs of the classifier."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from engine.explain.counterfactual import compute_counterfactual
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from tests.support.explain import WIDTH, classifier

TWO_STUDIES = torch.ones(2, 6, dtype=torch.bool)
TWO_STUDIES[1, 4:] = False
MODELS = {
    "molre": classifier(),
    "head only": classifier(None),
    "fusion": classifier(None, 7),
    "molre and fusion": classifier(fusion_hidden=7),
}


def features() -> torch.Tensor:
    x_BSD = torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(2))
    x_BSD[1, 4:] = torch.nan
    return x_BSD


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_without_a_slice_equals_a_run_with_that_slice_masked(model: MoLREClassifier) -> None:
    x_BSD = features()
    without = compute_counterfactual(model, x_BSD, model(x_BSD, TWO_STUDIES)).without_slice_BCS
    for left_out in range(6):
        mask_BS = TWO_STUDIES.clone()
        mask_BS[:, left_out] = False
        again_BC = model(x_BSD, mask_BS).logits_BC
        present = TWO_STUDIES[:, left_out]
        assert torch.allclose(without[present, :, left_out], again_BC[present], atol=1e-5)
        assert without[~present, :, left_out].isnan().all()
    assert (without[0] - model(x_BSD, TWO_STUDIES).logits_BC[0].unsqueeze(1)).abs().min() > 1e-4


@pytest.mark.parametrize("name", ["molre", "molre and fusion"])
def test_without_an_expert_equals_a_run_with_its_b_zeroed(name: str) -> None:
    model, x_BSD = MODELS[name], features()
    without = compute_counterfactual(model, x_BSD, model(x_BSD, TWO_STUDIES)).without_expert_BCK
    assert without.shape == (2, 3, 3)
    for expert in range(3):
        silenced = copy.deepcopy(model)
        silenced.molre.up_KDR[expert] = 0.0
        again_BC = silenced(x_BSD, TWO_STUDIES).logits_BC
        assert torch.allclose(without[:, :, expert], again_BC, atol=1e-5)
        assert (again_BC - model(x_BSD, TWO_STUDIES).logits_BC).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["head only", "fusion"])
def test_without_a_mixture_there_is_no_expert_to_leave_out(name: str) -> None:
    model, x_BSD = MODELS[name], features()
    assert compute_counterfactual(model, x_BSD, model(x_BSD, TWO_STUDIES)).without_expert_BCK.shape == (2, 3, 0)


def test_without_its_only_slice_a_study_has_no_logit() -> None:
    x_BSD = features()[:1, :1]
    model = MODELS["molre"]
    result = compute_counterfactual(model, x_BSD, model(x_BSD))
    assert result.without_slice_BCS.isnan().all()
    assert result.without_expert_BCK.isfinite().all()


def test_two_slices_by_hand() -> None:
    """Scores 0 and ln 3: attention 1/4 and 3/4. Without one slice the other has all of it."""
    model = MoLREClassifier(1, 1, None)
    with torch.no_grad():
        model.pooling.query_D.fill_(math.log(3.0))
        model.head.weight.fill_(2.0)
        model.head.bias.fill_(0.5)
    x_BSD = torch.tensor([[[0.0], [1.0]]])
    output = model(x_BSD)
    assert output.logits_BC.item() == pytest.approx(0.5 + 2 * 0.75)
    without = compute_counterfactual(model, x_BSD, output).without_slice_BCS
    assert without[0, 0].tolist() == pytest.approx([2.5, 0.5])


def test_one_expert_by_hand() -> None:
    """One slice, feature 2: W0 x = 2, the only expert adds B A x = 3 · 0.5 · 2 with gate 1, the head doubles."""
    model = MoLREClassifier(1, 1, MoLRESettings(n_experts=1, rank=1, hidden=1))
    with torch.no_grad():
        model.molre.down_KRD.fill_(0.5)
        model.molre.up_KDR.fill_(3.0)
        model.head.weight.fill_(2.0)
    x_BSD = torch.tensor([[[2.0]]])
    output = model(x_BSD)
    assert output.logits_BC.item() == pytest.approx(10.0)
    assert compute_counterfactual(model, x_BSD, output).without_expert_BCK.item() == pytest.approx(4.0)
