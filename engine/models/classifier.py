"""MoLRE, attention pooling and the linear head: from slice features to logits (the paper's Algorithm 1, lines 3 to 9).

Legend: B study, S slice, D feature width, C finding, K expert.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.models.molre import MoLRE
from engine.models.pooling import AttentionPooling
from engine.models.settings import MoLRESettings


class ClassifierOutput(NamedTuple):
    """What one forward pass computed, all of it, so that explanations need no second one."""

    logits_BC: Tensor
    attention_BS: Tensor
    gates_BSK: Tensor
    adapted_BSD: Tensor
    pooled_BD: Tensor

    @property
    def probabilities_BC(self) -> Tensor:
        """Sigmoid of the logits: one probability per finding, independent of the others."""
        return torch.sigmoid(self.logits_BC)


class MoLREClassifier(nn.Module):
    """The trained part that stands on a frozen backbone.

    Parameters
    ----------
    width
        D, the backbone's feature width.
    n_findings
        C, number of findings.
    settings
        Sizes of the mixture; the paper's by default.
    frozen_weight_DD
        W0; None is the identity.

    Attributes
    ----------
    molre, pooling, head
        The three parts; the trainer gives them different learning rates.
    """

    def __init__(
        self,
        width: int,
        n_findings: int,
        settings: MoLRESettings | None = None,
        frozen_weight_DD: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.molre = MoLRE(width, settings, frozen_weight_DD)
        self.pooling = AttentionPooling(width)
        self.head = nn.Linear(width, n_findings)
        nn.init.trunc_normal_(self.head.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.head.bias)

    def forward(self, features_BSD: Tensor, mask_BS: Tensor | None = None) -> ClassifierOutput:
        """Classify studies from their slice features.

        Parameters
        ----------
        features_BSD
            The backbone's features, padded to the longest study.
        mask_BS
            True where a slice exists; None means everywhere.

        Returns
        -------
        ClassifierOutput
            Logits, attention, gates, adapted and pooled features. Padded slices have attention 0.
        """
        adapted_BSD, gates_BSK = self.molre(features_BSD)
        pooled_BD, attention_BS = self.pooling(adapted_BSD, mask_BS)
        return ClassifierOutput(self.head(pooled_BD), attention_BS, gates_BSK, adapted_BSD, pooled_BD)
