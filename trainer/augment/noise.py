"""Additive Gaussian noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noisy(channels: Tensor, variance: float, seed: int) -> Tensor:
    """Return windowed values with independent noise of this variance on every value, drawn on their device."""
    generator = torch.Generator(channels.device).manual_seed(seed)
    noise = torch.randn(channels.shape, generator=generator, device=channels.device, dtype=channels.dtype)
    return channels.add(noise, alpha=math.sqrt(variance))
