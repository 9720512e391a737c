"""Two small residual encoders of whole volumes, side by side at two resolutions.

Legend: N volume, M channel, S H W slice, row and column, D feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class TwoEncoders(nn.Module):
    """One encoder at full and one at half the in-plane resolution; their features lie side by side.

    It has timm's two methods, and no classification layer. Rows and columns must halve five times, slices three times.

    Parameters
    ----------
    channels
        M.
    widths
        Of the stem and of each residual block.
    features
        Width of each encoder's last map; D is twice that.
    """

    def __init__(self, channels: int, widths: Sequence[int], features: int) -> None:
        super().__init__()
        self.fine = _encoder(channels, widths, features)
        self.coarse = _encoder(channels, widths, features)
        self.grid = SideBySide()

    def forward_features(self, x_NMSHW: Tensor) -> Tensor:
        """Return (N, D, S/8, H/16, W/16); its mean over positions is the feature."""
        halved = functional.avg_pool3d(x_NMSHW, (1, 2, 2))
        grid: Tensor = self.grid(self.fine(x_NMSHW), self.coarse(halved))
        return grid

    def forward_head(self, x: Tensor, pre_logits: bool = True) -> Tensor:
        """Return the mean over positions, (N, D); there is no classification layer, so `pre_logits` is moot."""
        return x.mean(dim=(2, 3, 4))

    def forward(self, x_NMSHW: Tensor) -> Tensor:
        """Return the pooled feature, (N, D)."""
        return self.forward_head(self.forward_features(x_NMSHW))


class SideBySide(nn.Module):
    """Repeat the coarse map, half as large in the plane, over the fine one's positions; neither's mean changes."""

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return both, along the channels."""
        spread = functional.interpolate(coarse, size=fine.shape[2:], mode="nearest-exact")
        return torch.cat([fine, spread], dim=1)


class ResidualDown(nn.Module):
    """Halve every axis: two convolutions, added to a pointwise one."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width_in, width, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm3d(width)
        self.shortcut = nn.Conv3d(width_in, width, kernel_size=1, stride=2, bias=False)
        self.norm3 = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return half the size."""
        inner = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(inner + self.norm3(self.shortcut(x)))


def _encoder(channels: int, widths: Sequence[int], features: int) -> nn.Sequential:
    blocks = [ResidualDown(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(
        nn.Conv3d(channels, widths[0], kernel_size=3, stride=(1, 2, 2), padding=1, bias=False),
        nn.BatchNorm3d(widths[0]),
        nn.ReLU(),
        *blocks,
        nn.Conv3d(widths[-1], features, kernel_size=1, bias=False),
        nn.BatchNorm3d(features),
        nn.ReLU(),
    )
