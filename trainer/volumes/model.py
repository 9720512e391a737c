"""Backbone and classifier as one model, trained end to end.

Legend: B study, M channel, S slice, H row, W column, N slices of all studies, D feature width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engine.models.backbones.network import Backbone
from engine.models.classifier import MoLREClassifier
from trainer.volumes.source import PictureBatch

CPU_SLICES = 8
"""How many slices go through the backbone at once on a CPU: what a layer gives of them is still in the cache when the
next one reads it. Forward and backward of 40 slices took 0.8 of the time of all at once, in bfloat16 half of it."""


class EndToEndModel(nn.Module):
    """From windowed volumes to logits; what trains in the backbone are its adapters.

    Parameters
    ----------
    backbone
        Of slices, or of volumes: then a study has one feature.
    classifier
        Of the backbone's width.
    """

    def __init__(self, backbone: Backbone, classifier: MoLREClassifier) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, batch: PictureBatch) -> Tensor:
        """Return ``logits_BC``, float32: whatever precision the backbone computes in, the classifier keeps to its own.

        Padded slices do not go through the backbone. Nothing is kept for the gradient of what lies before its first
        adapter.
        """
        if self.backbone.spec.dimensions == 3:
            return self._logits(self.backbone(batch.pictures_BMSHW).float().unsqueeze(1), None)
        pictures_NMHW = batch.pictures_BMSHW.transpose(1, 2)[batch.mask_BS]
        at_once = CPU_SLICES if pictures_NMHW.device.type == "cpu" else len(pictures_NMHW)
        features_ND = torch.cat([self.backbone(part) for part in torch.split(pictures_NMHW, at_once)]).float()
        features_BSD = features_ND.new_zeros((*batch.mask_BS.shape, features_ND.shape[1]))
        return self._logits(features_BSD.masked_scatter(batch.mask_BS.unsqueeze(2), features_ND), batch.mask_BS)

    def _logits(self, features_BSD: Tensor, mask_BS: Tensor | None) -> Tensor:
        with torch.autocast(features_BSD.device.type, enabled=False):
            return cast("Tensor", self.classifier(features_BSD, mask_BS).logits_BC)

    @torch.no_grad()
    def study_features(self, channels_MSHW: Tensor, batch_size: int = 16) -> Tensor:
        """Return the features of one study as the classifier reads them, float32 (S, D) on the CPU, or (1, D)."""
        if self.backbone.spec.dimensions == 3:
            return cast("Tensor", self.backbone(channels_MSHW[None]).float().cpu())
        slices_SMHW = channels_MSHW.transpose(0, 1)
        return torch.cat([self.backbone(part).float().cpu() for part in torch.split(slices_SMHW, batch_size)])
