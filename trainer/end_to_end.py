"""A run end to end: cohort → prepared shards → fit with adapters in the backbone → the results of `trainer.training`.

Every process runs it; number 0 prepares, evaluates and writes. Under the output folder it adds ``prepared/`` to what a
run on cached features writes, unless it is given another folder of shards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from engine.errors import TrainingError
from engine.inference.device import choose_device
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone
from engine.models.backbones.weights import BackboneStore
from engine.models.fine_tuning import Origin, store_fine_tuned, train_whole
from engine.models.lora import adapter_state, apply_lora, lora_reference
from engine.progress import NULL_CONTEXT, CancelOnly, Context
from trainer.checkpoints import EpochRecord
from trainer.cohorts.load import LoadedCohort
from trainer.config import Split, TrainConfig
from trainer.datasets import StudyFeatures
from trainer.features import half_precision
from trainer.loop import FitResult, Run
from trainer.protocol import Event, Finished
from trainer.reference import CohortStudy, Role, cohort_digest, list_cohort
from trainer.run_folder import RunFolder
from trainer.team import Alone, Launch, Team
from trainer.training import (
    CHECKPOINT_FILE,
    Outcome,
    begin_run_folder,
    epoch_events,
    fit_settings,
    new_classifier,
    write_results,
)
from trainer.volumes.build import PreparedCohort, prepare_cohort
from trainer.volumes.model import EndToEndModel
from trainer.volumes.source import ShardSource

PREPARED_FOLDER = "prepared"


def run_end_to_end(
    config: TrainConfig,
    out: Path,
    registry: BackboneRegistry,
    emit: Callable[[Event], None],
    context: Context = NULL_CONTEXT,
    resume: bool = False,
    shards: Path | None = None,
) -> Finished:
    """Train as `trainer.training.run_training` does, of which the arguments are; `config` is already the backbone's.

    Raises
    ------
    TrainingError
        If the run cannot go on.
    PackageError
        If the backbone has no weights here, or LoRA cannot be applied to it.
    Cancelled
        When the context says so.
    """
    _require_store(config, registry)
    team = open_team(config)
    backbone = adapted_backbone(config, registry)  # First: what does not fit is said before hours of preparation.
    prepared = _prepared_by_the_first(config, shards or out / PREPARED_FOLDER, team, context)
    classifier = new_classifier(config, backbone.spec, len(prepared.keys))
    model = EndToEndModel(backbone, classifier).to(team.device)
    result = fit_on_shards(model, prepared, config, out, registry, team, (emit, context), resume)
    finished = _written(model, prepared, result, config, out, registry, context) if team.rank == 0 else None
    told: Finished = team.gathered(finished)[0]
    return told


def open_team(config: TrainConfig) -> Team:
    """Return the processes of this run: those that torchrun or accelerate started, or this one alone.

    Raises
    ------
    TrainingError
        If accelerate was asked for something that the trainer does not do.
    """
    chosen = config.end_to_end
    launch = Launch.of(os.environ, chosen.precision, whole=config.fine_tune == "full")
    if launch.size == 1 and chosen.precision == "no":
        return Alone(choose_device(chosen.device))
    from trainer.accelerated import AcceleratedTeam  # It takes seconds to import.

    return AcceleratedTeam(chosen.device, chosen.precision, launch.sharded)


def adapted_backbone(config: TrainConfig, registry: BackboneRegistry) -> Backbone:
    """Make the backbone with untrained adapters, where there are to be some, or with parameters that all train.

    The adapters follow from the seed.

    Raises
    ------
    PackageError
        If the backbone has no weights here, or LoRA cannot be applied to it.
    """
    backbone = build_backbone(config.backbone, registry)
    if config.lora is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            apply_lora(backbone, config.lora)
    if config.fine_tune == "full":
        train_whole(backbone)
    return backbone


def _require_store(config: TrainConfig, registry: BackboneRegistry) -> BackboneStore | None:
    """Return where a backbone that trains whole will be kept; None where none does.

    Raises
    ------
    TrainingError
        If there is no such place.
    """
    if config.fine_tune == "none":
        return None
    if registry.store is None:
        raise TrainingError(
            f"A whole {config.backbone} is to be trained, but there is no folder of backbones to keep it in.",
            hint="Name a folder for backbones, or train adapters: they are kept in the package.",
            code="training.no_backbone_folder",
        )
    return registry.store


def _changed_weights(backbone: Backbone, config: TrainConfig, registry: BackboneRegistry) -> str | None:
    """Put the backbone's weights into the store and return their sha256; None where this run did not change them."""
    store = _require_store(config, registry)
    if store is None:
        return None
    origin = Origin(registry.weights_digest(config.backbone), f"{config.name} {config.version}", config.digest())
    return store_fine_tuned(backbone, origin, registry, store).record.weights_digest


