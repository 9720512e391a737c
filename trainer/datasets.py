"""Studies as the loop sees them: slice features, labels with holes, and padded batches.

Shapes: B studies, S slices, d feature width, C findings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class StudyFeatures:
    """One study.

    Attributes
    ----------
    identifier
        What an error may call it: a phantom's seed or a file path, never a patient.
    features_SD
        float16 (S, d): the backbone's output, rounded once here so that a run, its reference cohort and a later
        retraining see the same numbers.
    labels_C
        int8 (C,): 1 present, 0 absent, -1 unknown.
    reviewed
        Whether the labels are readers' statements; these are weighed in a way of their own, see `trainer.loop`.
    patient_key
        The same for studies of one patient, never the patient's own identifier; empty where the study is the only one.
    """

    identifier: str
    features_SD: NDArray[np.float16]
    labels_C: NDArray[np.int8]
    reviewed: bool = False
    patient_key: str = ""

    def labelled(self, identifier: str, labels_C: NDArray[np.int8], patient_key: str = "") -> StudyFeatures:
        """Return the same features under another name and other labels."""
        return StudyFeatures(identifier, self.features_SD, labels_C, False, patient_key)

    def digest(self) -> str:
        """Return the sha256 of the feature bytes, little-endian float16, row by row."""
        return hashlib.sha256(np.ascontiguousarray(self.features_SD, dtype="<f2").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Batch:
    """Studies padded to the longest.

    Attributes
    ----------
    features_BSD, mask_BS
        float32, and bool: True is a slice.
    targets_BC, known_BC
        float32 0 or 1, and bool.
    reviewed_B
        bool: the labels are readers' statements.
    """

    identifiers: tuple[str, ...]
    features_BSD: Tensor
    mask_BS: Tensor
    targets_BC: Tensor
    known_BC: Tensor
    reviewed_B: Tensor


def collate(studies: Sequence[StudyFeatures]) -> Batch:
    """Pad studies with zeros to the longest of them."""
    features = [study.features_SD for study in studies]  # Once each: a study may read them from disk.
    longest = max(len(features_SD) for features_SD in features)
    features_BSD = np.zeros((len(studies), longest, features[0].shape[1]), dtype=np.float32)
    mask_BS = np.zeros((len(studies), longest), dtype=np.bool_)
    for row, features_SD in enumerate(features):
        features_BSD[row, : len(features_SD)] = features_SD
        mask_BS[row, : len(features_SD)] = True
    labels_BC = np.stack([study.labels_C for study in studies])
    return Batch(
        identifiers=tuple(study.identifier for study in studies),
        features_BSD=torch.from_numpy(features_BSD),
        mask_BS=torch.from_numpy(mask_BS),
        targets_BC=torch.from_numpy((labels_BC == 1).astype(np.float32)),
        known_BC=torch.from_numpy(labels_BC != UNKNOWN),
        reviewed_B=torch.tensor([study.reviewed for study in studies]),
    )


def in_order(studies: Sequence[StudyFeatures], batch_size: int) -> Iterator[Batch]:
    """Yield batches in the order given."""
    for start in range(0, len(studies), batch_size):
        yield collate(studies[start : start + batch_size])


def stack_labels(studies: Sequence[StudyFeatures]) -> NDArray[np.int8]:
    """Return the labels of all studies, int8 (N, C)."""
    return np.stack([study.labels_C for study in studies])


def prevalence(labels_NC: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the share of positives among the known labels of every finding, float64 (C,); 0.5 where none is known."""
    known = (labels_NC != UNKNOWN).sum(axis=0)
    positive = (labels_NC == 1).sum(axis=0)
    return np.where(known > 0, positive / np.maximum(known, 1), 0.5)
