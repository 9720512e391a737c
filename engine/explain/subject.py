"""The study that is being explained, and a finding's logit as a function of one slice's picture.

Legend: N pictures tried, M channel, S slice, H row, W column, D feature width, C finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InferenceError
from engine.explain.plain_head import plain_head
from engine.models.backbones.network import Backbone
from engine.models.classifier import MoLREClassifier
from engine.preprocess.spec import PreparedVolume
from engine.preprocess.windows import to_channels, to_volume
from engine.progress import NULL_CONTEXT, Context

_BATCH = 4


@dataclass(frozen=True, eq=False)
class Subject:
    """One analysed study with the model that analysed it.

    Attributes
    ----------
    classifier, backbone
        As the analysis used them, adapters included.
    finding_keys
        The classifier's findings, in its order.
    features_SD
        float32, computed in float32 by this backbone; one row for a network of whole volumes. Features of a faster,
        rounded run would not fit what the backbone says here, and the exact map would be refused.
    prepared
        What they were computed from.
    """

    classifier: MoLREClassifier
    backbone: Backbone
    finding_keys: tuple[str, ...]
    features_SD: NDArray[np.float32]
    prepared: PreparedVolume

    @property
    def is_volume(self) -> bool:
        """Whether the backbone sees the whole volume at once."""
        return self.backbone.spec.dimensions == 3

    @property
    def size_px(self) -> tuple[int, int]:
        """Rows and columns of a prepared slice."""
        return self.prepared.voxels_hu.shape[1], self.prepared.voxels_hu.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self.backbone.mean.device

    def finding_row(self, finding_key: str) -> int:
        """Return the finding's place among the logits.

        Raises
        ------
        InferenceError
            If the model does not predict it.
        """
        if finding_key not in self.finding_keys:
            raise _refused(f"the model does not predict {finding_key}", "finding")
        return self.finding_keys.index(finding_key)

    def feature_row(self, slice_index: int) -> int:
        """Return the row of `features_SD` that a prepared slice belongs to.

        Raises
        ------
        InferenceError
            If the study has no such slice.
        """
        n_slices = len(self.prepared.voxels_hu)
        if not 0 <= slice_index < n_slices:
            raise _refused(f"slice {slice_index} is not one of the study's {n_slices} prepared slices", "slice")
        return 0 if self.is_volume else slice_index

    def picture(self, slice_index: int) -> Tensor:
        """Return the channels (1, M, H, W) of one slice, on the backbone's device."""
        return self._channels(self.prepared.voxels_hu[slice_index])

    def plain_picture(self, slice_index: int) -> Tensor:
        """Return the channels (1, M, H, W) of the slice with plain brain in the head."""
        return self._channels(plain_head(self.prepared.voxels_hu[slice_index]))

    def network_input(self, slice_index: int) -> Tensor:
        """Return what the backbone sees: the slice (1, M, H, W), or the volume (1, M, S, H, W) that it is part of."""
        if not self.is_volume:
            return self.picture(slice_index)
        return self._on_device(to_volume(self.prepared.voxels_hu, self.prepared.spec)[None])

    def _channels(self, slice_hu: NDArray[np.float32]) -> Tensor:
        if not self.is_volume:
            return self._on_device(to_channels(slice_hu[None], self.prepared.spec.windows_hu))
        # Beside the whole volume, because a channel may be scaled by the volume's own range.
        beside_hu = np.concatenate([slice_hu[None], self.prepared.voxels_hu])
        return self._on_device(to_volume(beside_hu, self.prepared.spec)[None, :, 0])

    def _on_device(self, values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


class SliceLogit:
    """The logit of one finding as a function of one slice's channels, all else as it was.

    The whole model is in it: backbone with its adapters, MoLRE with its router, attention over all slices, head. The
    other slices' features are held, so that attention is a softmax of this slice's score against theirs. For a
    network of volumes the other slices' voxels are held.

    Parameters
    ----------
    subject, finding_key, slice_index
        What is asked.
    context
        Asked before every batch whether to stop; told of every batch if `expected` is set.
    expected
        How many pictures will be tried in all, for progress.
    """

    def __init__(
        self,
        subject: Subject,
        finding_key: str,
        slice_index: int,
        context: Context = NULL_CONTEXT,
        expected: int = 0,
        text: str = "Explaining",
    ) -> None:
        self.subject = subject
        self.row = subject.finding_row(finding_key)
        self.slice_index = slice_index
        self._context, self._expected, self._text, self._done = context, expected, text, 0
        self._volume = subject.network_input(slice_index) if subject.is_volume else None
        self._others_score, self._others_D = _pooled_others(subject, subject.feature_row(slice_index))

    @property
    def batch(self) -> int:
        """How many pictures to try at once."""
        return _BATCH if self._volume is None else 1

    def __call__(self, x_NMHW: Tensor) -> Tensor:
        """Return the logits (N,) of N versions of the slice."""
        parts = [self._one_batch(part) for part in torch.split(x_NMHW, self.batch)]
        return torch.cat(parts)

    def of_features(self, features_ND: Tensor) -> Tensor:
        """Return the logits (N,) that features in place of the slice's would give."""
        classifier = self.subject.classifier
        features_ND = features_ND.float().to(self._others_D.device)
        adapted_ND = classifier.adapt(features_ND).adapted
        share_N1 = torch.sigmoid(_score(classifier, adapted_ND) - self._others_score).unsqueeze(-1)
        pooled_ND = share_N1 * adapted_ND + (1 - share_N1) * self._others_D
        logits_NC: Tensor = classifier.head(classifier.fuse(pooled_ND))
        return logits_NC[:, self.row]

    def _one_batch(self, x_NMHW: Tensor) -> Tensor:
        self._context.raise_if_cancelled()
        logits_N = self.of_features(self.subject.backbone(self._whole(x_NMHW)))
        self._done += len(x_NMHW)
        if self._expected:
            self._context.progress(min(self._done, self._expected), self._expected, self._text)
        return logits_N

    def _whole(self, x_NMHW: Tensor) -> Tensor:
        """Put the pictures where the backbone expects them."""
        if self._volume is None:
            return x_NMHW
        before, after = self._volume[:, :, : self.slice_index], self._volume[:, :, self.slice_index + 1 :]
        parts = [part.expand(len(x_NMHW), -1, -1, -1, -1) for part in (before, after)]
        return torch.cat([parts[0], x_NMHW.unsqueeze(2), parts[1]], dim=2)


def _pooled_others(subject: Subject, row: int) -> tuple[Tensor, Tensor]:
    """Return the other slices' log-sum of scores and pooled feature; a score of -inf where there are none."""
    classifier = subject.classifier
    features_SD = torch.from_numpy(np.delete(subject.features_SD, row, axis=0)).to(classifier.head.weight.device)
    with torch.no_grad():
        if len(features_SD) == 0:
            return features_SD.new_tensor(-torch.inf), features_SD.new_zeros(features_SD.shape[1])
        adapted_SD = classifier.adapt(features_SD).adapted
        scores_S = _score(classifier, adapted_SD)
        return torch.logsumexp(scores_S, dim=0), torch.softmax(scores_S, dim=0) @ adapted_SD


def _score(classifier: MoLREClassifier, adapted: Tensor) -> Tensor:
    return adapted @ classifier.pooling.query_D / math.sqrt(adapted.shape[-1])


def _refused(reason: str, code: str) -> InferenceError:
    return InferenceError(
        f"The map cannot be made: {reason}.",
        hint="Choose a finding that the model covers, a slice of the study and a method of the list.",
        code=f"explain.{code}",
    )
