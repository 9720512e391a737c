"""Slice features from the backbone, batch by batch. Legend: S slice, D feature width, N slices of a batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import InferenceError
from engine.inference.device import repeatable, slices_per_batch
from engine.models.backbones.network import Backbone
from engine.preprocess.spec import PreparedVolume
from engine.preprocess.windows import to_channels
from engine.progress import NULL_CONTEXT, Context


class FeatureExtractor:
    """Runs a backbone over prepared slices; needs no model package, so that training can start from it.

    Attributes
    ----------
    device
        Where it runs now; becomes the CPU when the GPU's memory does not hold even one slice.
    warnings
        What the reader should know about that.
    """

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        self.backbone = backbone.to(device)
        self.device = device
        self.warnings: tuple[str, ...] = ()
        self._batch = slices_per_batch(device)

    @property
    def numerics(self) -> dict[str, str | int]:
        """What decides the last bits of a feature besides the weights: cached ones are used only where it is equal."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {"device": name, "precision": "float32", "batch": self._batch}

    def features(self, prepared: PreparedVolume, context: Context = NULL_CONTEXT) -> NDArray[np.float32]:
        """Return the pooled feature of every prepared slice.

        Parameters
        ----------
        prepared
            The study; its spec gives the windows that become channels.
        context
            Told after every batch; asked before every batch whether to stop.

        Returns
        -------
        NDArray[np.float32]
            (S, D).

        Raises
        ------
        InferenceError
            If a feature is not finite, or the memory of the device does not hold one slice.
        Cancelled
            If the context says so.
        """
        features_SD = self._features_or_less_memory(prepared, context)
        if not np.isfinite(features_SD).all():
            raise InferenceError(
                f"The backbone {self.backbone.spec.display_name} gave features that are not finite; nothing is shown.",
                hint="Run the study on the CPU; if that fails too, install the backbone's weights again.",
                code="inference.not_finite",
                kind="environment",
            )
        return features_SD

    def _features_or_less_memory(self, prepared: PreparedVolume, context: Context) -> NDArray[np.float32]:
        while True:
            try:
                # From the first slice on, so that all slices of a study see the same batch size.
                return self._all_batches(prepared, context)
            except torch.OutOfMemoryError as error:
                self._need_less_memory(error)

    def _all_batches(self, prepared: PreparedVolume, context: Context) -> NDArray[np.float32]:
        total = len(prepared.voxels_hu)
        parts: list[NDArray[np.float32]] = []
        for start in range(0, total, self._batch):
            context.raise_if_cancelled()
            voxels_hu = prepared.voxels_hu[start : start + self._batch]
            parts.append(self._one_batch(to_channels(voxels_hu, prepared.spec.windows_hu)))
            context.progress(start + len(voxels_hu), total, "Reading slices with the backbone")
        return np.concatenate(parts)

    def _one_batch(self, channels_NMHW: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), repeatable():
            features_ND: torch.Tensor = self.backbone(torch.from_numpy(channels_NMHW).to(self.device))
            return np.asarray(features_ND.float().cpu().numpy(), dtype=np.float32)

    def _need_less_memory(self, error: torch.OutOfMemoryError) -> None:
        """Halve the batch; at one slice move from the GPU to the CPU; on the CPU give up."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._batch > 1:
            self._batch //= 2
            return
        if self.device.type == "cpu":
            raise InferenceError(
                "There is not enough memory to run the backbone on a single slice.",
                hint="Close other programs and run the study again.",
                code="inference.memory",
                kind="environment",
            ) from error
        self.device = torch.device("cpu")
        self.backbone.to(self.device)
        self._batch = slices_per_batch(self.device)
        self.warnings = ("The GPU's memory did not hold one slice; the study was computed on the CPU.",)
