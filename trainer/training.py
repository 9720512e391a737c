"""A run from scratch: cohort → cached features → fit → evaluate → package and reference cohort; and its results.

What is written under the output folder: ``package/``, ``reference_cohort.safetensors`` with its ``.json``, and what
only serves to go on after a stop: ``features/`` and ``checkpoint.safetensors``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import TrainingError
from engine.explain.usage import ExpertUsage
from engine.inference.calibrate import FindingCalibration, as_calibration
from engine.inference.calibration_report import CalibrationReport
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.models.backbones.spec import BackboneSpec
from engine.models.classifier import MoLREClassifier
from engine.models.lora import adapter_state, lora_reference
from engine.models.manifest import BackboneReference, LoraReference, Manifest, ManifestDraft, TrainingRecord
from engine.models.package import write_package
from engine.models.settings import LoraSettings
from engine.phantom.study import PAINTED_KEYS
from engine.progress import NULL_CONTEXT, Context
from trainer.card import train_card
from trainer.checkpoints import EpochRecord
from trainer.cohorts.load import LoadedCohort, load_cohort
from trainer.config import ImportedCohortConfig, PhantomCohortConfig, Split, TrainConfig
from trainer.datasets import StudyFeatures
from trainer.evaluate import Evaluation, calibration_report, evaluate_studies, expert_usage
from trainer.loop import FitData, FitResult, FitSettings, fit
from trainer.protocol import EpochEnded, Event, Finished
from trainer.reference import CohortStudy, cohort_digest, list_cohort, write_reference
from trainer.run_folder import RunFolder

PACKAGE_FOLDER = "package"
REFERENCE_FILE = "reference_cohort.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
FEATURES_FOLDER = "features"

Features = Mapping[Split, Sequence[StudyFeatures]]


def run_training(
    config: TrainConfig,
    out: Path,
    emit: Callable[[Event], None],
    context: Context = NULL_CONTEXT,
    backbones: Path | None = None,
    resume: bool = False,
    shards: Path | None = None,
) -> Finished:
    """Train a model on the cohort of a configuration and write it as a package.

    Parameters
    ----------
    config
        The whole run.
    out
        Folder for everything that is written; a stopped run of the same configuration goes on from it.
    emit
        Told of every epoch.
    context
        Told of progress; asked between studies and between steps whether to stop.
    backbones
        The folder of weights that the user brought; None: only bundled ones.
    resume
        Refuse to begin anew: there must be a checkpoint of this very run in `out`.
    shards
        A folder of prepared studies, which several runs may share; what it lacks is prepared into it. None: a run end
        to end prepares into `out`, and one on cached features keeps no prepared studies.

    Raises
    ------
    TrainingError
        If there is a package in `out` already, or the run cannot go on.
    Cancelled
        When the context says so; a checkpoint stands in `out` if training had begun.
    """
    new_package_folder(out)
    registry = open_registry(backbones)
    spec = registry.entry(config.backbone).spec
    config = config.for_backbone(spec)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    _require_one_process(config)
    if config.mode == "end_to_end":
        from trainer.end_to_end import run_end_to_end  # It needs what stands in this file.

        return run_end_to_end(config, out, registry, emit, context, resume, shards)
    adapted = None
    if config.slice_training is not None:
        from trainer.slice_training import cohort_of_adapted_backbone  # It needs what stands in this file.

        adapted = cohort_of_adapted_backbone(config, out, registry, context, backbones, shards)
    loaded = adapted.loaded if adapted else load_cohort(config, out / FEATURES_FOLDER, context, backbones, shards)
    keys, features = loaded.keys, loaded.features
    cohort = list_cohort(features, config.reference)
    data_digest = cohort_digest(keys, cohort)
    classifier = new_classifier(config, spec, len(keys))
    if adapted is not None:
        adapted.begin_head(classifier)
    data = FitData(keys, features["train"], features["validate"])
    settings = fit_settings(config, data_digest, resume)
    folder = begin_run_folder(out, config, data_digest, registry)
    tell = epoch_events(emit, settings.max_epochs, folder)
    result = fit(classifier, data, settings, out / CHECKPOINT_FILE, tell, context, folder.restore)
    outcome = Outcome(config, spec, loaded, cohort, data_digest, classifier, result)
    if adapted is not None:
        lora, adapter = lora_reference(adapted.backbone, config.lora or LoraSettings()), adapter_state(adapted.backbone)
        outcome = replace(outcome, lora=lora, adapter=adapter, slices=adapted.learnt)
    return write_results(outcome, out, registry)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run came to, before it is measured and written.

    Attributes
    ----------
    loaded
        Features of the studies that are measured or shipped, as the model reads them.
    cohort, data_digest
        Every study, and the sha256 of that list.
    lora, adapter
        The backbone's adapters; None and empty where there are none.
    weights_digest
        sha256 of the backbone's weights where the run changed them; None where they are those that it began with.
    """

    config: TrainConfig
    spec: BackboneSpec
    loaded: LoadedCohort
    cohort: tuple[CohortStudy, ...]
    data_digest: str
    classifier: MoLREClassifier
    result: FitResult
    lora: LoraReference | None = None
    adapter: Mapping[str, Tensor] = field(default_factory=dict)
    slices: FitResult | None = None
    weights_digest: str | None = None


