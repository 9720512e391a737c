"""Mirroring along axes: exact, no voxel is interpolated."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(volume_SHW: Tensor, axes: tuple[bool, bool, bool]) -> Tensor:
    """Return the volume with the order of slices, rows or columns turned round where `axes` says so."""
    return torch.flip(volume_SHW, [axis for axis, turned in enumerate(axes) if turned])
