"""Fit calibration and operating points per finding on a calibration split, and measure both. No torch.

The solvers are imported where they are used: the settings in here are part of configurations that the window reads.

Legend: N studies, C findings.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.config import FrozenConfig
from engine.errors import InferenceError
from engine.inference.operating_points import (
    MIN_CASES,
    TOO_FEW,
    OperatingPoint,
    OperatingRule,
    Proportion,
    choose_operating_point,
    reached,
)
from engine.models.calibration import Calibration, Platt, Temperature, sigmoid

Method = Literal["platt", "temperature"]

N_BINS = 10
# A separable finding has no finite maximum-likelihood slope; a weak prior on it (variance 100) keeps it finite.
PRIOR_VARIANCE = 100.0
BACKWARDS = "a higher output did not mean a more likely finding"
CONSTANT = "the output is the same for every study"


class CalibrationSettings(FrozenConfig):
    """How a package's outputs are made readable: the method of calibration, and the rule of the operating points."""

    method: Method = "platt"
    operating_point: OperatingRule = OperatingRule()


@dataclass(frozen=True)
class Quality:
    """How well probabilities fit outcomes on `n` studies: `expected_calibration_error` and `brier_score`."""

    n: int
    ece: float
    brier: float


@dataclass(frozen=True)
class FindingMeasure:
    """One finding on one set of studies.

    Attributes
    ----------
    raw, calibrated
        Quality of the two probabilities; None where no label is known, `calibrated` also without a calibration.
    sensitivity, specificity
        At the operating point, on the shown scale.
    """

    key: str
    n_pos: int
    n_neg: int
    raw: Quality | None
    calibrated: Quality | None
    sensitivity: Proportion | None
    specificity: Proportion | None


@dataclass(frozen=True)
class FindingCalibration:
    """How to read one finding's output.

    Attributes
    ----------
    method
        None where no fit is to be had: then no calibrated probability is shown.
    reason
        Why there is none; empty where there is one.
    point
        On the probability that is shown: the calibrated one where there is one, else the raw one.
    measured
        On the very studies of the fit.
    """

    key: str
    method: Temperature | Platt | None
    reason: str
    point: OperatingPoint
    measured: FindingMeasure

    def probability(self, logit: float) -> float:
        """Return the probability that is shown for a logit."""
        return sigmoid(logit) if self.method is None else self.method.probability(logit)


def fit_calibration(
    keys: Sequence[str],
    labels_NC: NDArray[np.int8],
    logits_NC: NDArray[np.floating],
    settings: CalibrationSettings = CalibrationSettings(),
) -> tuple[FindingCalibration, ...]:
    """Fit every finding by itself on studies that the model has not learnt from.

    A fit is refused, and the finding left uncalibrated with the reason, below `MIN_CASES` positive or negative studies,
    where the output never changes, and where its slope would not be positive: turning a finding's ranking round, or
    flattening it, is no calibration.

    Parameters
    ----------
    keys
        C finding keys.
    labels_NC
        int8 (N, C): 1 present, 0 absent, -1 unknown, which does not count.
    logits_NC
        float (N, C).
    settings
        ``platt`` is sigmoid(a · logit + b) by logistic regression (Platt, 1999); ``temperature`` is sigmoid(logit / T)
        (Guo et al., 2017), here with a T of each finding's own.

    Raises
    ------
    InferenceError
        If a logit is not finite.
    """
    if not np.isfinite(logits_NC).all():
        raise InferenceError(
            f"The model cannot be calibrated: {int((~np.isfinite(logits_NC)).sum())} of {logits_NC.size} outputs are "
            "not finite. Nothing was fitted.",
            hint="Choose another model, or leave out the study that it fails on.",
            code="calibration.not_finite",
        )
    return tuple(
        _fit_finding(key, labels_NC[:, column], logits_NC[:, column].astype(np.float64), settings)
        for column, key in enumerate(keys)
    )


def measure_calibration(
    items: Sequence[FindingCalibration], labels_NC: NDArray[np.int8], logits_NC: NDArray[np.floating]
) -> tuple[FindingMeasure, ...]:
    """Measure calibration and operating points on other studies than those of the fit; shapes as in the fit."""
    return tuple(
        measure_finding(item.key, item.method, item.point.threshold, labels_NC[:, column], logits_NC[:, column])
        for column, item in enumerate(items)
    )


def as_calibration(items: Sequence[FindingCalibration]) -> Calibration:
    """Return the content of ``calibration.json``: only the findings that could be calibrated."""
    return Calibration({item.key: item.method for item in items if item.method is not None})


