"""Multiplicative brightness."""

from __future__ import annotations

from torch import Tensor


def brightened(channels: Tensor, factor: float) -> Tensor:
    """Return windowed values times the factor; they are not clipped, as the network's input has no bound."""
    return channels * factor
