"""Where the loop's batches come from: labels of all studies at hand, what a network reads of them only when asked for.

Legend: B study, C finding, N all studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.datasets import StudyFeatures, collate, stack_labels


class StudyBatch(Protocol):
    """What the loop needs of a batch; the model reads the rest of it."""

    @property
    def identifiers(self) -> tuple[str, ...]:
        """What an error calls the studies."""

    @property
    def targets_BC(self) -> Tensor:
        """float32, 0 or 1."""

    @property
    def known_BC(self) -> Tensor:
        """Bool: whether there is a label."""

    @property
    def reviewed_B(self) -> Tensor:
        """Bool: the labels are readers' statements."""


@dataclass(frozen=True)
class Draw:
    """Which place of which epoch a study is shown at, so that what is drawn for it can be drawn again."""

    seed: int
    epoch: int
    places: tuple[int, ...]


class StudySource(Protocol):
    """All studies of a split, by number."""

    @property
    def labels_NC(self) -> NDArray[np.int8]:
        """1 present, 0 absent, -1 unknown."""

    @property
    def reviewed_N(self) -> NDArray[np.bool_]:
        """Whose labels are readers' statements."""

    def batch(self, chosen: Sequence[int], draw: Draw | None = None) -> StudyBatch:
        """Return studies by number; with a draw they are augmented, where the source does that."""


class CachedSource:
    """Studies whose features are in memory; they are never augmented.

    Parameters
    ----------
    studies
        At least one.
    """

    def __init__(self, studies: Sequence[StudyFeatures]) -> None:
        self._studies = studies
        self.labels_NC = stack_labels(studies)
        self.reviewed_N = np.array([study.reviewed for study in studies], dtype=np.bool_)

    def batch(self, chosen: Sequence[int], draw: Draw | None = None) -> StudyBatch:
        """Pad the features to the longest study."""
        return collate([self._studies[index] for index in chosen])
