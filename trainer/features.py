"""From Hounsfield volumes to cached backbone features. Shapes: S slices, d feature width."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import TrainingError
from engine.geometry import Volume
from engine.inference.array_cache import ArrayCache
from engine.inference.features import FeatureExtractor
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from engine.progress import NULL_CONTEXT, CancelOnly, Context
from trainer.datasets import StudyFeatures


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

    Unlike a cache of prepared volumes it has no limit: a stopped run goes on from what is there.

    Parameters
    ----------
    folder
        Made when the first study is put.
    keys
        The finding keys of the labels, in order.
    """

    def __init__(self, folder: Path, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self._cache = ArrayCache(folder)

    def path(self, digest: str) -> Path:
        """Return where the features with this digest are, or would be."""
        return self._cache.path(digest)

    def get(self, digest: str) -> StudyFeatures | None:
        """Return a study, or None if it is not there; a damaged file counts as not there and is made anew."""
        found = self._cache.get(digest)
        if found is None or found.text.get("keys") != json.dumps(self.keys):
            return None
        return StudyFeatures(found.text["identifier"], found.arrays["features"], found.arrays["labels"])

    def put(self, digest: str, study: StudyFeatures) -> None:
        """Write a study; the file is whole or not there. CacheError if it cannot be written."""
        arrays: dict[str, NDArray[Any]] = {"features": study.features_SD, "labels": study.labels_C}
        self._cache.put(digest, arrays, {"identifier": study.identifier, "keys": json.dumps(self.keys)})
