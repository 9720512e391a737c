"""MoLRE, attention pooling and the linear head: from slice features to logits (the paper's Algorithm 1, lines 3 to 9).

Legend: B study, S slice, D feature width, C finding, K expert.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.models.molre import MoLRE, MoLREOutput
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

    A network of whole volumes gives one feature a study: S is 1, attention is 1, and routing is per volume.

    Parameters
    ----------
    width
        D, the backbone's feature width.
    n_findings
        C, number of findings.
    molre
        Sizes of the mixture; None leaves the mixture out: the head reads the backbone's features as they are.
    frozen_weight_DD
        W0; None is the identity.
    fusion_hidden
        Width of a trained layer with ReLU between the pooled feature and the head; None leaves it out.

    Attributes
    ----------
    molre, pooling, fusion, head
        The parts; the trainer gives them different learning rates. `molre` and `fusion` may be None.
    """

    def __init__(
        self,
        width: int,
        n_findings: int,
        molre: MoLRESettings | None,
        frozen_weight_DD: Tensor | None = None,
        *,
        fusion_hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.molre = None if molre is None else MoLRE(width, molre, frozen_weight_DD)
        self.pooling = AttentionPooling(width)
        self.fusion = None if fusion_hidden is None else nn.Linear(width, fusion_hidden)
        self.head = nn.Linear(fusion_hidden or width, n_findings)
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
            Logits, attention, gates (no experts: K is 0), adapted and pooled features. Padded slices have attention 0.
        """
        adapted_BSD, gates_BSK = self.adapt(features_BSD)
        pooled_BD, attention_BS = self.pooling(adapted_BSD, mask_BS)
        return ClassifierOutput(self.head(self.fuse(pooled_BD)), attention_BS, gates_BSK, adapted_BSD, pooled_BD)

    def adapt(self, features_BSD: Tensor) -> MoLREOutput:
        """Return the adapted features and the gates of every slice; without a mixture the features and no gates."""
        if self.molre is None:
            return MoLREOutput(features_BSD, features_BSD.new_zeros((*features_BSD.shape[:-1], 0)))
        output: MoLREOutput = self.molre(features_BSD)
        return output

    def fuse(self, pooled_BD: Tensor) -> Tensor:
        """Return what the head reads."""
        return pooled_BD if self.fusion is None else torch.relu(self.fusion(pooled_BD))