def write_results(outcome: Outcome, out: Path, registry: BackboneRegistry) -> Finished:
    """Evaluate and calibrate a trained model, and write its package and reference cohort."""
    config, loaded, classifier = outcome.config, outcome.loaded, outcome.classifier
    keys, features, words = loaded.keys, loaded.features, loaded.words
    evaluation = evaluate_studies(classifier, keys, features["test"])
    report = calibration_report(
        classifier,
        keys,
        config.calibration,
        (f"{words.studies} of the calibrate split", features["calibrate"]),
        (f"{words.studies} of the test split", features["test"]),
    )
    usage = expert_usage(classifier, keys, features["test"])
    digest, result = outcome.data_digest, outcome.result
    manifest = write_package(
        out / PACKAGE_FOLDER,
        _draft(outcome, report.items, registry),
        classifier,
        calibration=as_calibration(report.items),
        metrics=_metrics(outcome, evaluation, report, usage),
        card=train_card(config, outcome.spec, evaluation, report, usage, digest, result.kept_epoch, words),
        adapter=outcome.adapter,
        registry=registry,
    )
    write_reference(out / REFERENCE_FILE, _reference_document(manifest, outcome.cohort, loaded), features)
    return Finished(
        package_path=str(out / PACKAGE_FOLDER),
        package_digest=manifest.digest,
        comparison_path=None,
        mean_auc=evaluation.mean_auc,
        text=f"{_summary(config, evaluation, loaded)} Package: {out / PACKAGE_FOLDER}",
    )


def new_package_folder(out: Path) -> Path:
    """Return where the package will be; TrainingError if something is there, before hours are spent."""
    folder = out / PACKAGE_FOLDER
    if folder.exists():
        raise TrainingError(
            f"There is a package in {folder} already; it is never overwritten.",
            hint="Choose another output folder, or remove that package.",
            code="training.package_exists",
        )
    return folder


def _require_one_process(config: TrainConfig) -> None:
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.mode == "cached" and n_processes > 1:
        raise TrainingError(
            f'{n_processes} processes were started, but a run with mode = "cached" is one process\'s work of minutes.',
            hint='Start it without torchrun, or say mode = "end_to_end".',
            code="training.one_process",
        )


def new_classifier(config: TrainConfig, spec: BackboneSpec, n_findings: int = len(PAINTED_KEYS)) -> MoLREClassifier:
    """Make an untrained classifier; its weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return MoLREClassifier(spec.feature_width, n_findings, config.molre, fusion_hidden=spec.fusion_hidden)


def seed_of(cohort: PhantomCohortConfig | ImportedCohortConfig) -> dict[str, int]:
    """Return the seed that a cohort is made from; an imported one has none."""
    return {"cohort": cohort.seed} if isinstance(cohort, PhantomCohortConfig) else {}


def begin_run_folder(out: Path, config: TrainConfig, data_digest: str, registry: BackboneRegistry) -> RunFolder:
    """Write what the run is, and return where its curves go."""
    digests = {
        "config": config.digest(),
        "data": data_digest,
        "backbone": registry.weights_digest(config.backbone),
    }
    folder = RunFolder(out)
    folder.begin(config.model_dump(mode="json"), digests, {"run": config.seed, **seed_of(config.cohort)})
    return folder


def epoch_events(
    emit: Callable[[Event], None], max_epochs: int, folder: RunFolder | None = None
) -> Callable[[EpochRecord], None]:
    """Return the function that turns the loop's records into events, and into curves where there is a folder."""

    def tell(record: EpochRecord) -> None:
        if folder is not None:
            folder.add(record)
        emit(
            EpochEnded(
                epoch=record.epoch,
                max_epochs=max_epochs,
                train_loss=record.train_loss,
                validation_loss=record.validation_loss,
                validation_auc=record.validation_auc,
            )
        )

    return tell


