"""What the logits would be without one slice, and without one expert: exact, from features that are there already.

The classifier is small: all of a study's counterfactuals together are one batch of its pooling and head, and the
backbone does not run.

Legend: B study, C finding, S slice, D feature width, K expert, Z slices or experts left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from engine.models.classifier import ClassifierOutput, MoLREClassifier


class CounterfactualLogits(NamedTuple):
    """``without_slice_BCS`` and ``without_expert_BCK``; NaN where nothing would be left or nothing was there."""

    without_slice_BCS: Tensor
    without_expert_BCK: Tensor


def compute_counterfactual(
    classifier: MoLREClassifier, features_BSD: Tensor, output: ClassifierOutput
) -> CounterfactualLogits:
    """Compute every logit again without each slice, and without each expert.

    Without a slice, attention is the softmax over the others. Without an expert its term g_k B_k A_k x is gone, the
    other gates stay as they were routed, and attention follows the changed features.

    Parameters
    ----------
    classifier, features_BSD, output
        As for `engine.explain.ledger.compute_ledger`; slices with attention 0 count as absent.

    Returns
    -------
    CounterfactualLogits
        NaN for a slice that is its study's only one, and for an absent slice. K is 0 without a mixture.
    """
    present_BS = output.attention_BS > 0
    adapted_BSD = output.adapted_BSD.masked_fill(~present_BS.unsqueeze(-1), 0.0)
    features_BSD = features_BSD.masked_fill(~present_BS.unsqueeze(-1), 0.0)
    scores_BS = _scores(classifier, adapted_BSD).masked_fill(~present_BS, -torch.inf)
    return CounterfactualLogits(
        _without_slices(classifier, adapted_BSD, scores_BS, present_BS),
        _without_experts(classifier, features_BSD, adapted_BSD, output.gates_BSK, present_BS),
    )


def _without_slices(classifier: MoLREClassifier, adapted_BSD: Tensor, scores_BS: Tensor, present_BS: Tensor) -> Tensor:
    n_slices = scores_BS.shape[1]
    left_out = torch.eye(n_slices, dtype=torch.bool, device=scores_BS.device)
    scores_BZS = scores_BS.unsqueeze(1).masked_fill(left_out, -torch.inf)
    defined_BZ = present_BS & (present_BS.sum(dim=1, keepdim=True) > 1)
    # A softmax over nothing is NaN, and would be in the products of the other rows; it is marked at the end instead.
    attention_BZS = torch.softmax(scores_BZS.masked_fill(~defined_BZ.unsqueeze(-1), 0.0), dim=-1)
    logits_BZC: Tensor = classifier.head(classifier.fuse(attention_BZS @ adapted_BSD))
    return logits_BZC.masked_fill(~defined_BZ.unsqueeze(-1), torch.nan).mT


def _without_experts(
    classifier: MoLREClassifier, features_BSD: Tensor, adapted_BSD: Tensor, gates_BSK: Tensor, present_BS: Tensor
) -> Tensor:
    molre = classifier.molre
    if molre is None:
        return features_BSD.new_zeros((len(features_BSD), classifier.head.out_features, 0))
    gates_BSK = gates_BSK.masked_fill(~present_BS.unsqueeze(-1), 0.0)
    weighted_BSKR = gates_BSK.unsqueeze(-1) * molre.compress(features_BSD)
    changed_BZSD = adapted_BSD.unsqueeze(1) - torch.einsum("bszr,zdr->bzsd", weighted_BSKR, molre.up_KDR)
    scores_BZS = _scores(classifier, changed_BZSD).masked_fill(~present_BS.unsqueeze(1), -torch.inf)
    pooled_BZD = torch.einsum("bzs,bzsd->bzd", torch.softmax(scores_BZS, dim=-1), changed_BZSD)
    logits_BZC: Tensor = classifier.head(classifier.fuse(pooled_BZD))
    return logits_BZC.mT


def _scores(classifier: MoLREClassifier, adapted: Tensor) -> Tensor:
    """Return Algorithm 1, line 6, before the softmax: (..., S, D) → (..., S)."""
    return adapted @ classifier.pooling.query_D / math.sqrt(adapted.shape[-1])
