"""Attention pooling over slices, the paper's Algorithm 1, lines 5 to 8. Legend: B study, S slice, D feature width."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class PoolingOutput(NamedTuple):
    """``pooled_BD`` and the weights ``attention_BS``, which sum to 1 over the slices of a study."""

    pooled_BD: Tensor
    attention_BS: Tensor


class AttentionPooling(nn.Module):
    """``α = Softmax(q F'ᵀ / √d)``, ``h = α F'`` with one learned query for all studies.

    Attributes
    ----------
    query_D
        q, initialised from a normal distribution of standard deviation 0.02, truncated at two of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_D = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.query_D, std=0.02, a=-0.04, b=0.04)

    def forward(self, features_BSD: Tensor, mask_BS: Tensor | None = None) -> PoolingOutput:
        """Pool the slices that exist.

        Parameters
        ----------
        features_BSD
            Adapted features F'.
        mask_BS
            True where the slice exists; None means everywhere. Whatever stands in a masked slice, even NaN, has
            weight 0 and no influence.

        Raises
        ------
        ValueError
            If a study has no slice at all.
        """
        if mask_BS is not None:
            if not bool(mask_BS.any(dim=1).all()):
                raise ValueError("every study needs at least one slice that is not masked")
            features_BSD = features_BSD.masked_fill(~mask_BS.unsqueeze(-1), 0.0)
        scores_BS = features_BSD @ self.query_D / math.sqrt(features_BSD.shape[-1])
        if mask_BS is not None:
            scores_BS = scores_BS.masked_fill(~mask_BS, -torch.inf)
        attention_BS = torch.softmax(scores_BS, dim=-1)
        return PoolingOutput(torch.einsum("bs,bsd->bd", attention_BS, features_BSD), attention_BS)
