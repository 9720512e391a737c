"""Run one model, or two, on a person's own table of labelled studies, as an evaluation needs it.

Torch is imported inside the functions: the window's process imports this package and must never load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.operations.labelled_studies import MeasuredStudy, SkippedStudy, run_studies
from app.operations.run_inference import Device
from engine.errors import ConfigError, ExportError
from engine.findings.attribute_table import THICKNESS_COLUMN
from engine.findings.catalogue import Catalogue
from engine.inference.compute import AUTOMATIC, Computing
from engine.progress import NULL_CONTEXT, Context
from trainer.protocol import EVALUATION_FILES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.inference.predictor import Predictor
    from engine.inference.scored import ScoredModel, ScoredStudies
    from engine.models.backbones.registry import BackboneRegistry

SCANNER = "scanner"


@dataclass(frozen=True)
class EvaluationRequest:
    """What to run on what: one package or two, a table of labels, and a table of attributes or None."""

    packages: tuple[Path, ...]
    labels: Path
    attributes: Path | None
    device: Device
    how: Computing = AUTOMATIC


def score_studies(
    request: EvaluationRequest,
    catalogue: Catalogue,
    registry: BackboneRegistry | None = None,
    context: Context = NULL_CONTEXT,
) -> tuple[ScoredStudies, tuple[SkippedStudy, ...]]:
    """Run every model on every study of the table.

    A study that cannot be read or classified is set aside with its reason. What studies are like comes from the
    headers (``scanner``: the manufacturer; ``slice_thickness_mm``), and from the table of attributes where it says
    something, which goes before.

    Raises
    ------
    ConfigError
        If a table is refused, or has no finding that every model predicts.
    PackageError
        If a package is refused.
    InferenceError
        If the device is not there, or no study can be used.
    """
    from engine.findings.attribute_table import read_attribute_table
    from engine.findings.label_table import label_array, read_label_table

    table = read_label_table(request.labels, catalogue)
    attributes = {} if request.attributes is None else read_attribute_table(request.attributes)
    # Seconds of imports come after what can be refused at once.
    from engine.inference.predictor import Predictor
    from engine.inference.scored import ScoredStudies

    predictors = tuple(
        Predictor.open(package, catalogue, request.device, registry, how=request.how) for package in request.packages
    )
    covered = set(table.keys).intersection(*(item.package.manifest.finding_keys for item in predictors))
    keys = tuple(key for key in predictors[0].package.manifest.finding_keys if key in covered)
    if not keys:
        raise _no_finding(request.labels)
    measured, skipped = run_studies(table, predictors, keys, context)
    scored = ScoredStudies(
        table=table.name,
        keys=keys,
        n_not_measured=len(predictors[0].package.manifest.finding_keys) - len(keys),
        labels_NC=label_array([item.study for item in measured], keys),
        patients=tuple(item.patient for item in measured),
        attributes=_attributes(measured, attributes),
        categories={key: catalogue[key].category for key in keys},
        models=tuple(_model(item, keys, measured, index) for index, item in enumerate(predictors)),
        n_skipped=len(skipped),
    )
    return scored, tuple(skipped)


def require_no_evaluation(out: Path) -> None:
    """Refuse a folder that holds an evaluation, before the long work.

    Raises
    ------
    ExportError
        If one of its files is there.
    """
    for name in EVALUATION_FILES:
        if (out / name).exists():
            raise ExportError(
                f"{out} holds a {name} already, which is never overwritten. Nothing was done.",
                hint="Choose another folder for the evaluation.",
                code="output.exists",
            )


def _model(predictor: Predictor, keys: Sequence[str], measured: Sequence[MeasuredStudy], index: int) -> ScoredModel:
    from engine.inference.scored import ScoredModel

    manifest = predictor.package.manifest
    return ScoredModel(
        name=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        notice=manifest.notice,
        calibration=predictor.package.calibration,
        operating_points={key: manifest.operating_points[key] for key in keys},
        logits_NC=_logits(manifest.finding_keys, keys, [item.logits[index] for item in measured]),
    )


def _logits(model_keys: Sequence[str], keys: Sequence[str], logits: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    import numpy as np

    return np.array(logits, dtype=np.float64)[:, [model_keys.index(key) for key in keys]]


def _attributes(
    measured: Sequence[MeasuredStudy], table: Mapping[Path, Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Return every attribute's value of every study; text, empty where unknown."""
    rows = [
        {
            SCANNER: item.manufacturer,
            THICKNESS_COLUMN: "" if item.thickness_mm is None else repr(item.thickness_mm),
            **{name: value for name, value in table.get(item.study.path.resolve(), {}).items() if value},
        }
        for item in measured
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: tuple(row.get(name, "") for row in rows) for name in names}


def _no_finding(labels: Path) -> ConfigError:
    return ConfigError(
        f"The table of labels {labels} has no column of a finding that the model predicts (with --against: that both "
        "predict). Nothing was done.",
        hint="Look at the model's findings with models show MODEL.",
        code="labels.no_common_finding",
    )
