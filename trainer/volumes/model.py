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
        """Return ``logits_BC``."""
        if self.backbone.spec.dimensions == 3:
            features_BD = self.backbone(batch.pictures_BMSHW)
            return cast("Tensor", self.classifier(features_BD.float().unsqueeze(1)).logits_BC)
        pictures_BSMHW = batch.pictures_BMSHW.transpose(1, 2)
        features_ND = self.backbone(pictures_BSMHW[batch.mask_BS]).float()
        features_BSD = features_ND.new_zeros((*batch.mask_BS.shape, features_ND.shape[1]))
        features_BSD = features_BSD.masked_scatter(batch.mask_BS.unsqueeze(2), features_ND)
        return cast("Tensor", self.classifier(features_BSD, batch.mask_BS).logits_BC)

    @torch.no_grad()
    def study_features(self, channels_MSHW: Tensor, batch_size: int = 16) -> Tensor:
        """Return the features of one study as the classifier reads them, float32 (S, D) on the CPU, or (1, D)."""
        if self.backbone.spec.dimensions == 3:
            return cast("Tensor", self.backbone(channels_MSHW[None]).float().cpu())
        slices_SMHW = channels_MSHW.transpose(0, 1)
        return torch.cat([self.backbone(part).float().cpu() for part in torch.split(slices_SMHW, batch_size)])
