"""The exact ledger: every logit split over slices × (frozen path + experts).

After routing, Algorithm 1 is linear in the slice features. With attention α and gates g as computed,
``logit_c = b_c + Σ_s α_s [ w_c·W0 x_s + Σ_k g_k(x_s) w_c·B_k A_k x_s ]``.

A fusion layer ``ReLU(F h + f)`` before the head is linear too once it is known which of its units are on: w_c is then
their weights carried back through F, and w_c·f, which belongs to no slice, goes to the frozen path by attention.

Legend: B study, C finding, S slice, D feature width, K expert, R rank.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engine.analysis import LEDGER_TOLERANCE
from engine.errors import InferenceError
from engine.models.classifier import ClassifierOutput, MoLREClassifier


class LinearHead(NamedTuple):
    """What the head does to the pooled feature of each study: ``weight_BCD``, and ``offset_BC`` besides its bias."""

    weight_BCD: Tensor
    offset_BC: Tensor


def linear_head(classifier: MoLREClassifier, pooled_BD: Tensor) -> LinearHead:
    """Return the head, with a fusion layer's units on or off as `pooled_BD` has them."""
    weight = classifier.head.weight
    if classifier.fusion is None:
        weight_BCD = weight.expand(len(pooled_BD), -1, -1)
        return LinearHead(weight_BCD, weight.new_zeros(weight_BCD.shape[:2]))
    on_BH = (classifier.fusion(pooled_BD) > 0).to(weight.dtype)
    through_BCH = weight * on_BH.unsqueeze(1)
    return LinearHead(through_BCH @ classifier.fusion.weight, through_BCH @ classifier.fusion.bias)


def compute_ledger(
    classifier: MoLREClassifier, features_BSD: Tensor, output: ClassifierOutput
) -> tuple[Tensor, Tensor]:
    """Split the logits of one forward pass.

    The products B_k A_k are never formed: the head's rows are carried back through B_k to rank r, and meet A_k x there.

    Parameters
    ----------
    classifier
        The model that made `output`.
    features_BSD
        The features it was given.
    output
        What it returned; attention and gates are taken as they were computed. Slices with attention 0 (masked)
        contribute exactly 0, whatever stands in them.

    Returns
    -------
    ledger_BCSK
        (B, C, S, 1 + K): column 0 is the frozen path W0 x, column k the k-th expert. Without a mixture (B, C, S, 1).
    bias_C
        The head's bias. Ledger summed over S and its columns, plus bias, is the logit.
    """
    molre = classifier.molre
    attention_BS1 = output.attention_BS.unsqueeze(-1)
    features_BSD = features_BSD.masked_fill(attention_BS1 == 0, 0.0)
    weight_BCD, offset_BC = linear_head(classifier, output.pooled_BD)
    frozen_BSD = features_BSD if molre is None else molre.frozen_path(features_BSD)
    frozen_BCS = weight_BCD @ (frozen_BSD * attention_BS1).mT + offset_BC.unsqueeze(-1) * output.attention_BS.unsqueeze(
        1
    )
    if molre is None:
        return frozen_BCS.unsqueeze(-1), classifier.head.bias
    gates_BSK = output.gates_BSK.masked_fill(attention_BS1 == 0, 0.0)
    head_at_rank_BCKR = torch.einsum("bcd,kdr->bckr", weight_BCD, molre.up_KDR)
    weighted_BSKR = molre.compress(features_BSD) * (gates_BSK * attention_BS1).unsqueeze(-1)
    experts_BCSK = torch.einsum("bckr,bskr->bcsk", head_at_rank_BCKR, weighted_BSKR)
    return torch.cat([frozen_BCS.unsqueeze(-1), experts_BCSK], dim=-1), classifier.head.bias


def check_ledger(ledger_BCSK: Tensor, bias_C: Tensor, logits_BC: Tensor) -> float:
    """Return the largest difference between the ledger's sums and the logits.

    Raises
    ------
    InferenceError
        If it is not below `LEDGER_TOLERANCE`: then the ledger does not explain these logits and must not be shown.
    """
    sums_BC = ledger_BCSK.detach().double().sum(dim=(2, 3)) + bias_C.detach()
    error = float((sums_BC - logits_BC.detach()).abs().max())
    if not error < LEDGER_TOLERANCE:
        raise InferenceError(
            f"The ledger differs from the logits by {error:.3g}, more than {LEDGER_TOLERANCE:g} allows; "
            "no result is shown.",
            hint="Run the study again on the CPU; if the message comes again, choose another model.",
            code="inference.ledger",
            kind="environment",
        )
    return error
