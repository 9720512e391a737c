"""A slice with some of its patches replaced by plain brain.

Legend: N versions, P patches, M channel, H row, W column.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.explain.spread import patch_sums
from engine.explain.subject import SliceLogit

_PATCHES_ACROSS = 14


def patch_px(size_px: tuple[int, int]) -> int:
    """Return the side of a patch: a fourteenth of the slice, 16 pixels of a slice of 224."""
    return max(1, round(min(size_px) / _PATCHES_ACROSS))


class PatchedSlice:
    """A finding's logit by which patches of the slice are there; versions that were tried are remembered.

    Only patches in which the slice differs from plain brain count; the others have nothing to remove.

    Attributes
    ----------
    n_patches
        P, how many do.
    """

    def __init__(self, logit: SliceLogit) -> None:
        subject, index = logit.subject, logit.slice_index
        self._logit = logit
        self._x_1MHW, self._plain_1MHW = subject.picture(index), subject.plain_picture(index)
        self._side = patch_px(subject.size_px)
        differs = (self._x_1MHW != self._plain_1MHW).any(dim=1)[0].cpu().numpy()
        counts = patch_sums(differs, self._side)
        self._shape = counts.shape
        self._counted = np.flatnonzero(counts.ravel() > 0)
        self._known: dict[bytes, float] = {}

    @property
    def n_patches(self) -> int:
        """P, how many patches can be removed."""
        return len(self._counted)

    def sums(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum a map (H, W) over the patches that count: (P,)."""
        return patch_sums(values, self._side).ravel()[self._counted]

    def __call__(self, there_NP: Tensor) -> Tensor:
        """Return the logits (N,) with the patches that are 1 there, and the others replaced."""
        keys = [row.tobytes() for row in there_NP.bool().cpu().numpy()]
        missing = list(dict.fromkeys(key for key in keys if key not in self._known))
        batch = self._logit.batch
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            with torch.no_grad():
                logits = self._logit(torch.cat([self._picture(key) for key in part]))
            self._known.update(zip(part, logits.tolist(), strict=True))
        return torch.tensor([self._known[key] for key in keys])

    def _picture(self, key: bytes) -> Tensor:
        there = np.ones(self._shape, dtype=bool)
        there.ravel()[self._counted] = np.frombuffer(key, dtype=bool)
        height, width = self._x_1MHW.shape[2:]
        pixels = np.kron(there, np.ones((self._side, self._side), dtype=bool))[:height, :width]
        return torch.where(torch.from_numpy(pixels).to(self._x_1MHW.device), self._x_1MHW, self._plain_1MHW)
