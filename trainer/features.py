"""From Hounsfield volumes to cached backbone features. Shapes: S slices, d feature width."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from engine.errors import TrainingError
from engine.geometry import Volume
from engine.inference.features import FeatureExtractor
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from engine.progress import NULL_CONTEXT, CancelOnly, Context
from trainer.datasets import StudyFeatures
from trainer.files import write_atomically


def volume_features(
    volume: Volume, spec: PreprocessSpec, extractor: FeatureExtractor, context: Context = NULL_CONTEXT
) -> NDArray[np.float16]:
    """Prepare a volume and return the backbone's features of its slices, float16 (S, d).

    Raises
    ------
    TrainingError
        If a feature does not fit half precision.
    InferenceError, GeometryError
        If the volume cannot be prepared, or the backbone fails on it.
    """
    inner = CancelOnly(context)
    return half_precision(extractor.features(prepare(volume, spec, inner), inner))


def half_precision(features_SD: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round finite features to float16; TrainingError if one does not fit."""
    largest = np.finfo(np.float16).max
    if not np.all(np.abs(features_SD) <= largest):
        raise TrainingError(
            f"The backbone gave a feature beyond {largest:.0f}, which half precision does not hold.",
            hint="Check the study's Hounsfield values and the backbone's weights.",
            code="training.feature_range",
        )
    return features_SD.astype(np.float16)


class FeatureCache:
    """Features on disk, one file a study, named by the sha256 of everything that they depend on.

    Parameters
    ----------
    folder
        Made when the first study is put.
    keys
        The finding keys of the labels, in order.
    """

    def __init__(self, folder: Path, keys: tuple[str, ...]) -> None:
        self.folder = folder
        self.keys = keys

    def path(self, digest: str) -> Path:
        """Return where the features with this digest are, or would be."""
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def get(self, digest: str) -> StudyFeatures | None:
        """Return a study, or None if it is not there; a damaged file counts as not there and is made anew."""
        path = self.path(digest)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="np") as file:
                header = file.metadata()
                study = StudyFeatures(header["identifier"], file.get_tensor("features"), file.get_tensor("labels"))
                return study if tuple(json.loads(header["keys"])) == self.keys else None
        except (SafetensorError, OSError, KeyError, ValueError):
            path.unlink(missing_ok=True)
            return None

    def put(self, digest: str, study: StudyFeatures) -> None:
        """Write a study; the file is whole or not there."""
        tensors: dict[str, NDArray[Any]] = {
            "features": np.ascontiguousarray(study.features_SD),
            "labels": np.ascontiguousarray(study.labels_C),
        }
        header = {"identifier": study.identifier, "keys": json.dumps(self.keys)}
        write_atomically(self.path(digest), save(tensors, metadata=header))
