"""A package with its calibration and operating points fitted anew on a table of own studies. No torch.

Legend: N studies, C findings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InferenceError
from engine.inference.calibrate import CalibrationSettings, FindingCalibration, as_calibration, fit_calibration
from engine.inference.calibration_report import CalibrationReport, fitted_set
from engine.inference.operating_points import TOO_FEW
from engine.models.backbones.registry import BackboneRegistry
from engine.models.calibration import Calibration
from engine.models.manifest import CARD_FILE, Manifest, ManifestDraft
from engine.models.package import VerifiedPackage, derive_package

UNLABELLED = "no label in the table"
FEW_LABELS = "too few labels in the table"


def recalibrate(
    parent: VerifiedPackage,
    labels_NC: NDArray[np.int8],
    logits_NC: NDArray[np.floating],
    settings: CalibrationSettings,
    table_name: str,
) -> CalibrationReport:
    """Fit a package's findings on own studies.

    A finding with too few labels says nothing against what the package has: its calibration and operating point are
    kept. One whose output is no higher where the finding is loses its calibrated probability.

    Parameters
    ----------
    parent
        The package; its finding keys are the C columns.
    labels_NC, logits_NC
        int8 (1, 0, -1 unknown) and float (N, C).
    settings
        Method and operating-point rule.
    table_name
        The table's file name, without its folder.

    Raises
    ------
    InferenceError
        If a logit is not finite, or not one finding can be calibrated.
    """
    fitted = fit_calibration(parent.manifest.finding_keys, labels_NC, logits_NC, settings)
    items = tuple(item for item in fitted if item.reason != TOO_FEW)
    if not any(item.method is not None for item in items):
        raise _nothing_fitted(len(labels_NC), fitted, table_name)
    return CalibrationReport(
        settings=settings,
        items=items,
        fitted=fitted_set(f"studies of the table {table_name}", len(labels_NC), items),
        kept=tuple(
            (item.key, FEW_LABELS if item.measured.n_pos + item.measured.n_neg else UNLABELLED)
            for item in fitted
            if item.reason == TOO_FEW
        ),
    )


def write_recalibrated(
    folder: Path, parent: VerifiedPackage, report: CalibrationReport, registry: BackboneRegistry | None = None
) -> Manifest:
    """Write the new package, a child of `parent` with the same tensors.

    Raises
    ------
    PackageError
        If the folder exists or cannot be written.
    """
    title = "Calibration on own studies: replaces what is said above about the findings in this table"
    card = parent.files[CARD_FILE].decode(errors="replace").rstrip()
    return derive_package(
        folder,
        parent,
        _draft(parent.manifest, report),
        calibration=_calibration(parent.calibration, report.items),
        metrics={**parent.metrics, "calibration": _measured(parent, report)},
        card=f"{card}\n\n{report.markdown(title)}",
        registry=registry,
    )


def _measured(parent: VerifiedPackage, report: CalibrationReport) -> dict[str, Any]:
    """Return the report, with what the parent had measured of the findings that stay as they were."""
    document = report.to_json()
    before = parent.metrics.get("calibration", {}).get("findings", {})
    for key, _ in report.kept:
        entry = before.get(key, {})
        document["findings"][key]["parent"] = entry.get("parent", entry)
    return document


def _draft(parent: Manifest, report: CalibrationReport) -> ManifestDraft:
    kept = {name: getattr(parent, name) for name in ManifestDraft.model_fields if name != "created"}
    points = {item.key: item.point.threshold for item in report.items}
    training = parent.training.model_copy(
        update={
            "description": f"Calibrated on {report.fitted.n_studies} own studies; "
            f"before: {parent.training.description}"[:500],
            "parent_digest": parent.digest,
        }
    )
    return ManifestDraft(**{**kept, "operating_points": parent.operating_points | points, "training": training})


def _calibration(parent: Calibration, items: tuple[FindingCalibration, ...]) -> Calibration:
    fitted = {item.key for item in items}
    return Calibration(
        {key: method for key, method in parent.root.items() if key not in fitted} | as_calibration(items).root
    )


def _nothing_fitted(n_studies: int, fitted: tuple[FindingCalibration, ...], table_name: str) -> InferenceError:
    most = max(min(item.measured.n_pos, item.measured.n_neg) for item in fitted)
    reasons = ", ".join(sorted({item.reason for item in fitted}))
    return InferenceError(
        f"Not one of {len(fitted)} findings can be calibrated on the {n_studies} studies of {table_name} that could be "
        f"used ({reasons}): the best has {most} studies of its rarer class. No package was written.",
        hint="Label at least 10 studies with and 10 without a finding that the model predicts.",
        code="calibration.nothing",
    )
