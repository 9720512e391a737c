"""From Hounsfield volumes to cached backbone features. Shapes: S slices, d feature width."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import TrainingError
from engine.geometry import Volume
from engine.inference.array_cache import DIGEST_BYTES, MARK, ArrayCache
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


@dataclass(frozen=True)
class FeatureFile:
    """Where a study's features lie: little-endian float16 (S, d), from a byte of a file on."""

    path: Path
    offset: int
    shape: tuple[int, int]

    def read(self) -> NDArray[np.float16]:
        """Return them; TrainingError if the file is gone or too short."""
        n_bytes = 2 * self.shape[0] * self.shape[1]
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                content = stream.read(n_bytes)
        except OSError as error:
            raise self._lost() from error
        if len(content) != n_bytes:
            raise self._lost()
        return np.frombuffer(content, dtype="<f2").reshape(self.shape)

    def _lost(self) -> TrainingError:
        return TrainingError(
            f"The cached features {self.path} cannot be read any more; the run cannot go on without them.",
            hint="Start the run again: what is missing is computed again.",
            code="training.features_lost",
            kind="environment",
        )


class KeptStudy(StudyFeatures):
    """A study whose features stay on disk and are read whenever they are asked for, so that memory holds one batch."""

    file: FeatureFile

    def __init__(self, identifier: str, file: FeatureFile, labels_C: NDArray[np.int8], patient_key: str = "") -> None:
        facts = {"identifier": identifier, "file": file, "labels_C": labels_C, "patient_key": patient_key}
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    @property
    def features_SD(self) -> NDArray[np.float16]:
        """float16 (S, d), as the file has them."""
        return self.file.read()

    def labelled(self, identifier: str, labels_C: NDArray[np.int8], patient_key: str = "") -> StudyFeatures:
        """Return the same file under another name and other labels."""
        return KeptStudy(identifier, self.file, labels_C, patient_key)


class FeatureCache:
    """Features on disk, one file a study, named by the sha256 of everything that they depend on.

    Unlike a cache of prepared volumes it has no limit: a stopped run goes on from what is there. What it returns stays
    on disk until it is asked for, however large the cohort.

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
        """Return a study, or None if it is not there; the whole file is checked, and a damaged one is made anew."""
        found = self._cache.get(digest)
        if found is None or found.text.get("keys") != json.dumps(self.keys):
            return None
        rows, width = found.arrays["features"].shape
        place = FeatureFile(self.path(digest), _offset(self.path(digest)), (rows, width))
        return KeptStudy(found.text["identifier"], place, found.arrays["labels"])

    def put(self, digest: str, study: StudyFeatures) -> StudyFeatures:
        """Write a study and return it as `get` does; the file is whole or not there.

        Raises
        ------
        CacheError
            If it cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {"features": study.features_SD, "labels": study.labels_C}
        self._cache.put(digest, arrays, {"identifier": study.identifier, "keys": json.dumps(self.keys)})
        return self.get(digest) or study


def _offset(path: Path) -> int:
    """Return the byte at which the features begin, see `engine.inference.array_cache` for what stands before them."""
    start = len(MARK) + DIGEST_BYTES
    with path.open("rb") as stream:
        stream.seek(start)
        n_header = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(n_header))
    return start + 8 + n_header + int(header["features"]["data_offsets"][0])
