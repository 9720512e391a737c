"""What a classifier is worth on studies it has not seen: AUC per finding, thresholds and calibration.

Shapes: N studies, C findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from engine.models.classifier import MoLREClassifier
from trainer.datasets import StudyFeatures, in_order, stack_labels

MIN_CASES = 10
TOO_FEW = "too few"


@dataclass(frozen=True)
class FindingScore:
    """The AUC of one finding; None with the note ``too few`` below `MIN_CASES` positives or negatives."""

    key: str
    auc: float | None
    n_pos: int
    n_neg: int
    note: str


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
    keys: Sequence[str], labels_NC: NDArray[np.int8], logits_NC: NDArray[np.float32], min_cases: int = MIN_CASES
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
    if not studies:
        return evaluate(keys, np.zeros((0, len(keys)), np.int8), np.zeros((0, len(keys)), np.float32))
    return evaluate(keys, stack_labels(studies), predict_logits(classifier, studies))


def _score(key: str, labels_N: NDArray[np.int8], logits_N: NDArray[np.float32], min_cases: int) -> FindingScore:
    n_pos, n_neg = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    if min(n_pos, n_neg) < min_cases:
        return FindingScore(key, None, n_pos, n_neg, TOO_FEW)
    known = labels_N >= 0
    return FindingScore(key, float(roc_auc_score(labels_N[known], logits_N[known])), n_pos, n_neg, "")


@dataclass(frozen=True)
class FindingCalibration:
    """How to read one finding's output; both parts are None or the default where the calibration set has too few cases.

    Attributes
    ----------
    platt
        Slope a and intercept b of ``sigmoid(a · logit + b)``, or None: no calibrated probability is shown.
    operating_point
        Threshold by Youden's index, on the probability that is shown: the calibrated one where `platt` is given, else
        the raw one; 0.5 if `note` is ``too few``.
    """

    key: str
    platt: tuple[float, float] | None
    operating_point: float
    n_pos: int
    n_neg: int
    note: str


def calibrate(
    keys: Sequence[str], labels_NC: NDArray[np.int8], logits_NC: NDArray[np.float32]
) -> tuple[FindingCalibration, ...]:
    """Fit Platt scaling and an operating point for every finding on a set of its own.

    Platt (1999): a logistic regression of the label on the logit, refused where its slope is not positive.
    Youden (1950): the threshold that maximises sensitivity + specificity − 1.
    """
    return tuple(_calibrate(key, labels_NC[:, column], logits_NC[:, column]) for column, key in enumerate(keys))


def _calibrate(key: str, labels_N: NDArray[np.int8], logits_N: NDArray[np.float32]) -> FindingCalibration:
    n_pos, n_neg = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    if min(n_pos, n_neg) < MIN_CASES:
        return FindingCalibration(key, None, 0.5, n_pos, n_neg, TOO_FEW)
    known = labels_N >= 0
    labels, logits = labels_N[known], logits_N[known].astype(np.float64)
    platt = _platt(labels, logits)
    slope, intercept = (1.0, 0.0) if platt is None else platt
    operating_point = float(expit(slope * _youden(labels, logits) + intercept))
    return FindingCalibration(key, platt, operating_point, n_pos, n_neg, "")


def _platt(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> tuple[float, float] | None:
    # A separable finding has no finite maximum-likelihood slope; the weak prior of C = 100 keeps it finite.
    model = LogisticRegression(C=100.0, max_iter=1000).fit(logits[:, None], labels)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, intercept) if slope > 0 else None


def _youden(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> float:
    """Return the best threshold on the logit."""
    false_rate, true_rate, thresholds = roc_curve(labels, logits, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    # Midway to the next score below, so that rounding of an equal logit cannot flip the verdict.
    above = thresholds[best]
    below = thresholds[best + 1] if best + 1 < len(thresholds) else above - 1.0
    return float((above + below) / 2 if np.isfinite(above) else below)
