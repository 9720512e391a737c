"""What a classifier is worth on studies it has not seen: AUC per finding with interval, calibration, use of experts.

Shapes: N studies, C findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from engine.explain.ledger import compute_ledger
from engine.explain.usage import ExpertUsage, cohort_usage, study_usage
from engine.inference.calibrate import CalibrationSettings, fit_calibration, measure_calibration
from engine.inference.calibration_report import CalibrationReport, MeasuredSet, fitted_set
from engine.inference.operating_points import MIN_CASES, TOO_FEW
from engine.models.classifier import MoLREClassifier
from trainer.datasets import StudyFeatures, in_order, stack_labels
from trainer.statistics.average_precision import average_precision
from trainer.statistics.delong import auc


@dataclass(frozen=True)
class FindingScore:
    """The AUC of one finding; None with the note ``too few`` below `MIN_CASES` positives or negatives.

    Attributes
    ----------
    auc_low, auc_high
        The 95 % interval on the logit scale with DeLong's variance; None where there is none, see
        `trainer.statistics.delong.Auc.interval`.
    average_precision
        To be held against the share of positives; None where `auc` is.
    """

    key: str
    auc: float | None
    n_pos: int
    n_neg: int
    note: str
    auc_low: float | None = None
    auc_high: float | None = None
    average_precision: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores of all findings; mean and standard deviation (population) over the findings that have an AUC."""

    n_studies: int
    findings: tuple[FindingScore, ...]
    mean_auc: float | None
    std_auc: float | None

    @property
    def n_scored(self) -> int:
        """Number of findings with an AUC."""
        return sum(score.auc is not None for score in self.findings)

    def score(self, key: str) -> FindingScore:
        """Return the score of one finding; KeyError if it was not evaluated."""
        for score in self.findings:
            if score.key == key:
                return score
        raise KeyError(key)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the findings by key."""
        return {
            "n_studies": self.n_studies,
            "mean_auc": self.mean_auc,
            "std_auc": self.std_auc,
            "n_scored": self.n_scored,
            "findings": {
                score.key: {name: value for name, value in asdict(score).items() if name != "key"}
                for score in self.findings
            },
        }


@torch.no_grad()
def predict_logits(
    classifier: MoLREClassifier, studies: Sequence[StudyFeatures], batch_size: int = 16
) -> NDArray[np.float32]:
    """Return the logits of every study, float32 (N, C), in the order given."""
    classifier.eval()
    batches = [classifier(batch.features_BSD, batch.mask_BS).logits_BC for batch in in_order(studies, batch_size)]
    return cast("NDArray[np.float32]", torch.cat(batches).numpy())


def evaluate(
    keys: Sequence[str], labels_NC: NDArray[np.int8], logits_NC: NDArray[np.floating], min_cases: int = MIN_CASES
) -> Evaluation:
    """Score logits against labels; unknown labels do not count.

    Parameters
    ----------
    keys
        C finding keys.
    labels_NC, logits_NC
        int8 and float (N, C).
    min_cases
        Below this number of positives or negatives a finding gets no AUC.
    """
    findings = tuple(
        _score(key, labels_NC[:, column], logits_NC[:, column], min_cases) for column, key in enumerate(keys)
    )
    scored = [score.auc for score in findings if score.auc is not None]
    return Evaluation(
        n_studies=len(labels_NC),
        findings=findings,
        mean_auc=float(np.mean(scored)) if scored else None,
        std_auc=float(np.std(scored)) if scored else None,
    )


def evaluate_studies(classifier: MoLREClassifier, keys: Sequence[str], studies: Sequence[StudyFeatures]) -> Evaluation:
    """Run the classifier on studies and score it."""
    return evaluate(keys, *labels_and_logits(classifier, keys, studies))


def _score(key: str, labels_N: NDArray[np.int8], logits_N: NDArray[np.floating], min_cases: int) -> FindingScore:
    n_pos, n_neg = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    if min(n_pos, n_neg) < min_cases:
        return FindingScore(key, None, n_pos, n_neg, TOO_FEW)
    measured = auc(labels_N, logits_N)
    interval = measured.interval()
    return FindingScore(
        key,
        measured.value,
        n_pos,
        n_neg,
        "",
        None if interval is None else interval.low,
        None if interval is None else interval.high,
        average_precision(labels_N, logits_N),
    )


def calibration_report(
    classifier: MoLREClassifier,
    keys: Sequence[str],
    settings: CalibrationSettings,
    fit_on: tuple[str, Sequence[StudyFeatures]],
    test_on: tuple[str, Sequence[StudyFeatures]],
) -> CalibrationReport:
    """Calibrate a classifier on studies that it has not learnt from, and measure that on others.

    Parameters
    ----------
    classifier, keys
        The classifier, and its C finding keys.
    settings
        Method and operating-point rule.
    fit_on, test_on
        Description and studies of the two sets, which share no study.
    """
    items = fit_calibration(keys, *labels_and_logits(classifier, keys, fit_on[1]), settings)
    measures = measure_calibration(items, *labels_and_logits(classifier, keys, test_on[1]))
    return CalibrationReport(
        settings=settings,
        items=items,
        fitted=fitted_set(fit_on[0], len(fit_on[1]), items),
        tested=MeasuredSet(test_on[0], len(test_on[1]), False, measures),
    )


@torch.no_grad()
def expert_usage(
    classifier: MoLREClassifier, keys: Sequence[str], studies: Sequence[StudyFeatures]
) -> ExpertUsage | None:
    """Measure which experts the classifier uses on studies; None without experts or studies."""
    classifier.eval()
    measured = [_study_usage(classifier, keys, study) for study in studies]
    return cohort_usage([usage for usage in measured if usage is not None])


def _study_usage(classifier: MoLREClassifier, keys: Sequence[str], study: StudyFeatures) -> ExpertUsage | None:
    # One at a time: padded slices would have gates of their own.
    features_BSD = torch.from_numpy(study.features_SD.astype(np.float32)).unsqueeze(0)
    output = classifier(features_BSD)
    ledger_BCSK, _ = compute_ledger(classifier, features_BSD, output)
    return study_usage(keys, output.gates_BSK[0].numpy(), ledger_BCSK[0].numpy())


def labels_and_logits(
    classifier: MoLREClassifier, keys: Sequence[str], studies: Sequence[StudyFeatures]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return labels and logits of studies, (N, C) each."""
    if not studies:
        return np.zeros((0, len(keys)), np.int8), np.zeros((0, len(keys)), np.float32)
    return stack_labels(studies), predict_logits(classifier, studies)
