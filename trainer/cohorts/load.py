"""The studies of a run, of whatever kind of cohort its configuration names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import TrainingError
from engine.phantom.study import PAINTED_KEYS
from engine.progress import NULL_CONTEXT, Context
from trainer.cohorts.imported import imported_features, require_every_side
from trainer.cohorts.importers.registry import importers
from trainer.cohorts.manifest import CohortManifest, read_manifest, trainable_keys
from trainer.cohorts.phantom import cohort_features
from trainer.cohorts.words import CohortWords, imported_words, phantom_words
from trainer.config import ImportedCohortConfig, Split, TrainConfig
from trainer.datasets import StudyFeatures
from trainer.volumes.build import prepare_cohort
from trainer.volumes.features import features_of_prepared


@dataclass(frozen=True, eq=False)
class LoadedCohort:
    """Features and labels by side, the findings that the labels are of, and how to speak of it all.

    Attributes
    ----------
    document
        For the sidecar of the reference cohort.
    """

    keys: tuple[str, ...]
    features: Mapping[Split, Sequence[StudyFeatures]]
    words: CohortWords
    document: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse a cohort whose test part is learnt from.

        Raises
        ------
        TrainingError
            If a test study, or another study of its patient, is on another side too.
        """
        tested = _names(self.features["test"])
        shared = [split for split, studies in self.features.items() if split != "test" and tested & _names(studies)]
        if shared:
            raise TrainingError(
                f"Studies or patients of the test part are in {' and '.join(shared)} too; nothing was trained.",
                hint="Import the cohort again; the test part must never be learnt from.",
                code="cohort.test_part_in_use",
            )


def load_cohort(
    config: TrainConfig,
    cache_folder: Path,
    context: Context = NULL_CONTEXT,
    backbones: Path | None = None,
    shards: Path | None = None,
) -> LoadedCohort:
    """Return the studies of a run, with features from the cache where they are there.

    With a folder of shards (see `trainer.volumes.build`), features are those of the prepared studies in it; what is not
    there yet is prepared into it.

    Raises
    ------
    TrainingError
        If the manifest is damaged, a side is empty, or there is no finding to learn.
    Cancelled
        Between two studies.
    """
    if shards is not None:
        prepared = prepare_cohort(config, shards, context)
        features = features_of_prepared(prepared, config, cache_folder, context, backbones)
        return LoadedCohort(prepared.keys, features, prepared.words, prepared.document)
    if isinstance(config.cohort, ImportedCohortConfig):
        return _imported(read_manifest(config.cohort.manifest), config, cache_folder, context, backbones)
    features = cohort_features(config, cache_folder, context, backbones)
    document = config.cohort.model_dump(mode="json")
    return LoadedCohort(PAINTED_KEYS, features, phantom_words(config.cohort), document)


def _imported(
    manifest: CohortManifest, config: TrainConfig, cache_folder: Path, context: Context, backbones: Path | None
) -> LoadedCohort:
    keys = trainable_keys(manifest)
    if not keys:
        raise TrainingError(
            f"The cohort {manifest.digest[:12]} has no finding with both a positive and a negative study to train on.",
            hint="Add studies, or label more findings.",
            code="cohort.nothing_to_learn",
        )
    features, set_aside = imported_features(manifest, keys, config, cache_folder, context, backbones)
    require_every_side(manifest, features, set_aside)
    title = importers()[manifest.kind_of_cohort].title
    used = {split: len(studies) for split, studies in features.items()}
    document = {"kind": "imported", "cohort": manifest.kind_of_cohort, "manifest_digest": manifest.digest}
    return LoadedCohort(keys, features, imported_words(manifest, title, used, len(set_aside)), document)


def _names(studies: Sequence[StudyFeatures]) -> set[str]:
    return {study.identifier for study in studies} | {study.patient_key for study in studies if study.patient_key}
