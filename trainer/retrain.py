"""Retraining from feedback: the parent's weights, the readers' studies, replay against forgetting, and a comparison.

The parent is only read. What is written under the output folder: ``package/`` (the candidate), ``comparison.json`` and
``checkpoint.safetensors``. Features of readers' studies stay in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.dicom.series import PART_SEPARATOR
from engine.errors import HeadCTError, TrainingError
from engine.explain.usage import ExpertUsage
from engine.inference.calibrate import FindingCalibration, as_calibration
from engine.inference.calibration_report import CalibrationReport
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.models.classifier import MoLREClassifier
from engine.models.lora import package_backbone
from engine.models.manifest import Manifest, ManifestDraft, TrainingRecord
from engine.models.package import LoadedPackage, load_package, write_package
from engine.progress import NULL_CONTEXT, Context
from trainer.card import retrain_card, verdict
from trainer.cohorts.feedback import Feedback, ReviewedSeries, read_feedback, read_reviewed
from trainer.cohorts.keys import series_key
from trainer.cohorts.manifest import TestPart, read_manifest
from trainer.config import RetrainConfig, canonical_digest, config_digest
from trainer.datasets import UNKNOWN, StudyFeatures
from trainer.evaluate import FindingScore, calibration_report, evaluate, expert_usage, labels_and_logits, predict_logits
from trainer.features import volume_features
from trainer.files import write_json
from trainer.loop import FitData, FitResult, FitSettings, fit
from trainer.protocol import (
    Comparison,
    Event,
    FindingComparison,
    Finished,
    MeanChange,
    OwnStudies,
    RetrainRequest,
    SetComparison,
    SkippedSeries,
)
from trainer.reference import ReferenceCohort, read_reference
from trainer.statistics.bootstrap import MeanDifference
from trainer.statistics.paired import FindingDifference, compare_scores
from trainer.training import (
    CHECKPOINT_FILE,
    epoch_events,
    history_metrics,
    new_package_folder,
    usage_metrics,
)

COMPARISON_FILE = "comparison.json"
HELDOUT_DESCRIPTION = "held-out synthetic phantoms that neither model was trained on"
CALIBRATE_DESCRIPTION = "synthetic phantoms of the reference cohort's calibrate part"
OWN_DESCRIPTION = "reviewed studies set apart by patient"


@dataclass(frozen=True, eq=False)
class OwnFeatures:
    """Readers' studies with features, on either side of the split, and those that could not be used."""

    train: tuple[StudyFeatures, ...]
    heldout: tuple[StudyFeatures, ...]
    skipped: tuple[SkippedSeries, ...]


@dataclass(frozen=True, eq=False)
class Readings:
    """How the candidate's outputs are to be read, and which experts made them."""

    calibration: CalibrationReport
    usage: ExpertUsage | None


def run_retraining(request: RetrainRequest, emit: Callable[[Event], None], context: Context = NULL_CONTEXT) -> Finished:
    """Fine-tune a package with the feedback of a store, and compare the candidate with its parent.

    Raises
    ------
    TrainingError
        If there is no feedback to learn from, the reference cohort is not the parent's, or the run cannot go on.
    PackageError, StoreError
        If the parent or the store cannot be read.
    Cancelled
        When the context says so; a checkpoint stands in the output folder if training had begun.
    """
    out = Path(request.out)
    package_folder = new_package_folder(out)
    config = request.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    registry = open_registry(None if request.backbones is None else Path(request.backbones))
    parent = load_package(Path(request.base_package), registry)
    reference = read_reference(Path(request.reference_cohort), parent.manifest)
    feedback = read_feedback(request.store, parent.manifest.finding_keys, request.readers)
    test_part = TestPart(read_manifest(Path(path)) for path in request.cohorts)
    own = own_features(feedback.series, parent, config.heldout_fraction, registry, context, test_part)
    _require_training_studies(own)
    candidate, result = fine_tune(parent, reference, own.train, request, out / CHECKPOINT_FILE, emit, context)
    readings = _readings(candidate, parent.manifest.finding_keys, reference, config)
    comparison = compare(parent, candidate, reference, own, feedback)
    manifest = _write_candidate(package_folder, parent, candidate, readings, comparison, result, own, request)
    comparison = comparison.model_copy(update={"candidate_digest": manifest.digest})
    write_json(out / COMPARISON_FILE, comparison.model_dump(mode="json"))
    return Finished(
        package_path=str(package_folder),
        package_digest=manifest.digest,
        comparison_path=str(out / COMPARISON_FILE),
        mean_auc=comparison.heldout.candidate_mean_auc,
        text=f"{comparison.verdict} Candidate: {package_folder}",
    )


