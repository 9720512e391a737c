"""The AUC with DeLong's variance, and the test of two correlated AUCs (DeLong et al., 1988), in O(N log N).

As in Sun and Xu (2014) sorting takes the place of comparing all pairs. Where they use midranks, the placements here are
counted with two searches and kept as whole numbers, so that ties are exact and a variance of zero is exactly zero.

Legend: N studies with a known label of one finding, M of them positive, K negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.statistics.intervals import (
    LEVEL,
    Interval,
    logit_interval,
    newcombe_interval,
    two_sided_p,
    wald_interval,
)

MIN_FOR_VARIANCE = 2


@dataclass(frozen=True, eq=False)
class Placements:
    """How each study stands among those of the other class.

    Attributes
    ----------
    positive_M
        int64: for each positive, twice the number of negatives below it plus the number equal to it (2 K · V₁₀).
    negative_K
        int64: for each negative, twice the number of positives above it plus the number equal to it (2 M · V₀₁).
    """

    positive_M: NDArray[np.int64]
    negative_K: NDArray[np.int64]

    @property
    def auc(self) -> float:
        """The share of pairs ranked right; an equal pair counts a half."""
        return int(self.positive_M.sum()) / (2 * self.positive_M.size * self.negative_K.size)


@dataclass(frozen=True)
class Auc:
    """The AUC of one finding; `variance` is None with fewer than two positives or negatives."""

    value: float
    variance: float | None
    n_pos: int
    n_neg: int

    def interval(self, method: Literal["logit", "wald"] = "logit", level: float = LEVEL) -> Interval | None:
        """Return the confidence interval.

        Parameters
        ----------
        method
            ``logit`` (default) stays inside (0, 1) and holds its level better for an AUC near 1 (Qin and Hotilovac,
            2008); ``wald`` is DeLong's own, ``auc ± z · SE``.

        Returns
        -------
        Interval | None
            Of Newcombe's method 5 where every pair is ranked right, or every pair wrong: DeLong's variance is 0 there
            and claims certainty. None without a variance, and where all scores are equal.
        """
        if self.variance is None:
            return None
        if self.value in (0.0, 1.0):
            return newcombe_interval(self.value, self.n_pos, self.n_neg, level)
        if self.variance == 0.0:
            return None
        return {"logit": logit_interval, "wald": wald_interval}[method](self.value, math.sqrt(self.variance), level)


@dataclass(frozen=True)
class PairedAuc:
    """Two scores of the same studies.

    Attributes
    ----------
    difference
        `second` minus `first`.
    interval, p
        Of the difference (Wald), and two-sided that it is 0. Where the variance of the difference is 0, which says
        nothing of its certainty, `interval` is None, and `p` is 1 for equal AUCs, else None.
    """

    first: float
    second: float
    difference: float
    interval: Interval | None
    p: float | None


def placements(labels_N: NDArray[np.int8], scores_N: NDArray[np.floating]) -> Placements:
    """Count the placements of one finding.

    Parameters
    ----------
    labels_N
        int8: 1 present, 0 absent, -1 unknown, which does not count.
    scores_N
        Finite; higher means more likely present.

    Raises
    ------
    ValueError
        If there is no positive, no negative, or a score that counts is not finite.
    """
    positive, negative = scores_N[labels_N == 1], scores_N[labels_N == 0]
    if positive.size == 0 or negative.size == 0:
        raise ValueError(f"an AUC needs both classes; there are {positive.size} positives, {negative.size} negatives")
    if not (np.isfinite(positive).all() and np.isfinite(negative).all()):
        raise ValueError("an AUC needs finite scores")
    ordered = np.sort(negative)
    below_M = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    ordered = np.sort(positive)
    above_K = np.searchsorted(ordered, negative, "left") + np.searchsorted(ordered, negative, "right")
    return Placements(below_M.astype(np.int64), 2 * positive.size - above_K.astype(np.int64))


def auc(labels_N: NDArray[np.int8], scores_N: NDArray[np.floating]) -> Auc:
    """Return the AUC with DeLong's variance ``var(V₁₀) / M + var(V₀₁) / K``; parameters as of `placements`."""
    counted = placements(labels_N, scores_N)
    n_pos, n_neg = counted.positive_M.size, counted.negative_K.size
    return Auc(counted.auc, _variance(counted.positive_M, counted.negative_K), n_pos, n_neg)


def paired_auc(
    labels_N: NDArray[np.int8],
    first_N: NDArray[np.floating],
    second_N: NDArray[np.floating],
    level: float = LEVEL,
) -> PairedAuc:
    """Compare two scores of the same studies by DeLong's test; parameters as of `placements`.

    The variance of the difference, ``S₁₁ + S₂₂ − 2 S₁₂``, is that of the studies' differences in placement.
    """
    return paired_mean_auc(labels_N, [first_N], [second_N], level)


def paired_mean_auc(
    labels_N: NDArray[np.int8],
    first_RN: Sequence[NDArray[np.floating]],
    second_RN: Sequence[NDArray[np.floating]],
    level: float = LEVEL,
) -> PairedAuc:
    """Compare the mean AUC of R scores with that of R others on the same studies, as of runs with other seeds.

    A mean of AUCs on the same studies has the mean of their placements, so that DeLong's test holds for it as for a
    single one. It says what chance does in choosing studies; the runs are taken as given.

    Parameters
    ----------
    labels_N
        As of `placements`.
    first_RN, second_RN
        As many scores of one kind as of the other, each as of `placements`.

    Raises
    ------
    ValueError
        As `placements`, and if there is no score, or not as many of both kinds.
    """
    n_runs = len(first_RN)
    if not n_runs or len(second_RN) != n_runs:
        raise ValueError(f"as many scores of both kinds are needed, not {n_runs} and {len(second_RN)}")
    first, second = _summed(labels_N, first_RN), _summed(labels_N, second_RN)
    gain = int(second.positive_M.sum()) - int(first.positive_M.sum())
    difference = gain / (2 * first.positive_M.size * first.negative_K.size * n_runs)
    variance = _variance(second.positive_M - first.positive_M, second.negative_K - first.negative_K)
    means = first.auc / n_runs, second.auc / n_runs
    if not variance:
        return PairedAuc(*means, difference, None, None if gain or variance is None else 1.0)
    error = math.sqrt(variance) / n_runs
    return PairedAuc(*means, difference, wald_interval(difference, error, level), two_sided_p(difference / error))


def _summed(labels_N: NDArray[np.int8], scores_RN: Sequence[NDArray[np.floating]]) -> Placements:
    """Return the sums of several scores' placements: whole numbers, R times their mean."""
    counted = [placements(labels_N, scores_N) for scores_N in scores_RN]
    return Placements(
        np.sum([item.positive_M for item in counted], axis=0), np.sum([item.negative_K for item in counted], axis=0)
    )


def _variance(positive_M: NDArray[np.int64], negative_K: NDArray[np.int64]) -> float | None:
    """Return the variance of a mean of (differences of) placements, exactly 0 where they do not vary."""
    n_pos, n_neg = positive_M.size, negative_K.size
    if min(n_pos, n_neg) < MIN_FOR_VARIANCE:
        return None
    if np.ptp(positive_M) == 0 and np.ptp(negative_K) == 0:
        return 0.0
    # The placements are 2 K and 2 M times the shares whose variance is meant.
    of_positives = float(np.var(positive_M, ddof=1)) / (4.0 * n_neg**2 * n_pos)
    return of_positives + float(np.var(negative_K, ddof=1)) / (4.0 * n_pos**2 * n_neg)
