"""Features of the frozen backbone from prepared shards: nothing is painted, read from DICOM or prepared again.

Voxels in shards are whole Hounsfield units, so the features are those of the rounded volume, not to the bit those of
the volume itself; the digests that they are kept under differ. Legend: S slice, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.inference.array_cache import array_digest, code_digest
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import open_registry
from engine.models.lora import adapter_state
from engine.preprocess.spec import PreprocessSpec
from engine.progress import NULL_CONTEXT, CancelOnly, Context
from trainer.cohorts.extraction import COMPUTING, open_extractor, runtime_name
from trainer.config import SPLITS, Split, TrainConfig, canonical_digest
from trainer.datasets import StudyFeatures
from trainer.features import FeatureCache, half_precision
from trainer.volumes.build import PreparedCohort
from trainer.volumes.shards import ShardEntry, read_voxels

_NO_LABELS = np.zeros(0, dtype=np.int8)


@dataclass(frozen=True, eq=False)
class _Voxels:
    """What the extractor reads."""

    voxels_hu: NDArray[np.float32]
    spec: PreprocessSpec


def features_of_prepared(
    prepared: PreparedCohort,
    config: TrainConfig,
    cache_folder: Path,
    context: Context = NULL_CONTEXT,
    backbones: Path | None = None,
    splits: Sequence[Split] = SPLITS,
    adapted: Backbone | None = None,
) -> dict[Split, tuple[StudyFeatures, ...]]:
    """Return the features of every study of a prepared cohort, from the cache where they are there.

    One process computes with all of torch's threads, while the next study is read. Stopped at any point, a second call
    goes on with what is missing.

    Parameters
    ----------
    prepared
        Of the grid of ``config.preprocessing``; its windows may be others, as they are applied here.
    config
        Names the backbone; see `TrainConfig.for_backbone` for what the backbone decides.
    cache_folder
        One folder may serve several backbones and cohorts.
    backbones
        The folder of the user's weights; None: only bundled ones.
    splits
        The others are empty in what is returned.
    adapted
        The backbone with trained adapters, on the CPU; None: as it is stored.

    Raises
    ------
    TrainingError
        If a shard is damaged, or a feature does not fit half precision.
    InferenceError
        If the backbone fails on a study.
    Cancelled
        Between two studies, or two batches of one.
    """
    # Labels are the shards': another label of a study leaves its features as they were.
    cache = FeatureCache(cache_folder, ())
    chosen = {split: prepared.entries[split] if split in splits else () for split in SPLITS}
    every = [entry for entries in chosen.values() for entry in entries]
    adapter = "" if adapted is None else adapter_digest(adapted)
    digests = {entry: voxel_features_digest(entry, config, backbones, adapter) for entry in every}
    found: dict[ShardEntry, StudyFeatures] = {}
    for entry in every:
        context.raise_if_cancelled()
        cached = cache.get(digests[entry])
        if cached is not None:
            found[entry] = cached
    missing = [entry for entry in every if entry not in found]
    extractor = partial(_extractor, config.backbone, backbones, adapted)
    for entry, features_SD in _computed(missing, config, context, extractor):
        found[entry] = cache.put(digests[entry], StudyFeatures(entry.identifier, features_SD, _NO_LABELS))
        context.progress(len(found), len(every), f"Computing features with {config.backbone}")
    return {
        split: tuple(found[entry].labelled(entry.identifier, entry.labels_C, entry.patient_key) for entry in entries)
        for split, entries in chosen.items()
    }


def voxel_features_digest(
    entry: ShardEntry, config: TrainConfig, backbones: Path | None = None, adapter: str = ""
) -> str:
    """Return the sha256 of all that features from a shard depend on: voxels, windows, weights, runtime, and code.

    `adapter` is the digest of the backbone's adapters; empty: it has none.
    """
    spec = config.preprocessing
    return canonical_digest(
        {
            "voxels": entry.digest,
            "windows": [spec.windows_hu, spec.min_max],
            "backbone": [config.backbone, _weights_digest(config.backbone, backbones), *filter(None, [adapter])],
            "runtime": runtime_name(),
            "code": _code_digest(),
        }
    )


def _computed(
    entries: Sequence[ShardEntry], config: TrainConfig, context: Context, open_it: Callable[[], FeatureExtractor]
) -> Iterator[tuple[ShardEntry, NDArray[np.float16]]]:
    if not entries:
        return  # Without a study there is no need of a backbone.
    extractor = open_it()
    inner = CancelOnly(context)
    for entry, voxels_hu in _read_ahead(entries):
        context.raise_if_cancelled()
        voxels = _Voxels(voxels_hu.astype(np.float32), config.preprocessing)
        yield entry, half_precision(extractor.features(voxels, inner))


def _extractor(backbone: str, backbones: Path | None, adapted: Backbone | None) -> FeatureExtractor:
    if adapted is None:
        return open_extractor(backbone, backbones)
    return FeatureExtractor(adapted, choose_device("cpu"), COMPUTING)


def adapter_digest(backbone: Backbone) -> str:
    """Return the sha256 over the adapters of a backbone, names and values."""
    state = adapter_state(backbone)
    return canonical_digest([[name, array_digest(state[name].cpu().numpy())] for name in sorted(state)])


def _read_ahead(entries: Sequence[ShardEntry]) -> Iterator[tuple[ShardEntry, NDArray[np.int16]]]:
    """Yield every study's voxels, and read the next one meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        following = pool.submit(read_voxels, entries[0])
        for entry, after in zip(entries, [*entries[1:], None], strict=True):
            voxels_hu = following.result()
            if after is not None:
                following = pool.submit(read_voxels, after)
            yield entry, voxels_hu


@lru_cache(maxsize=8)
def _weights_digest(backbone: str, backbones: Path | None) -> str:
    return open_registry(backbones).weights_digest(backbone)


@lru_cache(maxsize=1)
def _code_digest() -> str:
    return code_digest(("engine.preprocess.windows",))