def _readings(
    candidate: MoLREClassifier, keys: Sequence[str], reference: ReferenceCohort, config: RetrainConfig
) -> Readings:
    fit_on, test_on = reference.studies["calibrate"], reference.studies["heldout"]
    return Readings(
        calibration_report(
            candidate, keys, config.calibration, (CALIBRATE_DESCRIPTION, fit_on), (HELDOUT_DESCRIPTION, test_on)
        ),
        expert_usage(candidate, keys, test_on),
    )


def own_features(
    series: Sequence[ReviewedSeries],
    parent: LoadedPackage,
    heldout_fraction: float,
    registry: BackboneRegistry,
    context: Context = NULL_CONTEXT,
    test_part: TestPart = TestPart(),
) -> OwnFeatures:
    """Read, prepare and run every reviewed series; what cannot be used is set aside with its reason.

    So is a series of a cohort's test part, and another one of its patient: nothing may be learnt from it.

    Raises
    ------
    HeadCTError
        If the machine is at fault, such as too little memory: then no series would fare better.
    """
    extractor = _extractor(parent, registry)
    sides: dict[bool, list[StudyFeatures]] = {True: [], False: []}
    skipped: list[SkippedSeries] = []
    for done, reviewed in enumerate(series):
        context.raise_if_cancelled()
        context.progress(done, len(series), "Reading reviewed studies")
        try:
            _require_not_tested_on(reviewed, test_part)
            volume = read_reviewed(reviewed, context)
            features_SD = volume_features(volume, parent.manifest.preprocessing, extractor, context)
        except HeadCTError as error:
            if error.kind == "environment":
                raise
            skipped.append(SkippedSeries(source_path=str(reviewed.source_path), code=error.code, reason=error.message))
            continue
        study = StudyFeatures(str(reviewed.source_path), features_SD, reviewed.labels_C, True, reviewed.patient_key)
        sides[reviewed.heldout(heldout_fraction)].append(study)
    context.progress(len(series), len(series), "Reading reviewed studies")
    return OwnFeatures(tuple(sides[False]), tuple(sides[True]), tuple(skipped))


def _require_not_tested_on(reviewed: ReviewedSeries, test_part: TestPart) -> None:
    if test_part.holds(series_key(reviewed.series_uid.partition(PART_SEPARATOR)[0]), reviewed.patient_key):
        raise TrainingError(
            f"{reviewed.source_path} is of a patient in the test part of an imported cohort: never learnt from.",
            hint="Retrain from feedback on other studies; this one stays for testing.",
            code="training.test_part",
        )


def _extractor(parent: LoadedPackage, registry: BackboneRegistry) -> FeatureExtractor:
    return FeatureExtractor(package_backbone(parent, registry), choose_device("cpu"))


def _require_training_studies(own: OwnFeatures) -> None:
    if own.train:
        return
    reasons = "; ".join(sorted({item.reason for item in own.skipped}))
    raise TrainingError(
        f"No reviewed study is left to train on: {len(own.heldout)} are set apart for testing, {len(own.skipped)} "
        f"cannot be used{f' ({reasons})' if reasons else ''}.",
        hint="Review studies of more patients, or put the missing series back.",
        code="training.no_own_studies",
    )


def fine_tune(
    parent: LoadedPackage,
    reference: ReferenceCohort,
    own: Sequence[StudyFeatures],
    request: RetrainRequest,
    checkpoint: Path,
    emit: Callable[[Event], None],
    context: Context = NULL_CONTEXT,
) -> tuple[MoLREClassifier, FitResult]:
    """Train a copy of the parent's classifier on own studies and replay.

    The calibration phantoms only draw the live curve; nothing is chosen by them.
    """
    candidate = copy.deepcopy(parent.classifier).requires_grad_(True)
    replay = reference.studies["replay"]
    repeats = own_repeats(len(own), len(replay), request.config)
    data = FitData(
        keys=parent.manifest.finding_keys,
        train=(*replay, *(study for study in own for _ in range(repeats))),
        validate=reference.studies["calibrate"],
    )
    weight = statement_weight(own, replay, repeats, request.config)
    settings = _fit_settings(request, own_digest(own, parent.manifest), weight)
    result = fit(candidate, data, settings, checkpoint, epoch_events(emit, settings.max_epochs), context)
    return candidate, result


