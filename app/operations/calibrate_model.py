"""Calibrate a model package on a person's own table of labelled studies; a new package is written.

Torch is imported inside the functions: the window's process imports this package and must never load it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.operations.labelled_studies import SkippedStudy, run_studies
from app.operations.run_inference import Device
from engine.errors import ConfigError, ExportError
from engine.findings.catalogue import Catalogue
from engine.inference.compute import AUTOMATIC, Computing
from engine.progress import NULL_CONTEXT, Context

if TYPE_CHECKING:
    from engine.inference.calibrate import CalibrationSettings
    from engine.inference.calibration_report import CalibrationReport
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


@dataclass(frozen=True, eq=False)
class CalibrationOutcome:
    """The new package's digest, what was fitted, and what was not used."""

    digest: str
    report: CalibrationReport
    skipped: tuple[SkippedStudy, ...]


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
    keys = parent.manifest.finding_keys
    measured, skipped = run_studies(table, (predictor,), keys, context)
    labels_NC = label_array([item.study for item in measured], keys)
    report = recalibrate(parent, labels_NC, np.array([item.logits[0] for item in measured]), settings, table.name)
    manifest = write_recalibrated(request.out, parent, report, registry)
    return CalibrationOutcome(manifest.digest, report, tuple(skipped))


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