def usage_metrics(usage: ExpertUsage | None, description: str) -> dict[str, Any] | None:
    """Return for ``metrics.json`` which experts are used, and on which studies that was measured."""
    return None if usage is None else {"description": description, **usage.to_json()}


def history_metrics(result: FitResult) -> dict[str, Any]:
    """Return the curve for ``metrics.json``."""
    return {
        "epochs": len(result.history),
        "kept_epoch": result.kept_epoch,
        "history": [[item.train_loss, item.validation_loss, item.validation_auc] for item in result.history],
        "history_columns": ["train_loss", "validation_loss", "validation_mean_auc"],
    }


def fit_settings(config: TrainConfig, data_digest: str, resume: bool = False) -> FitSettings:
    """Return how the loop fits this run on this data."""
    return FitSettings(
        seed=config.seed,
        loss=config.loss,
        optimiser=config.optimiser,
        min_epochs=config.schedule.min_epochs,
        max_epochs=config.schedule.max_epochs,
        patience=config.schedule.patience,
        batch_size=config.schedule.batch_size,
        keep="best",
        run_digest=f"{config.digest()}-{data_digest}",
        rate=config.rate,
        sampling=config.sampling,
        checkpoint_steps=config.schedule.checkpoint_steps,
        read_ahead=config.end_to_end.read_ahead if config.mode == "end_to_end" else 0,
        must_resume=resume,
    )


def _draft(outcome: Outcome, calibration: Sequence[FindingCalibration], registry: BackboneRegistry) -> ManifestDraft:
    config, spec, loaded = outcome.config, outcome.spec, outcome.loaded
    return ManifestDraft(
        name=config.name,
        version=config.version,
        notice=config.notice,
        backbone=BackboneReference(
            name=config.backbone,
            weights_digest=outcome.weights_digest or registry.weights_digest(config.backbone),
            feature_width=spec.feature_width,
        ),
        finding_keys=loaded.keys,
        preprocessing=config.preprocessing,
        molre=config.molre,
        fusion_hidden=spec.fusion_hidden,
        lora=outcome.lora,
        operating_points={item.key: item.point.threshold for item in calibration},
        training=TrainingRecord(
            description=config.description,
            data_digest=outcome.data_digest,
            seed=config.seed,
            parent_digest=None,
            trained_on=loaded.words.trained_on,
        ),
    )


def _metrics(
    outcome: Outcome, evaluation: Evaluation, report: CalibrationReport, usage: ExpertUsage | None
) -> dict[str, Any]:
    config, words = outcome.config, outcome.loaded.words
    slices = {} if outcome.slices is None else {"slice_training": history_metrics(outcome.slices)}
    return {
        "notice": config.notice,
        "heldout": {"description": words.heldout, **evaluation.to_json()},
        "calibration": report.to_json(),
        "expert_usage": usage_metrics(usage, f"{words.studies} of the test split"),
        **slices,
        "training": history_metrics(outcome.result),
        "cohort_digest": outcome.data_digest,
        "config": config.model_dump(mode="json"),
    }


def _reference_document(manifest: Manifest, cohort: tuple[CohortStudy, ...], loaded: LoadedCohort) -> dict[str, Any]:
    return {
        "description": loaded.words.reference,
        "backbone": manifest.backbone.name,
        "backbone_digest": manifest.backbone.weights_digest,
        "finding_keys": manifest.finding_keys,
        "data_digest": manifest.training.data_digest,
        "cohort": loaded.document,
        "studies": cohort,
    }


def _summary(config: TrainConfig, evaluation: Evaluation, loaded: LoadedCohort) -> str:
    if evaluation.mean_auc is None:
        few = f"{evaluation.n_studies} held-out {loaded.words.short} are too few for an AUC of any finding."
        return f"{config.notice}. {few}"
    return (
        f"{config.notice}. Mean AUC {evaluation.mean_auc:.3f} over {evaluation.n_scored} of "
        f"{len(evaluation.findings)} findings on {evaluation.n_studies} held-out {loaded.words.short}."
    )