def _prepared_by_the_first(config: TrainConfig, folder: Path, team: Team, context: Context) -> PreparedCohort:
    if team.rank == 0:
        prepare_cohort(config, folder, context)
    team.wait()
    return prepare_cohort(config, folder, CancelOnly(context))


def fit_on_shards(
    model: EndToEndModel,
    prepared: PreparedCohort,
    config: TrainConfig,
    out: Path,
    registry: BackboneRegistry,
    team: Team,
    listeners: tuple[Callable[[Event], None], Context],
    resume: bool = False,
) -> FitResult:
    """Fit a model on prepared studies, in place, going on from the checkpoint in `out` where there is one of this run.

    Parameters
    ----------
    model
        On the team's device.
    out
        Where checkpoint and curve are.
    listeners
        Told of epochs; asked whether to stop.

    Raises
    ------
    TrainingError
        As `trainer.loop.Run.fit`.
    Cancelled
        When the context says so.
    """
    emit, context = listeners
    settings = fit_settings(config, prepared.digest(), resume)
    train = ShardSource(prepared.entries["train"], config.preprocessing, team.device, config.augment)
    validate = ShardSource(prepared.entries["validate"], config.preprocessing, team.device)
    run = Run(model, prepared.keys, train, validate, settings, team)
    if team.rank:
        return run.fit(out / CHECKPOINT_FILE, _silent, CancelOnly(context))
    folder: RunFolder = begin_run_folder(out, config, prepared.digest(), registry)
    tell = epoch_events(emit, settings.max_epochs, folder)
    return run.fit(out / CHECKPOINT_FILE, tell, context, folder.restore)


def _silent(record: EpochRecord) -> None:
    """Leave the telling to the first process."""


def _written(
    model: EndToEndModel,
    prepared: PreparedCohort,
    result: FitResult,
    config: TrainConfig,
    out: Path,
    registry: BackboneRegistry,
    context: Context,
) -> Finished:
    model.eval()
    n_replay = config.reference.n_replay
    wanted: dict[Split, int | None] = {"train": n_replay, "validate": 0, "calibrate": None, "test": None}
    features = {
        split: split_features(model, prepared, split, limit, config, context) for split, limit in wanted.items()
    }
    loaded = LoadedCohort(prepared.keys, features, prepared.words, prepared.document)
    cohort = listed(prepared, features, config)
    backbone: Backbone = model.backbone
    outcome = Outcome(
        config=config,
        spec=backbone.spec,
        loaded=loaded,
        cohort=cohort,
        data_digest=cohort_digest(prepared.keys, cohort),
        classifier=model.classifier.cpu(),
        result=result,
        lora=None if config.lora is None else lora_reference(backbone, config.lora),
        adapter=adapter_state(backbone),
        weights_digest=_changed_weights(backbone, config, registry),
    )
    return write_results(outcome, out, registry)


def split_features(
    model: EndToEndModel,
    prepared: PreparedCohort,
    split: Split,
    limit: int | None,
    config: TrainConfig,
    context: Context,
) -> tuple[StudyFeatures, ...]:
    """Return features of a split's first studies through the adapted backbone, without augmentation."""
    entries = prepared.entries[split][:limit]
    if not entries:
        return ()
    device = next(model.parameters()).device
    source = ShardSource(entries, config.preprocessing, device)
    found = []
    for number, entry in enumerate(entries):
        context.raise_if_cancelled()
        features_SD = half_precision(model.study_features(source.pictures(number)).numpy())
        found.append(StudyFeatures(entry.identifier, features_SD, entry.labels_C, False, entry.patient_key))
        context.progress(number + 1, len(entries), f"Computing features of the {split} studies")
    return tuple(found)


def listed(
    prepared: PreparedCohort, features: dict[Split, tuple[StudyFeatures, ...]], config: TrainConfig
) -> tuple[CohortStudy, ...]:
    """List every study; where no features were computed, its digest is that of the prepared voxels."""
    roles: dict[str, Role | None] = {}
    digests: dict[str, str] = {}
    for study in list_cohort(features, config.reference):
        roles[study.identifier], digests[study.identifier] = study.role, study.features_sha256
    every: Sequence[CohortStudy] = [
        CohortStudy(
            identifier=entry.identifier,
            split=split,
            labels="".join({1: "1", 0: "0", -1: "?"}[int(label)] for label in entry.labels_C),
            features_sha256=digests.get(entry.identifier, entry.digest),
            role=roles.get(entry.identifier),
        )
        for split, entries in prepared.entries.items()
        for entry in entries
    ]
    return tuple(every)
