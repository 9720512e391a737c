"""The mean AUC over findings by bootstrap over patients: intervals, and the paired difference of two models.

DeLong's variance holds for one finding and takes studies for independent. The mean over findings of the same studies
has no such formula, and studies of one patient are not independent: patients are drawn, and all their studies with
them.

Legend: N studies, C findings, P patients, B resamples, G groups of equal scores.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config import FrozenConfig
from trainer.statistics.intervals import LEVEL, Interval

# Weights of resamples held at once; draws do not depend on it, they come row by row from one stream.
CHUNK_CELLS = 2_000_000
# Resamples of a handful of patients hardly differ: their interval would claim a certainty that is not there.
MIN_PATIENTS = 10


class BootstrapSettings(FrozenConfig):
    """Number of resamples (B) and seed: the same settings and studies give the same numbers."""

    n_resamples: int = 2000
    seed: int = 1


@dataclass(frozen=True)
class MeanDifference:
    """Two models' mean AUC over the same findings on the same studies.

    Attributes
    ----------
    first, second, difference
        Measured on the studies as they are; `difference` is `second` minus `first`.
    first_interval, second_interval, interval
        Percentile intervals of the two means and of the difference, from the same resamples.
    p
        Two-sided: twice the smaller share of resamples on the far side of 0, itself counted, at most 1.
    n_resamples
        Those that count; in the others no finding had both classes.
    """

    first: float
    second: float
    difference: float
    first_interval: Interval
    second_interval: Interval
    interval: Interval
    p: float
    n_findings: int
    n_patients: int
    n_resamples: int
    seed: int


def patient_index(groups: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """Return the patient's number of every study, and how many patients there are; numbered as they come."""
    numbers: dict[Hashable, int] = {}
    index_N = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)
    return index_N, len(numbers)


def resampled_weights(groups: Sequence[Hashable], settings: BootstrapSettings) -> Iterator[NDArray[np.float64]]:
    """Yield in chunks (B, N) how often each study was drawn: as often as its patient, of P draws of P patients."""
    index_N, n_patients = patient_index(groups)
    random = np.random.default_rng(settings.seed)
    shares = np.full(n_patients, 1.0 / n_patients)
    chunk = max(1, CHUNK_CELLS // max(len(groups), 1))
    for start in range(0, settings.n_resamples, chunk):
        drawn_BP = random.multinomial(n_patients, shares, size=min(chunk, settings.n_resamples - start))
        yield drawn_BP[:, index_N].astype(np.float64)


def weighted_auc(
    labels_N: NDArray[np.int8], scores_N: NDArray[np.floating], weights_BN: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the AUC with every study counted as often as its weight, (B,); NaN where a class has no weight.

    Parameters
    ----------
    labels_N
        int8: 1 present, 0 absent, -1 unknown, which does not count.
    """
    known = np.flatnonzero(labels_N >= 0)
    if known.size == 0:
        return np.full(len(weights_BN), np.nan)
    order = known[np.argsort(scores_N[known], kind="stable")]
    starts_G = np.append(0, np.flatnonzero(np.diff(scores_N[order])) + 1)
    positive = labels_N[order] == 1
    weights = weights_BN[:, order]
    positive_BG = np.add.reduceat(weights * positive, starts_G, axis=1)
    negative_BG = np.add.reduceat(weights * ~positive, starts_G, axis=1)
    right_B = np.sum(positive_BG * (np.cumsum(negative_BG, axis=1) - negative_BG / 2.0), axis=1)
    pairs_B = positive_BG.sum(axis=1) * negative_BG.sum(axis=1)
    aucs_B = np.full(len(weights), np.nan)
    np.divide(right_B, pairs_B, out=aucs_B, where=pairs_B > 0)
    return aucs_B


def paired_bootstrap(
    labels_NC: NDArray[np.int8],
    first_NC: NDArray[np.floating],
    second_NC: NDArray[np.floating],
    groups: Sequence[Hashable],
    settings: BootstrapSettings = BootstrapSettings(),
    level: float = LEVEL,
) -> MeanDifference | None:
    """Compare two models' mean AUC over all findings given, on the same resamples of patients.

    Parameters
    ----------
    labels_NC, first_NC, second_NC
        Labels (1, 0, -1 unknown) and the two models' scores. Leave out findings with too few cases beforehand.
    groups
        The patient of each study.

    Returns
    -------
    MeanDifference | None
        None where no finding has both classes, and below `MIN_PATIENTS` patients. In a resample that left a finding
        without one class, the means are over the others, the same for both models.
    """
    n_patients = patient_index(groups)[1]
    if n_patients < MIN_PATIENTS:
        return None
    means_2 = _means((first_NC, second_NC), labels_NC, np.ones((1, len(groups))))[:, 0]
    if not np.isfinite(means_2).all():
        return None
    chunks = [_means((first_NC, second_NC), labels_NC, weights) for weights in resampled_weights(groups, settings)]
    means_2B = np.concatenate(chunks, axis=1)
    means_2B = means_2B[:, np.isfinite(means_2B).all(axis=0)]
    gains_B = means_2B[1] - means_2B[0]
    return MeanDifference(
        first=float(means_2[0]),
        second=float(means_2[1]),
        difference=float(means_2[1] - means_2[0]),
        first_interval=percentile_interval(means_2B[0], level),
        second_interval=percentile_interval(means_2B[1], level),
        interval=percentile_interval(gains_B, level),
        p=two_sided_share(gains_B),
        n_findings=labels_NC.shape[1],
        n_patients=n_patients,
        n_resamples=gains_B.size,
        seed=settings.seed,
    )


def _means(
    models: Sequence[NDArray[np.floating]], labels_NC: NDArray[np.int8], weights_BN: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each model's mean AUC over the findings that have one in the resample, (models, B)."""
    sums_2B = np.zeros((len(models), len(weights_BN)))
    counts_B = np.zeros(len(weights_BN))
    for column in range(labels_NC.shape[1]):
        aucs_2B = np.stack([weighted_auc(labels_NC[:, column], scores[:, column], weights_BN) for scores in models])
        counts_B += np.isfinite(aucs_2B[0])
        sums_2B += np.nan_to_num(aucs_2B, nan=0.0)
    means_2B = np.full_like(sums_2B, np.nan)
    np.divide(sums_2B, counts_B, out=means_2B, where=counts_B > 0)
    return means_2B


def percentile_interval(values_B: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return the percentile interval of resampled values."""
    low, high = np.quantile(values_B, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(low), float(high), "percentile")


def two_sided_share(gains_B: NDArray[np.float64]) -> float:
    """Return p that a gain is 0: twice the smaller share on the far side of 0, the measured one counted, at most 1."""
    at_most, at_least = int((gains_B <= 0).sum()), int((gains_B >= 0).sum())
    return min(1.0, 2.0 * (1 + min(at_most, at_least)) / (1 + gains_B.size))
