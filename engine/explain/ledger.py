"""The exact ledger: every logit split over slices × (frozen path + experts).

After routing, Algorithm 1 is linear in the slice features. With attention α and gates g as computed,
``logit_c = b_c + Σ_s α_s [ w_c·W0 x_s + Σ_k g_k(x_s) w_c·B_k A_k x_s ]``.

Legend: B study, C finding, S slice, D feature width, K expert, R rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import InferenceError
from engine.models.classifier import ClassifierOutput, MoLREClassifier

LEDGER_TOLERANCE = 1e-4


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
        (B, C, S, 1 + K): column 0 is the frozen path W0 x, column k the k-th expert.
    bias_C
        The head's bias. Ledger summed over S and its columns, plus bias, is the logit.
    """
    molre, weight_CD = classifier.molre, classifier.head.weight
    attention_BS1 = output.attention_BS.unsqueeze(-1)
    features_BSD = features_BSD.masked_fill(attention_BS1 == 0, 0.0)
    gates_BSK = output.gates_BSK.masked_fill(attention_BS1 == 0, 0.0)
    frozen_BCS = torch.einsum("cd,bsd->bcs", weight_CD, molre.frozen_path(features_BSD) * attention_BS1)
    head_at_rank_CKR = torch.einsum("cd,kdr->ckr", weight_CD, molre.up_KDR)
    weighted_BSKR = molre.compress(features_BSD) * (gates_BSK * attention_BS1).unsqueeze(-1)
    experts_BCSK = torch.einsum("ckr,bskr->bcsk", head_at_rank_CKR, weighted_BSKR)
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