def expected_calibration_error(
    labels_N: NDArray[np.int8], probabilities_N: NDArray[np.float64], n_bins: int = N_BINS
) -> float:
    """Return Σ_b n_b/N · |mean label − mean probability| over equal-mass bins (Nixon et al., 2019).

    Bins hold about N / `n_bins` studies each; equal probabilities are never parted, so that the order of the studies
    does not matter. With few studies the figure is biased upwards.

    Parameters
    ----------
    labels_N
        0 or 1; at least one.
    probabilities_N
        Of label 1.
    """
    order = np.argsort(probabilities_N, kind="stable")
    ordered, labels = probabilities_N[order], labels_N[order].astype(np.float64)
    wanted = [round(index * ordered.size / n_bins) for index in range(1, n_bins)]
    cuts = {int(np.searchsorted(ordered, ordered[cut - 1], side="right")) for cut in wanted if cut > 0}
    edges = sorted({0, *cuts, ordered.size})
    gaps = [abs(float(labels[low:high].sum() - ordered[low:high].sum())) for low, high in itertools.pairwise(edges)]
    return float(sum(gaps) / ordered.size)


def brier_score(labels_N: NDArray[np.int8], probabilities_N: NDArray[np.float64]) -> float:
    """Return the mean squared difference of probability and label (Brier, 1950)."""
    return float(np.mean((probabilities_N - labels_N) ** 2))


def fit_platt(labels_N: NDArray[np.int8], logits_N: NDArray[np.float64]) -> Platt | None:
    """Return the logistic regression of known labels on logits; None if its slope is not positive."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=PRIOR_VARIANCE, max_iter=1000).fit(logits_N[:, None], labels_N)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return Platt(slope=slope, intercept=intercept) if slope > 0 else None


def fit_temperature(labels_N: NDArray[np.int8], logits_N: NDArray[np.float64]) -> Temperature | None:
    """Return the temperature of the greatest (penalised) likelihood; None if 1 / T would not be positive.

    The negative log-likelihood is convex in β = 1 / T, so that the root of its derivative,
    ``Σ (sigmoid(β z) − y) z + β / 100``, is the one optimum.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    def derivative(beta: float) -> float:
        return float(np.sum((expit(beta * logits_N) - labels_N) * logits_N) + beta / PRIOR_VARIANCE)

    if derivative(0.0) >= 0:
        return None
    highest = PRIOR_VARIANCE * float(np.abs(logits_N).sum()) + 1.0
    return Temperature(temperature=1.0 / float(brentq(derivative, 0.0, highest, xtol=1e-12)))


_FITS: dict[Method, Callable[[NDArray[np.int8], NDArray[np.float64]], Platt | Temperature | None]] = {
    "platt": fit_platt,
    "temperature": fit_temperature,
}


def _fit_finding(
    key: str, labels_N: NDArray[np.int8], logits_N: NDArray[np.float64], settings: CalibrationSettings
) -> FindingCalibration:
    method, reason = _fit_method(labels_N, logits_N, settings.method)
    show = sigmoid if method is None else method.probability
    point = choose_operating_point(settings.operating_point, labels_N, logits_N, show)
    measured = measure_finding(key, method, point.threshold, labels_N, logits_N)
    return FindingCalibration(key, method, reason, point, measured)


def _fit_method(
    labels_N: NDArray[np.int8], logits_N: NDArray[np.float64], method: Method
) -> tuple[Platt | Temperature | None, str]:
    known = labels_N >= 0
    labels, logits = labels_N[known], logits_N[known]
    if min(int((labels == 1).sum()), int((labels == 0).sum())) < MIN_CASES:
        return None, TOO_FEW
    if np.ptp(logits) == 0:
        return None, CONSTANT
    fitted = _FITS[method](labels, logits)
    return fitted, "" if fitted is not None else BACKWARDS


def measure_finding(
    key: str,
    method: Platt | Temperature | None,
    threshold: float,
    labels_N: NDArray[np.int8],
    logits_N: NDArray[np.floating],
) -> FindingMeasure:
    """Measure one finding's probabilities and its operating point.

    Parameters
    ----------
    method
        From logit to the probability that is shown; None shows the sigmoid of the logit.
    threshold
        On the scale that is shown.
    labels_N
        int8 (N,): 1 present, 0 absent, -1 unknown, which does not count.
    logits_N
        float (N,).
    """
    known = labels_N >= 0
    labels, logits = labels_N[known], logits_N[known]
    raw = np.array([sigmoid(float(logit)) for logit in logits])
    shown = raw if method is None else np.array([method.probability(float(logit)) for logit in logits])
    sensitivity, specificity = reached(labels, shown, threshold)
    return FindingMeasure(
        key,
        int((labels == 1).sum()),
        int((labels == 0).sum()),
        _quality(labels, raw),
        None if method is None else _quality(labels, shown),
        sensitivity,
        specificity,
    )


def _quality(labels_N: NDArray[np.int8], probabilities_N: NDArray[np.float64]) -> Quality | None:
    if labels_N.size == 0:
        return None
    return Quality(
        labels_N.size,
        expected_calibration_error(labels_N, probabilities_N),
        brier_score(labels_N, probabilities_N),
    )
