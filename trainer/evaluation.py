"""Evaluate what models said on labelled studies: every figure of a report, from plain values.

Legend: N studies, C findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.findings.attribute_table import THICKNESS_COLUMN
from engine.inference.calibrate import FindingMeasure, Quality, measure_finding
from engine.inference.operating_points import Proportion
from engine.inference.scored import ScoredModel, ScoredStudies
from trainer.evaluate import Evaluation, FindingScore, evaluate
from trainer.statistics.bootstrap import BootstrapSettings
from trainer.statistics.paired import PairedComparison, compare_scores
from trainer.statistics.strata import Stratum, category_strata, study_strata, thickness_band


@dataclass(frozen=True)
class FindingReport:
    """One finding: how it ranks (`score`), how it is shown and called (`measure`, at `operating_point`)."""

    score: FindingScore
    measure: FindingMeasure
    operating_point: float
    calibrated: bool

    @property
    def quality(self) -> Quality | None:
        """ECE and Brier score of the probability that is shown; None without a known label."""
        return self.measure.calibrated if self.calibrated else self.measure.raw

    def to_json(self) -> dict[str, Any]:
        """Return plain values; all names are there, None where there is no value."""
        score = {name: value for name, value in asdict(self.score).items() if name != "key"}
        quality = self.quality
        return {
            **score,
            "operating_point": self.operating_point,
            "calibrated": self.calibrated,
            "sensitivity": _share(self.measure.sensitivity),
            "specificity": _share(self.measure.specificity),
            "ece": None if quality is None else quality.ece,
            "brier": None if quality is None else quality.brier,
        }


@dataclass(frozen=True)
class ModelReport:
    """One model on all studies, and by strata."""

    name: str
    version: str
    digest: str
    notice: str
    evaluation: Evaluation
    findings: tuple[FindingReport, ...]
    strata: tuple[Stratum, ...]

    @property
    def title(self) -> str:
        """Name, version and the start of the digest."""
        return f"{self.name} {self.version} ({self.digest[:12]})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the findings by key."""
        precision = [item.score.average_precision for item in self.findings]
        known = [value for value in precision if value is not None]
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "notice": self.notice,
            "mean_auc": self.evaluation.mean_auc,
            "std_auc": self.evaluation.std_auc,
            "mean_average_precision": float(np.mean(known)) if known else None,
            "n_scored": self.evaluation.n_scored,
            "findings": {item.score.key: item.to_json() for item in self.findings},
            "strata": [asdict(stratum) for stratum in self.strata],
        }


@dataclass(frozen=True)
class EvaluationReport:
    """Everything that was measured; `comparison` is second minus first model, None with a single one."""

    table: str
    n_studies: int
    n_patients: int
    n_skipped: int
    n_not_measured: int
    models: tuple[ModelReport, ...]
    comparison: PairedComparison | None

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        return {
            "schema_version": 1,
            "kind": "evaluation",
            "table": self.table,
            "n_studies": self.n_studies,
            "n_patients": self.n_patients,
            "n_skipped": self.n_skipped,
            "n_findings_not_measured": self.n_not_measured,
            "models": [model.to_json() for model in self.models],
            "comparison": None if self.comparison is None else self.comparison.to_json(),
        }


def evaluate_models(scored: ScoredStudies, settings: BootstrapSettings = BootstrapSettings()) -> EvaluationReport:
    """Measure every model, and the second against the first where there are two; unknown labels never count."""
    models = tuple(_model_report(scored, model) for model in scored.models)
    comparison = None
    if len(scored.models) > 1:
        first, second = scored.models
        comparison = compare_scores(
            scored.keys, scored.labels_NC, first.logits_NC, second.logits_NC, scored.patients, settings
        )
    return EvaluationReport(
        table=scored.table,
        n_studies=len(scored.labels_NC),
        n_patients=len(set(scored.patients)),
        n_skipped=scored.n_skipped,
        n_not_measured=scored.n_not_measured,
        models=models,
        comparison=comparison,
    )


def _model_report(scored: ScoredStudies, model: ScoredModel) -> ModelReport:
    labels_NC, logits_NC = scored.labels_NC, model.logits_NC
    evaluation = evaluate(scored.keys, labels_NC, logits_NC)
    findings = tuple(_finding_report(scored, model, column, score) for column, score in enumerate(evaluation.findings))
    strata = (
        *category_strata(scored.keys, labels_NC, logits_NC, scored.categories),
        *study_strata(labels_NC, logits_NC, _banded(scored.attributes)),
    )
    return ModelReport(model.name, model.version, model.digest, model.notice, evaluation, findings, strata)


def _finding_report(scored: ScoredStudies, model: ScoredModel, column: int, score: FindingScore) -> FindingReport:
    method = model.calibration.root.get(score.key)
    point = model.operating_points[score.key]
    labels_N, logits_N = scored.labels_NC[:, column], model.logits_NC[:, column]
    measure = measure_finding(score.key, method, point, labels_N, logits_N)
    return FindingReport(score, measure, point, method is not None)


def _banded(attributes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Put thicknesses into bands; other attributes are taken as they are."""
    banded = dict(attributes)
    if THICKNESS_COLUMN in banded:
        stated = banded.pop(THICKNESS_COLUMN)
        banded["slice thickness"] = tuple(thickness_band(float(text)) if text else "" for text in stated)
    return banded


def _share(share: Proportion | None) -> dict[str, Any] | None:
    return None if share is None else share.to_json()
