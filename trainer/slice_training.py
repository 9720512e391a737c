"""A run on cached features whose backbone has learnt from slices before; see `trainer.config.SliceTrainingConfig`.

Cohort → prepared shards with slice labels → adapters → features of the adapted backbone → what every cached run does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry
from engine.models.classifier import MoLREClassifier
from engine.progress import Context
from trainer.checkpoints import EpochRecord
from trainer.cohorts.load import LoadedCohort
from trainer.config import TrainConfig
from trainer.end_to_end import PREPARED_FOLDER, adapted_backbone, open_team
from trainer.volumes.build import prepare_cohort
from trainer.volumes.features import features_of_prepared
from trainer.volumes.slices import SliceTraining, train_on_slices

SLICE_CHECKPOINT_FILE = "slice_checkpoint.safetensors"
FEATURES_FOLDER = "features"


@dataclass(frozen=True, eq=False)
class AdaptedCohort:
    """A cohort's features through a backbone whose adapters have learnt, the backbone, and how its adapters learnt."""

    loaded: LoadedCohort
    backbone: Backbone
    learnt: SliceTraining

    def begin_with_its_head(self, classifier: MoLREClassifier) -> None:
        """Let the head of an untrained classifier, in place, begin as the one that learnt from slices.

        The logit of a study is then a mean of its slices' logits, weighted by attention.
        """
        if classifier.fusion is None:
            classifier.head.load_state_dict(self.learnt.head.state_dict())


def cohort_of_adapted_backbone(
    config: TrainConfig,
    out: Path,
    registry: BackboneRegistry,
    context: Context,
    backbones: Path | None = None,
    shards: Path | None = None,
) -> AdaptedCohort:
    """Train the adapters of a backbone, and return it with the cohort as it sees it.

    Parameters
    ----------
    config
        With slice training, already the backbone's.
    out, backbones, shards
        As in `trainer.training.run_training`; shards are prepared into `out` where no other folder is named.

    Raises
    ------
    TrainingError
        If the run cannot go on.
    PackageError
        If the backbone has no weights here, or LoRA cannot be applied to it.
    Cancelled
        When the context says so; a second call goes on from what is there.
    """
    backbone = adapted_backbone(config, registry)  # First: what does not fit is said before hours of preparation.
    prepared = prepare_cohort(config, shards or out / PREPARED_FOLDER, context)
    checkpoint, team = out / SLICE_CHECKPOINT_FILE, open_team(config)
    learnt = train_on_slices(backbone, prepared, config, checkpoint, team, partial(_tell, context, config), context)
    folder = out / FEATURES_FOLDER
    features = features_of_prepared(prepared, config, folder, context, backbones, adapted=backbone)
    return AdaptedCohort(LoadedCohort(prepared.keys, features, prepared.words, prepared.document), backbone, learnt)


def _tell(context: Context, config: TrainConfig, record: EpochRecord) -> None:
    stage = config.slice_training
    of = record.epoch if stage is None else stage.epochs
    auc = "none" if record.validation_auc is None else f"{record.validation_auc:.3f}"
    context.progress(record.epoch, of, f"Adapters have learnt from slices; mean AUC over validation slices {auc}")
