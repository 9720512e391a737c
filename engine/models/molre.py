"""Mixture of Low-Rank Experts, the paper's Eq. (1) and (2).

Legend: B study, S slice, D feature width d, K expert, R rank r; ``...`` any leading axes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.models.settings import MoLRESettings


class MoLREOutput(NamedTuple):
    """``adapted`` (..., D), the h of Eq. (1), and ``gates`` (..., K), the g of Eq. (2)."""

    adapted: Tensor
    gates: Tensor


class MoLRE(nn.Module):
    """``h = W0 x + Σ_k g_k(x) B_k A_k x`` with ``g(x) = Softmax(W2 ReLU(W1 x + b1) + b2)``.

    The B_k start at zero, so that a new module returns W0 x exactly.

    Parameters
    ----------
    width
        D, width of the input and of the output.
    settings
        K, r and d_h.
    frozen_weight_DD
        W0, (D, D), never trained and not part of the state dict. None means the identity, which is applied by
        leaving the feature as it is: exact, and free.

    Attributes
    ----------
    down_KRD, up_KDR
        A_k and B_k of all experts.
    router_hidden, router_out
        W1, b1 and W2, b2.
    """

    frozen_weight_DD: Tensor | None

    def __init__(
        self, width: int, settings: MoLRESettings | None = None, frozen_weight_DD: Tensor | None = None
    ) -> None:
        super().__init__()
        settings = settings or MoLRESettings()
        self.width = width
        self.settings = settings
        if frozen_weight_DD is not None and frozen_weight_DD.shape != (width, width):
            raise ValueError(f"W0 must be {(width, width)}, not {tuple(frozen_weight_DD.shape)}")
        self.register_buffer("frozen_weight_DD", frozen_weight_DD, persistent=False)
        self.down_KRD = nn.Parameter(torch.empty(settings.n_experts, settings.rank, width))
        self.up_KDR = nn.Parameter(torch.zeros(settings.n_experts, width, settings.rank))
        self.router_hidden = nn.Linear(width, settings.hidden)
        self.router_out = nn.Linear(settings.hidden, settings.n_experts)
        for down_RD in self.down_KRD:
            nn.init.kaiming_uniform_(down_RD, a=math.sqrt(5))

    def frozen_path(self, x: Tensor) -> Tensor:
        """Return W0 x, (..., D) → (..., D)."""
        return x if self.frozen_weight_DD is None else x @ self.frozen_weight_DD.T

    def route(self, x: Tensor) -> Tensor:
        """Return the mixing weights g(x) of Eq. (2), (..., D) → (..., K); they are positive and sum to 1."""
        return torch.softmax(self.router_out(torch.relu(self.router_hidden(x))), dim=-1)

    def compress(self, x: Tensor) -> Tensor:
        """Return A_k x of every expert, (..., D) → (..., K, R)."""
        return (x @ self.down_KRD.flatten(0, 1).T).reshape(*x.shape[:-1], *self.down_KRD.shape[:2])

    def forward(self, x: Tensor) -> MoLREOutput:
        """Apply Eq. (1) to features (..., D)."""
        gates = self.route(x)
        mixed = (gates.unsqueeze(-1) * self.compress(x)).flatten(-2)
        up_D_KR = self.up_KDR.permute(1, 0, 2).flatten(1)
        return MoLREOutput(adapted=self.frozen_path(x) + mixed @ up_D_KR.T, gates=gates)