def own_repeats(n_own: int, n_replay: int, config: RetrainConfig) -> int:
    """Return how often an epoch shows each own study, so that they make up about `own_share` of it."""
    wanted = config.own_share / (1.0 - config.own_share) * n_replay / n_own
    return max(1, min(config.max_repeats, round(wanted)))


def statement_weight(
    own: Sequence[StudyFeatures], replay: Sequence[StudyFeatures], repeats: int, config: RetrainConfig
) -> float:
    """Return what one statement counts in the loss, so that all of them make up about `own_share` of its weight."""
    n_replayed, n_stated = (sum(int((study.labels_C != UNKNOWN).sum()) for study in part) for part in (replay, own))
    wanted = config.own_share / (1.0 - config.own_share) * n_replayed / (repeats * n_stated)
    return max(1.0, min(config.max_statement_weight, wanted))


def own_digest(own: Sequence[StudyFeatures], parent: Manifest) -> str:
    """Return a digest of what was learnt from own studies: features and labels, without where they came from."""
    rows = sorted([study.digest(), study.labels_C.tolist()] for study in own)
    return canonical_digest({"parent": parent.digest, "own": rows})


def _fit_settings(request: RetrainRequest, data_digest: str, reviewed_weight: float) -> FitSettings:
    config = request.config
    return FitSettings(
        seed=request.seed,
        loss=config.loss,
        optimiser=config.optimiser,
        min_epochs=config.epochs,
        max_epochs=config.epochs,
        patience=config.epochs,
        batch_size=config.batch_size,
        keep="last",
        run_digest=f"{config_digest(config, exclude={'threads'})}-{request.seed}-{data_digest}",
        reviewed_weight=reviewed_weight,
    )


def compare(
    parent: LoadedPackage,
    candidate: MoLREClassifier,
    reference: ReferenceCohort,
    own: OwnFeatures,
    feedback: Feedback,
) -> Comparison:
    """Measure parent and candidate on the same studies; the candidate's digest is filled in once it has one."""
    manifest = parent.manifest
    classifiers = (parent.classifier, candidate)
    heldout = _compare_on(classifiers, manifest, reference.studies["heldout"], HELDOUT_DESCRIPTION)
    own_heldout = _compare_on(classifiers, manifest, own.heldout, OWN_DESCRIPTION)
    return Comparison(
        notice=candidate_notice(manifest),
        parent_name=manifest.name,
        parent_digest=manifest.digest,
        candidate_name=manifest.name,
        candidate_digest="",
        heldout=heldout,
        own_heldout=own_heldout,
        own=OwnStudies(
            n_statements=feedback.n_statements,
            n_unsure=feedback.n_unsure,
            n_conflicting=feedback.n_conflicting,
            n_not_covered=feedback.n_not_covered,
            n_train=len(own.train),
            n_heldout=len(own.heldout),
            skipped=own.skipped,
        ),
        verdict=verdict(heldout, own_heldout),
    )


def _compare_on(
    classifiers: tuple[MoLREClassifier, MoLREClassifier],
    manifest: Manifest,
    studies: Sequence[StudyFeatures],
    description: str,
) -> SetComparison:
    keys = manifest.finding_keys
    labels_NC, before_NC = labels_and_logits(classifiers[0], keys, studies)
    after_NC = predict_logits(classifiers[1], studies) if studies else before_NC
    before, after = (evaluate(keys, labels_NC, logits_NC) for logits_NC in (before_NC, after_NC))
    patients = [study.patient_key or study.identifier for study in studies]
    paired = compare_scores(keys, labels_NC, before_NC, after_NC, patients)
    return SetComparison(
        description=description,
        n_studies=len(studies),
        parent_mean_auc=before.mean_auc,
        candidate_mean_auc=after.mean_auc,
        findings={item.key: _finding(new, item) for new, item in zip(after.findings, paired.findings, strict=True)},
        change=None if paired.mean is None else _change(paired.mean),
    )


