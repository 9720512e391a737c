"""Operating points: at which shown probability a finding counts as positive, by rule, and what that reaches. No torch.

Legend: N studies with a known label of one finding, M distinct scores among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from engine.config import FrozenConfig

RuleName = Literal["youden", "sensitivity", "specificity", "fixed"]

MIN_CASES = 10
TOO_FEW = "too few"
WITHOUT_CASES = 0.5
_Z_95 = 1.959963984540054


class OperatingRule(FrozenConfig):
    """How an operating point is chosen.

    Attributes
    ----------
    rule
        ``youden``: the threshold that maximises sensitivity + specificity − 1 (Youden, 1950). ``sensitivity``: of the
        thresholds that reach `target`, the one with the best specificity; ``specificity``: the other way round.
        ``fixed``: `target` is the threshold itself.
    target
        The sensitivity or specificity to reach, or the fixed threshold on the scale that is shown; None for ``youden``.
    """

    rule: RuleName = "youden"
    target: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        if (self.target is None) != (self.rule == "youden"):
            raise ValueError("youden takes no target; sensitivity, specificity and fixed need one")
        return self

    @property
    def text(self) -> str:
        """The rule in words."""
        match self.rule:
            case "youden":
                return "Youden's index"
            case "fixed":
                return f"fixed at {self.target:g}"
            case _:
                return f"{self.rule} of at least {self.target:g}"


@dataclass(frozen=True)
class Proportion:
    """`count` of `n`; `n` is at least 1."""

    count: int
    n: int

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % score interval of Wilson (1927)."""
        share, z2 = self.value, _Z_95**2
        centre = (share + z2 / (2 * self.n)) / (1 + z2 / self.n)
        half = _Z_95 / (1 + z2 / self.n) * math.sqrt(share * (1 - share) / self.n + z2 / (4 * self.n**2))
        # At 0 and n the bound is exactly 0 and 1; rounding must not leave it a hair off.
        low = 0.0 if self.count == 0 else centre - half
        return low, 1.0 if self.count == self.n else centre + half

    def to_json(self) -> dict[str, Any]:
        """Return value, interval and counts."""
        low, high = self.interval
        return {"value": self.value, "low": low, "high": high, "count": self.count, "n": self.n}


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it reaches on the studies that it was chosen on.

    Attributes
    ----------
    threshold
        A finding counts as positive where its shown probability is at or above it.
    target_reached
        Whether the rule's target was reached; None where the rule has none, or there were too few cases to choose.
    sensitivity, specificity
        Measured on the shown scale; None without positive or negative studies.
    note
        Empty, or what a reader must know.
    """

    threshold: float
    target_reached: bool | None
    sensitivity: Proportion | None
    specificity: Proportion | None
    note: str


@dataclass(frozen=True)
class _Candidates:
    """Thresholds that tell cases apart, from the highest: midway between neighbouring scores.

    `youden` is Youden's index times the numbers of positives and of negatives.
    """

    scores: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    youden: NDArray[np.float64]


def reached(
    labels_N: NDArray[np.int8], shown_N: NDArray[np.float64], threshold: float
) -> tuple[Proportion | None, Proportion | None]:
    """Return sensitivity and specificity of ``shown >= threshold``; unknown labels (-1) do not count.

    Parameters
    ----------
    labels_N
        int8 (N,): 1 present, 0 absent, -1 unknown.
    shown_N
        float64 (N,): the probabilities that are shown.
    """
    called = shown_N >= threshold
    positive, negative = labels_N == 1, labels_N == 0
    n_pos, n_neg = int(positive.sum()), int(negative.sum())
    sensitivity = Proportion(int((called & positive).sum()), n_pos) if n_pos else None
    return sensitivity, Proportion(int((~called & negative).sum()), n_neg) if n_neg else None


def choose_operating_point(
    rule: OperatingRule,
    labels_N: NDArray[np.int8],
    logits_N: NDArray[np.float64],
    show: Callable[[float], float],
    min_cases: int = MIN_CASES,
) -> OperatingPoint:
    """Choose the threshold of one finding and measure it.

    A threshold that calls every study positive, or none, tells nothing apart and is no operating point. Where only such
    a one would reach the target, the nearest that is one is taken, and the result says that the target was missed.

    Parameters
    ----------
    rule
        What to reach.
    labels_N
        int8 (N,): 1 present, 0 absent, -1 unknown, which does not count.
    logits_N
        float64 (N,).
    show
        From a logit to the probability that is shown: calibrated where the finding is, else raw. Must rise.
    min_cases
        Below this number of positives or negatives nothing is chosen: 0.5, or the fixed threshold.
    """
    shown_N = np.array([show(float(logit)) for logit in logits_N])
    threshold, note = _threshold(rule, labels_N, logits_N, show, min_cases)
    sensitivity, specificity = reached(labels_N, shown_N, threshold)
    if note or rule.rule in ("youden", "fixed"):
        return OperatingPoint(threshold, None, sensitivity, specificity, note)
    met = {"sensitivity": sensitivity, "specificity": specificity}[rule.rule]
    hit = met is not None and rule.target is not None and met.value >= rule.target
    note = "" if hit or met is None else f"{rule.text} cannot be reached; the nearest is {met.value:.3f}"
    return OperatingPoint(threshold, hit, sensitivity, specificity, note)


def _threshold(
    rule: OperatingRule,
    labels_N: NDArray[np.int8],
    logits_N: NDArray[np.float64],
    show: Callable[[float], float],
    min_cases: int,
) -> tuple[float, str]:
    """Return the threshold on the shown scale, and why it was not chosen by the rule, if it was not."""
    if rule.rule == "fixed":
        return float(rule.target or WITHOUT_CASES), ""
    known = labels_N >= 0
    if min(int((labels_N == 1).sum()), int((labels_N == 0).sum())) < min_cases:
        return WITHOUT_CASES, TOO_FEW
    candidates = _candidates(labels_N[known], logits_N[known])
    if candidates.scores.size == 0:
        return WITHOUT_CASES, "all studies have the same score"
    if rule.rule == "youden" and candidates.youden.max() <= 0:
        return show(float(candidates.scores[_best(rule, candidates)])), "no threshold is better than chance"
    return show(float(candidates.scores[_best(rule, candidates)])), ""


def _candidates(labels_N: NDArray[np.int8], logits_N: NDArray[np.float64]) -> _Candidates:
    """Walk down the M distinct scores; equal scores are called together, so ties cost what they cost."""
    scores_M, inverse_N = np.unique(-logits_N, return_inverse=True)
    positives_M = np.bincount(inverse_N, weights=labels_N == 1)
    negatives_M = np.bincount(inverse_N, weights=labels_N == 0)
    # Midway to the next score below, so that rounding of an equal score cannot flip the verdict; below the last score
    # everything is called positive.
    middles = -(scores_M[:-1] + scores_M[1:]) / 2
    n_pos, n_neg = positives_M.sum(), negatives_M.sum()
    true_calls, false_calls = np.cumsum(positives_M)[:-1], np.cumsum(negatives_M)[:-1]
    sensitivity, specificity = true_calls / n_pos, (n_neg - false_calls) / n_neg
    # In whole numbers, so that equals are equal.
    return _Candidates(middles, sensitivity, specificity, true_calls * n_neg - false_calls * n_pos)


def _best(rule: OperatingRule, candidates: _Candidates) -> int:
    """Return the candidate that the rule means; of equals the highest threshold."""
    sensitivity, specificity = candidates.sensitivity, candidates.specificity
    if rule.rule == "youden" or rule.target is None:
        return int(np.argmax(candidates.youden))
    # Down the candidates sensitivity only rises and specificity only falls: the first to reach the one has the best of
    # the other, and where none reaches it an end comes nearest.
    if rule.rule == "sensitivity":
        enough = np.flatnonzero(sensitivity >= rule.target)
        return int(enough[0]) if enough.size else _first_of_best(sensitivity, specificity)
    enough = np.flatnonzero(specificity >= rule.target)
    return int(np.argmax(sensitivity[: enough.size])) if enough.size else _first_of_best(specificity, sensitivity)


def _first_of_best(wanted: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Return the first candidate with the best of `wanted`, and among those of `other`."""
    return int(np.lexsort((-other, -wanted))[0])
