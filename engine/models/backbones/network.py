"""A frozen pretrained network behind one interface. Legend: N slice, M channel, H row, W column, D feature width."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from engine.models.backbones.spec import BackboneEntry, BackboneSpec


class Backbone(nn.Module):
    """The network of one `BackboneEntry` with its published weights.

    Frozen, and always in evaluation mode, so that batch normalisation keeps the published statistics; `train` has no
    effect. LoRA adapters that are added later stay trainable.

    Attributes
    ----------
    spec
        The facts about the network.
    network
        The timm module, classification layer included.

    Raises
    ------
    PackageError
        If the weights are missing or do not fit.
    """

    mean_M11: Tensor
    std_M11: Tensor

    def __init__(self, entry: BackboneEntry) -> None:
        super().__init__()
        self.spec: BackboneSpec = entry.spec
        self._entry = entry
        self.network = entry.build_network()
        self.network.load_state_dict(entry.convert_checkpoint(entry.read_checkpoint(), self.network.state_dict()))
        self.register_buffer("mean_M11", torch.tensor(entry.spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std_M11", torch.tensor(entry.spec.std).view(-1, 1, 1), persistent=False)
        self.requires_grad_(False)
        # Convolutions on two CPU cores take two thirds of the time with the channels last.
        self.to(memory_format=torch.channels_last)
        self.eval()

    def forward(self, x_NMHW: Tensor) -> Tensor:
        """Return the pooled features before the classification layer.

        Parameters
        ----------
        x_NMHW
            float32, windows scaled to 0..1; the mean and standard deviation are applied here.

        Returns
        -------
        Tensor
            ``features_ND``, float32.
        """
        x_NMHW = ((x_NMHW - self.mean_M11) / self.std_M11).contiguous(memory_format=torch.channels_last)
        features = self.network.forward_features(x_NMHW)  # type: ignore[operator]
        features_ND: Tensor = self.network.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return features_ND

    def weights_digest(self) -> str:
        """Return the sha256 of the published checkpoint file."""
        return self._entry.weights_digest()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is asked for."""
        return super().train(False)