def _finding(candidate: FindingScore, paired: FindingDifference) -> FindingComparison:
    auc, interval = paired.auc, paired.interval
    return FindingComparison(
        parent_auc=None if auc is None else auc.first,
        candidate_auc=candidate.auc,
        n_pos=candidate.n_pos,
        n_neg=candidate.n_neg,
        note=candidate.note,
        candidate_auc_low=candidate.auc_low,
        candidate_auc_high=candidate.auc_high,
        candidate_average_precision=candidate.average_precision,
        difference=None if auc is None else auc.difference,
        difference_low=None if interval is None else interval.low,
        difference_high=None if interval is None else interval.high,
        p=None if auc is None else auc.p,
        q=paired.q,
    )


def _change(mean: MeanDifference) -> MeanChange:
    return MeanChange(
        difference=mean.difference,
        low=mean.interval.low,
        high=mean.interval.high,
        p=mean.p,
        n_findings=mean.n_findings,
        n_patients=mean.n_patients,
        n_resamples=mean.n_resamples,
        seed=mean.seed,
    )


def candidate_notice(parent: Manifest) -> str:
    """Return the parent's notice, which a fine-tuning does not lift, with what was added to it."""
    addition = "; fine-tuned from reader feedback"
    return parent.notice if parent.notice.endswith(addition) else parent.notice + addition


def _write_candidate(
    folder: Path,
    parent: LoadedPackage,
    candidate: MoLREClassifier,
    readings: Readings,
    comparison: Comparison,
    result: FitResult,
    own: OwnFeatures,
    request: RetrainRequest,
) -> Manifest:
    return write_package(
        folder,
        _draft(parent.manifest, readings.calibration.items, len(own.train), request.seed),
        candidate,
        calibration=as_calibration(readings.calibration.items),
        metrics=_metrics(comparison, readings, result, own_digest(own.train, parent.manifest), request),
        card=retrain_card(comparison, readings.calibration, readings.usage, request.description),
        adapter=parent.adapter,
        registry=open_registry(None if request.backbones is None else Path(request.backbones)),
    )


def _draft(parent: Manifest, calibration: Sequence[FindingCalibration], n_own: int, seed: int) -> ManifestDraft:
    return ManifestDraft(
        name=parent.name,
        version=parent.version,
        notice=candidate_notice(parent),
        backbone=parent.backbone,
        finding_keys=parent.finding_keys,
        preprocessing=parent.preprocessing,
        molre=parent.molre,
        fusion_hidden=parent.fusion_hidden,
        lora=parent.lora,
        operating_points={item.key: item.point.threshold for item in calibration},
        training=TrainingRecord(
            description="Fine-tuned from reader feedback, with replay of the parent's reference cohort",
            # Stays that of the reference cohort, which later retrainings are checked against; what was learnt from
            # readers has a digest of its own in metrics.json.
            data_digest=parent.training.data_digest,
            seed=seed,
            parent_digest=parent.digest,
            trained_on=f"{n_own} reviewed; before: {parent.training.trained_on}"[:500],
        ),
    )


def _heldout_metrics(item: FindingComparison) -> dict[str, Any]:
    """Return what a candidate's ``metrics.json`` says of one finding; names as in a package trained from scratch."""
    return {
        "auc": item.candidate_auc,
        "n_pos": item.n_pos,
        "n_neg": item.n_neg,
        "note": item.note,
        "auc_low": item.candidate_auc_low,
        "auc_high": item.candidate_auc_high,
        "average_precision": item.candidate_average_precision,
        "change": item.difference,
        "change_low": item.difference_low,
        "change_high": item.difference_high,
        "p": item.p,
        "q": item.q,
    }


def _metrics(
    comparison: Comparison,
    readings: Readings,
    result: FitResult,
    learnt_digest: str,
    request: RetrainRequest,
) -> dict[str, Any]:
    heldout = {key: _heldout_metrics(item) for key, item in comparison.heldout.findings.items()}
    change = comparison.heldout.change
    return {
        "notice": comparison.notice,
        "heldout": {
            "description": comparison.heldout.description,
            "n_studies": comparison.heldout.n_studies,
            "mean_auc": comparison.heldout.candidate_mean_auc,
            "parent_mean_auc": comparison.heldout.parent_mean_auc,
            "change": None if change is None else change.model_dump(),
            "findings": heldout,
        },
        "verdict": comparison.verdict,
        "calibration": readings.calibration.to_json(),
        "expert_usage": usage_metrics(readings.usage, HELDOUT_DESCRIPTION),
        "training": history_metrics(result),
        "own_studies_digest": learnt_digest,
        "config": request.config.model_dump(mode="json"),
        "seed": request.seed,
        "description": request.description,
    }
