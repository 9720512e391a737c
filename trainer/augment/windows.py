"""HU windows on the device where the augmentation runs; the same numbers as `engine.preprocess.windows`."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.preprocess.spec import PreprocessSpec
from engine.preprocess.windows import HIGHEST_HU


def channels_of(volume_SHW: Tensor, spec: PreprocessSpec) -> Tensor:
    """Return the windows, and the volume's own range where the spec asks for it: ``channels_MSHW`` in 0..1."""
    bounds = [*spec.windows_hu]
    lowest, highest = float(volume_SHW.min()), min(float(volume_SHW.max()), HIGHEST_HU)
    if spec.min_max:
        bounds.append((lowest, highest) if lowest < highest else (lowest, lowest + 1.0))
    scaled = [((volume_SHW - lower) * (1.0 / (upper - lower))).clamp(0.0, 1.0) for lower, upper in bounds]
    return torch.stack(scaled)
