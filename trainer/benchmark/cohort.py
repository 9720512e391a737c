"""The studies of a benchmark: prepared once, put through each backbone once, and shared by all its runs."""

from __future__ import annotations

from pathlib import Path

from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import open_registry
from engine.models.lora import package_backbone
from engine.models.package import load_package
from engine.progress import NULL_CONTEXT, Context
from trainer.benchmark.config import BenchmarkConfig
from trainer.cohorts.load import LoadedCohort
from trainer.config import Split, TrainConfig, canonical_digest
from trainer.volumes.build import PreparedCohort, prepare_cohort
from trainer.volumes.features import features_of_prepared

SHARDS_FOLDER = "cohort/prepared"
FEATURES_FOLDER = "cohort/features"
# A benchmark calibrates nothing.
READ_SPLITS: tuple[Split, ...] = ("train", "validate", "test")


class Studies:
    """What the runs read. Of features, those of one backbone are held at a time.

    Parameters
    ----------
    config
        The benchmark, which says how many studies lie in a shard and how many processes prepare.
    out
        The output folder; shards lie under it unless the configuration names another folder.
    backbones
        The folder of the user's weights.
    """

    def __init__(self, config: BenchmarkConfig, out: Path, backbones: Path | None = None) -> None:
        self.shards = config.shards or out / SHARDS_FOLDER
        self._features = out / FEATURES_FOLDER
        self._config = config
        self._backbones = backbones
        self._prepared: dict[str, PreparedCohort] = {}
        self._loaded: tuple[str, LoadedCohort] | None = None

    def make_ready(self, run: TrainConfig, context: Context = NULL_CONTEXT) -> None:
        """Prepare or compute what a run reads. Raises as `prepared` and `loaded`."""
        if run.mode == "end_to_end":
            self.prepared(run, context)
        else:
            self.loaded(run, context)

    def prepared(self, run: TrainConfig, context: Context = NULL_CONTEXT) -> PreparedCohort:
        """Return the cohort in shards, as a run's preparation has it; what is missing is made.

        Raises
        ------
        TrainingError
            If it cannot be.
        Cancelled
            When the context says so; what was made stays.
        """
        key = run.preprocessing.model_dump_json()
        if key not in self._prepared:
            # How many studies lie in a shard is part of its name, so it must not differ between the arms.
            alike = run.model_copy(update={"end_to_end": self._config.end_to_end})
            self._prepared[key] = prepare_cohort(alike, self.shards, context)
        return self._prepared[key]

    def loaded(self, run: TrainConfig, context: Context = NULL_CONTEXT) -> LoadedCohort:
        """Return the cohort as the backbone's features; what is missing is computed.

        Raises
        ------
        TrainingError
            If it cannot be.
        Cancelled
            When the context says so; what was computed stays.
        """
        key = canonical_digest([run.backbone, run.preprocessing.model_dump(mode="json")])
        if self._loaded is None or self._loaded[0] != key:
            prepared = self.prepared(run, context)
            self._loaded = None  # Not two backbones' features in memory at once.
            features = features_of_prepared(
                prepared, run, self._features, context, self._backbones, READ_SPLITS, self._adapted()
            )
            self._loaded = (key, LoadedCohort(prepared.keys, features, prepared.words, prepared.document))
        return self._loaded[1]

    def _adapted(self) -> Backbone | None:
        """Return the backbone with the adapters that the configuration names."""
        if self._config.adapters is None:
            return None
        registry = open_registry(self._backbones)
        return package_backbone(load_package(self._config.adapters, registry), registry)
