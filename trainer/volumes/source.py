"""Batches of prepared volumes, augmented where they are learnt from.

Legend: B study, M channel, S slice, H row, W column, C finding, N all studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.preprocess.spec import PreprocessSpec
from trainer.augment.parameters import draw_parameters
from trainer.augment.pipeline import augmented
from trainer.augment.windows import channels_of
from trainer.config import AugmentConfig
from trainer.datasets import UNKNOWN
from trainer.sources import Draw
from trainer.volumes.shards import ShardEntry, read_voxels


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """Volumes padded to the longest; all tensors are on the device that computes.

    Attributes
    ----------
    pictures_BMSHW, mask_BS
        float32 windowed values, and True where there is a slice.
    targets_BC, known_BC, reviewed_B
        As in `trainer.datasets.Batch`.
    """

    identifiers: tuple[str, ...]
    pictures_BMSHW: Tensor
    mask_BS: Tensor
    targets_BC: Tensor
    known_BC: Tensor
    reviewed_B: Tensor


class ShardSource:
    """The studies of a split in shards; voxels are read when a batch asks for them.

    Parameters
    ----------
    entries
        At least one.
    spec
        What they were prepared with.
    device
        Where windows and augmentation are computed.
    augment
        None leaves the volumes as they are.
    """

    def __init__(
        self,
        entries: Sequence[ShardEntry],
        spec: PreprocessSpec,
        device: torch.device,
        augment: AugmentConfig | None = None,
    ) -> None:
        self.entries = entries
        self.labels_NC = np.stack([entry.labels_C for entry in entries])
        self.reviewed_N = np.zeros(len(entries), dtype=np.bool_)
        self._spec = spec
        self._device = device
        self._augment = augment

    def batch(self, chosen: Sequence[int], draw: Draw | None = None) -> PictureBatch:
        """Read studies by number; with a draw each is augmented by the place that it is shown at."""
        places = [None] * len(chosen) if draw is None else list(draw.places)
        volumes = [self.pictures(number, draw, place) for number, place in zip(chosen, places, strict=True)]
        longest = max(volume.shape[1] for volume in volumes)
        padded = [torch.nn.functional.pad(volume, (0, 0, 0, 0, 0, longest - volume.shape[1])) for volume in volumes]
        lengths_B = torch.tensor([volume.shape[1] for volume in volumes], device=self._device)
        labels_BC = torch.from_numpy(self.labels_NC[list(chosen)]).to(self._device)
        return PictureBatch(
            identifiers=tuple(self.entries[number].identifier for number in chosen),
            pictures_BMSHW=torch.stack(padded),
            mask_BS=torch.arange(longest, device=self._device)[None] < lengths_B[:, None],
            targets_BC=(labels_BC == 1).float(),
            known_BC=labels_BC != UNKNOWN,
            reviewed_B=torch.zeros(len(chosen), dtype=torch.bool, device=self._device),
        )

    def pictures(self, number: int, draw: Draw | None = None, place: int | None = None) -> Tensor:
        """Return what a network reads of one study, ``channels_MSHW``."""
        voxels = torch.from_numpy(read_voxels(self.entries[number])).to(self._device)
        volume_SHW = voxels.float()
        if draw is None or place is None or self._augment is None:
            return channels_of(volume_SHW, self._spec)
        drawn = draw_parameters(self._augment, draw.seed, draw.epoch, place)
        return augmented(volume_SHW, self._spec, drawn)
