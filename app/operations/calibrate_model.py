"""Calibrate a model package on a person's own table of labelled studies; a new package is written.

Torch is imported inside the functions: the window's process imports this package and must never load it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.operations.load_series import load_series, warning_texts
from app.operations.open_paths import choose_series, open_paths
from app.operations.run_inference import Device
from engine.dicom.series import require_analysable
from engine.errors import ConfigError, ExportError, HeadCTError, InferenceError
from engine.findings.catalogue import Catalogue
from engine.inference.compute import AUTOMATIC, Computing
from engine.progress import NULL_CONTEXT, CancelOnly, Context

if TYPE_CHECKING:
    from engine.findings.label_table import LabelledStudy, LabelTable
    from engine.inference.calibrate import CalibrationSettings
    from engine.inference.calibration_report import CalibrationReport
    from engine.inference.predictor import Predictor
    from engine.models.backbones.registry import BackboneRegistry

Method = Literal["platt", "temperature"]
Rule = Literal["youden", "sensitivity", "specificity"]


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate on what, and how; `out` is the new package's folder and must not exist."""

    package: Path
    labels: Path
    out: Path
    method: Method
    rule: Rule
    target: float | None
    device: Device
    how: Computing = AUTOMATIC


@dataclass(frozen=True)
class SkippedStudy:
    """A row of the table that was not used, and why."""

    path: Path
    line: int
    code: str
    reason: str


@dataclass(frozen=True, eq=False)
class CalibrationOutcome:
    """The new package's digest, what was fitted, and what was not used."""

    digest: str
    report: CalibrationReport
    skipped: tuple[SkippedStudy, ...]


@dataclass(frozen=True, eq=False)
class _Measured:
    """A study that could be used, with the model's logits in the package's order."""

    study: LabelledStudy
    logits: Sequence[float]


def calibrate_model(
    request: CalibrationRequest,
    catalogue: Catalogue,
    registry: BackboneRegistry | None = None,
    context: Context = NULL_CONTEXT,
) -> CalibrationOutcome:
    """Run the model on every study of the table, fit, and write a package.

    A study that cannot be read or classified is set aside with its reason. `registry` holds the backbones to look
    among; those that ship by default.

    Raises
    ------
    ExportError
        If something is at `request.out` already.
    ConfigError
        If the table, the method or the rule is refused.
    PackageError
        If the package is refused, or the new one cannot be written.
    InferenceError
        If the device is not there, no study can be used, or no finding can be calibrated.
    """
    _require_new(request.out)
    settings = _settings(request)
    from engine.findings.label_table import label_array, read_label_table

    table = read_label_table(request.labels, catalogue)
    # Seconds of imports come after what can be refused at once.
    import numpy as np

    from engine.inference.predictor import Predictor
    from engine.inference.recalibrate import recalibrate, write_recalibrated
    from engine.models.package import read_package

    parent = read_package(request.package, registry, catalogue)
    predictor = Predictor.open(request.package, catalogue, request.device, registry, how=request.how)
    measured, skipped = _run_studies(table, predictor, context)
    if not measured:
        raise _none_usable(table, skipped)
    keys = parent.manifest.finding_keys
    labels_NC = label_array([item.study for item in measured], keys)
    report = recalibrate(parent, labels_NC, np.array([item.logits for item in measured]), settings, table.name)
    manifest = write_recalibrated(request.out, parent, report, registry)
    return CalibrationOutcome(manifest.digest, report, tuple(skipped))


def _run_studies(
    table: LabelTable, predictor: Predictor, context: Context
) -> tuple[list[_Measured], list[SkippedStudy]]:
    """Classify the rows one after another; what cannot be used is set aside."""
    measured: list[_Measured] = []
    skipped: list[SkippedStudy] = []
    seen: set[str] = set()
    for done, study in enumerate(table.studies):
        context.raise_if_cancelled()
        context.progress(done, len(table.studies), "studies classified")
        try:
            logits = _logits(study, predictor, seen, CancelOnly(context))
        except HeadCTError as error:
            skipped.append(SkippedStudy(study.path, study.line, error.code, error.message))
            continue
        measured.append(_Measured(study, logits))
    context.progress(len(table.studies), len(table.studies), "studies classified")
    return measured, skipped


def _logits(study: LabelledStudy, predictor: Predictor, seen: set[str], context: Context) -> Sequence[float]:
    """Classify one study; `seen` holds the series that were used before, and grows by this one."""
    keys = predictor.package.manifest.finding_keys
    if all(study.labels.get(key, -1) < 0 for key in keys):
        raise _unusable(study, "it has no label of a finding that the model predicts", "no_label")
    series = choose_series(open_paths([study.path], context), study.path)
    require_analysable(series)
    if series.instance_uid in seen:
        raise _unusable(study, "its series stands in the table twice", "twice")
    loaded = load_series(series, context)
    analysis = predictor.analyse(
        loaded.volume,
        study_instance_uid=series.study.instance_uid,
        series_instance_uid=series.instance_uid,
        read_s=loaded.read_s,
        warnings=warning_texts(series),
        context=context,
    )
    seen.add(series.instance_uid)
    return [float(logit) for logit in analysis.ledger.logits]


def _settings(request: CalibrationRequest) -> CalibrationSettings:
    from pydantic import ValidationError

    from engine.config import describe_validation
    from engine.inference.calibrate import CalibrationSettings
    from engine.inference.operating_points import OperatingRule

    try:
        rule = OperatingRule(rule=request.rule, target=request.target)
        return CalibrationSettings(method=request.method, operating_point=rule)
    except ValidationError as error:
        raise ConfigError(
            f"The model cannot be calibrated that way: {describe_validation(error)}.",
            hint="Give --target with --rule sensitivity or specificity, above 0 and at most 1, and not with youden.",
            code="calibration.rule",
        ) from error


def _require_new(folder: Path) -> None:
    if folder.exists():
        raise ExportError(
            f"{folder} is not written: it exists already, and a package is never overwritten. Nothing was done.",
            hint="Choose a new folder for the package.",
            code="output.exists",
        )


def _unusable(study: LabelledStudy, reason: str, code: str) -> InferenceError:
    return InferenceError(
        f"{study.path} (line {study.line}) is not used: {reason}.",
        hint="Correct the table.",
        code=f"calibration.{code}",
    )


def _none_usable(table: LabelTable, skipped: Sequence[SkippedStudy]) -> InferenceError:
    first = f" The first, in line {skipped[0].line}: {skipped[0].reason}" if skipped else ""
    return InferenceError(
        f"None of the {len(table.studies)} studies of {table.name} can be used; no package was written.{first}",
        hint="Check the paths in the table: they are relative to its own folder.",
        code="calibration.no_study",
    )
