"""The synthetic cohort: which phantoms each split holds, and their features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from engine.inference.array_cache import code_digest
from engine.models.backbones.registry import open_registry
from engine.phantom.study import PAINTED_KEYS, generate
from engine.progress import NULL_CONTEXT, Context
from trainer.cohorts.extraction import compute_all, open_extractor, runtime_name
from trainer.config import SPLITS, ImportedCohortConfig, PhantomCohortConfig, Split, TrainConfig, canonical_digest
from trainer.datasets import StudyFeatures
from trainer.features import FeatureCache, volume_features

SEEDS_PER_COHORT = 1_000_000
SEEDS_PER_SPLIT = 200_000


@dataclass(frozen=True)
class PhantomCase:
    """One study to be made: `seed` decides everything about it."""

    split: Split
    seed: int

    @property
    def identifier(self) -> str:
        """What errors and tables call it."""
        return f"phantom-{self.seed}"


def plan(cohort: PhantomCohortConfig) -> tuple[PhantomCase, ...]:
    """List all cases, split by split.

    Every split has a range of seeds of its own, whatever the sizes of the others: no phantom is in two splits, and
    a larger split keeps the studies of a smaller one.
    """
    return tuple(
        PhantomCase(split, cohort.seed * SEEDS_PER_COHORT + number * SEEDS_PER_SPLIT + index)
        for number, split in enumerate(SPLITS)
        for index in range(cohort.size(split))
    )


def cohort_features(
    config: TrainConfig, cache_folder: Path, context: Context = NULL_CONTEXT, backbones: Path | None = None
) -> dict[Split, tuple[StudyFeatures, ...]]:
    """Return the features of every case, from the cache where they are there.

    Stopped at any point, a second call goes on with what is missing. `backbones` is the folder of the user's weights.

    Raises
    ------
    Cancelled
        Between two studies.
    """
    cases = plan(_phantoms(config))
    cache = FeatureCache(cache_folder, PAINTED_KEYS)
    digests = {case: feature_digest(case, config, backbones) for case in cases}
    found = {case: cached for case in cases if (cached := cache.get(digests[case])) is not None}
    missing = [case for case in cases if case not in found]
    compute = partial(extract_case, config=config, backbones=backbones)
    for case, study in compute_all(missing, compute, config.workers, context):
        found[case] = cache.put(digests[case], study)
        context.progress(len(found), len(cases), "Painting phantoms and computing features")
    return {split: tuple(found[case] for case in cases if case.split == split) for split in SPLITS}


def feature_digest(case: PhantomCase, config: TrainConfig, backbones: Path | None = None) -> str:
    """Return the sha256 of all that a case's features depend on: seed, specs, weights, runtime, our code."""
    return canonical_digest(
        {
            "seed": case.seed,
            "phantom": _phantoms(config).spec.model_dump(mode="json"),
            "preprocessing": config.preprocessing.model_dump(mode="json"),
            "backbone": [config.backbone, open_registry(backbones).weights_digest(config.backbone)],
            "runtime": runtime_name(),
            "code": _code_digest(),
        }
    )


def extract_case(
    case: PhantomCase, config: TrainConfig, backbones: Path | None = None, context: Context = NULL_CONTEXT
) -> StudyFeatures:
    """Paint one phantom, prepare it and compute its features."""
    study = generate(case.seed, _phantoms(config).spec)
    extractor = open_extractor(config.backbone, backbones)
    features_SD = volume_features(study.volume, config.preprocessing, extractor, context)
    labels_C = np.array([study.labels[key] for key in PAINTED_KEYS], dtype=np.int8)
    return StudyFeatures(case.identifier, features_SD, labels_C)


def _phantoms(config: TrainConfig) -> PhantomCohortConfig:
    if isinstance(config.cohort, ImportedCohortConfig):
        raise TypeError("this run has an imported cohort, not one of phantoms")
    return config.cohort


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Name the sources that paint and prepare: a changed painter never meets features of the old one."""
    return code_digest(("engine.phantom", "engine.preprocess"))
