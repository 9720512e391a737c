"""The multi-label focal loss of Lin et al. (ICCV 2017), with prevalence weights and unknown labels.

Shapes: B studies, C findings.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def prevalence_weights(prevalence_C: Tensor, min_prevalence: float) -> Tensor:
    """Return α of every finding: the weight of its positives; its negatives weigh 1 − α.

    α_c = 1 − π_c, with π_c the share of positives among the known labels of the training set, clipped to
    ``[min_prevalence, 1 − min_prevalence]``. Positives then weigh as much as negatives in sum:
    N π (1 − π) = N (1 − π) π. The paper says "prevalence-based class weights α_t" and gives no formula.

    Parameters
    ----------
    prevalence_C
        float (C,).
    min_prevalence
        Keeps a finding without positives (or negatives) from weighing nothing.
    """
    return 1.0 - prevalence_C.clamp(min_prevalence, 1.0 - min_prevalence)


def focal_loss(logits_BC: Tensor, targets_BC: Tensor, known_BC: Tensor, alpha_BC: Tensor, gamma: float) -> Tensor:
    """Return the loss of every label, 0 where it is unknown.

    FL(p_t) = −α_t (1 − p_t)^γ log p_t (Lin et al., Eq. 5), where p_t is the probability of the true class and
    α_t is α for a positive and 1 − α_c for a negative. Computed from logits, so that it stays finite.

    Parameters
    ----------
    logits_BC
        float (B, C).
    targets_BC
        float (B, C), 0 or 1; any finite value where unknown.
    known_BC
        bool (B, C); False labels give exactly zero loss and zero gradient.
    alpha_BC
        float (C,) or (B, C): the weight of a positive, see `prevalence_weights`.
    gamma
        Focusing; 0 gives the weighted cross-entropy.

    Returns
    -------
    Tensor
        float (B, C).
    """
    sign_BC = 2.0 * targets_BC - 1.0
    log_true_BC = functional.logsigmoid(sign_BC * logits_BC)
    wrong_BC = torch.sigmoid(-sign_BC * logits_BC)
    alpha_t_BC = torch.where(targets_BC > 0.5, alpha_BC, 1.0 - alpha_BC)
    loss_BC = -alpha_t_BC * wrong_BC.pow(gamma) * log_true_BC
    return torch.where(known_BC, loss_BC, torch.zeros_like(loss_BC))


def mean_over_known(loss_BC: Tensor, known_BC: Tensor, weight_B: Tensor, total: Tensor | None = None) -> Tensor:
    """Average the loss over the known labels of a batch, each with its study's weight; 0 if there is none.

    `total` is the weight of all known labels where these studies are only a part of a batch: the parts' means then add
    up to the batch's.
    """
    weight_BC = weight_B.unsqueeze(1) * known_BC
    whole = weight_BC.sum() if total is None else total.to(loss_BC.device)
    return (loss_BC * weight_BC).sum() / whole.clamp(min=torch.finfo(loss_BC.dtype).tiny)
