from __future__ import annotations

import math

import pytest
import torch

from trainer.losses import focal_loss, mean_over_known, prevalence_weights


def test_focal_loss_equals_hand_computed_values() -> None:
    logits = torch.tensor([[0.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    alpha = torch.tensor([0.8, 0.6], dtype=torch.float64)
    known = torch.ones(2, 2, dtype=torch.bool)

    def by_hand(logit: float, positive: bool, weight: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        p_t = p if positive else 1 - p
        alpha_t = weight if positive else 1 - weight
        return -alpha_t * (1 - p_t) ** 2 * math.log(p_t)

    expected = [
        [by_hand(0.0, True, 0.8), by_hand(2.0, False, 0.6)],
        [by_hand(-1.0, True, 0.8), by_hand(0.5, False, 0.6)],
    ]
    assert expected[0][0] == pytest.approx(0.8 * 0.25 * math.log(2))
    loss = focal_loss(logits, targets, known, alpha, gamma=2.0)
    assert loss.tolist() == [pytest.approx(row, rel=1e-12) for row in expected]


def test_gamma_zero_is_weighted_cross_entropy() -> None:
    logits = torch.linspace(-4, 4, 12, dtype=torch.float64).reshape(4, 3)
    targets = (torch.arange(12).reshape(4, 3) % 2).to(torch.float64)
    loss = focal_loss(logits, targets, torch.ones(4, 3, dtype=torch.bool), torch.full((3,), 0.5), gamma=0.0)
    expected = 0.5 * torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert torch.allclose(loss, expected, atol=1e-12)


def test_unknown_labels_give_exactly_zero_loss_and_gradient() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    targets = torch.zeros(5, 4)
    known = torch.zeros(5, 4, dtype=torch.bool)
    known[2, 1] = True
    loss = focal_loss(logits, targets, known, torch.full((4,), 0.7), gamma=2.0)
    mean_over_known(loss, known, torch.ones(5)).backward()
    assert logits.grad is not None
    assert logits.grad[2, 1] != 0
    assert torch.count_nonzero(logits.grad) == 1
    assert torch.count_nonzero(loss) == 1


def test_loss_and_gradient_stay_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[80.0, -80.0, 1e4, -1e4]], requires_grad=True)
    targets = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    loss = focal_loss(logits, targets, torch.ones(1, 4, dtype=torch.bool), torch.full((4,), 0.5), gamma=2.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert loss[0, 0].item() == pytest.approx(40.0)
    assert loss[0, 2] == 0


def test_a_batch_without_a_known_label_has_loss_zero() -> None:
    known = torch.zeros(2, 2, dtype=torch.bool)
    loss = focal_loss(torch.ones(2, 2), torch.zeros(2, 2), known, torch.full((2,), 0.5), gamma=2.0)
    assert mean_over_known(loss, known, torch.ones(2)) == 0


def test_prevalence_weights_balance_positives_and_negatives() -> None:
    prevalence = torch.tensor([0.1, 0.5, 0.0, 1.0])
    alpha = prevalence_weights(prevalence, 0.01)
    assert alpha.tolist() == pytest.approx([0.9, 0.5, 0.99, 0.01])
    assert 0.1 * alpha[0] == pytest.approx(0.9 * (1 - alpha[0]))
