"""What the runs of a benchmark are worth: AUC over findings and seeds, and one arm against another.

Two things vary by chance: which patients are in the test split, and where a run's seed led it. The interval of a
difference holds both: every resample draws patients, all their studies with them, and seeds, the same ones for both
arms, and takes the difference of the mean AUCs over findings and drawn seeds. Scores are not averaged over seeds: that
would measure an ensemble, which nobody would run. Three seeds say little of how far runs scatter; the scatter itself
is given beside the interval.

Legend: N studies, C findings, S seeds, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.inference.operating_points import MIN_CASES, TOO_FEW
from trainer.benchmark.results import Finished, Scores
from trainer.statistics.bootstrap import (
    MIN_PATIENTS,
    BootstrapSettings,
    patient_index,
    percentile_interval,
    resampled_weights,
    two_sided_share,
    weighted_auc,
)
from trainer.statistics.delong import PairedAuc, auc, paired_mean_auc
from trainer.statistics.intervals import Interval
from trainer.statistics.multiplicity import benjamini_hochberg

SIGNIFICANT_Q = 0.05


@dataclass(frozen=True, eq=False)
class ArmMeasure:
    """The runs of one backbone and arm.

    Attributes
    ----------
    aucs_SC
        AUC of every seed and finding; NaN where the finding has too few cases.
    resampled_SB
        Mean AUC over findings of every seed in every resample of patients, the same resamples for all arms; None
        with fewer patients than a bootstrap needs. NaN where no finding had both classes.
    """

    runs: tuple[Finished, ...]
    aucs_SC: NDArray[np.float64]
    resampled_SB: NDArray[np.float64] | None

    @property
    def seeds(self) -> tuple[int, ...]:
        """In the order of the rows."""
        return tuple(run.cell.seed for run in self.runs)

    @property
    def finding_aucs_C(self) -> NDArray[np.float64]:
        """The AUC of every finding, the mean over seeds."""
        means_C: NDArray[np.float64] = self.aucs_SC.mean(axis=0)
        return means_C

    @property
    def scored_C(self) -> NDArray[np.bool_]:
        """Which findings have enough cases."""
        scored_C: NDArray[np.bool_] = np.isfinite(self.aucs_SC[0])
        return scored_C

    @property
    def mean(self) -> float | None:
        """Mean over findings of the AUC averaged over seeds; None where no finding has enough cases."""
        return float(self.finding_aucs_C[self.scored_C].mean()) if self.scored_C.any() else None

    @property
    def std(self) -> float | None:
        """Standard deviation (population) over findings of the same."""
        return float(self.finding_aucs_C[self.scored_C].std()) if self.scored_C.any() else None

    @property
    def seed_means(self) -> tuple[float, ...]:
        """Mean AUC over findings of every seed."""
        if not self.scored_C.any():
            return ()
        return tuple(float(value) for value in self.aucs_SC[:, self.scored_C].mean(axis=1))

    @property
    def seed_std(self) -> float | None:
        """Standard deviation (sample) of these means; None with one seed."""
        return float(np.std(self.seed_means, ddof=1)) if len(self.seed_means) > 1 else None


@dataclass(frozen=True)
class FindingChange:
    """One finding, second arm against first: DeLong's test of the AUC averaged over seeds; q over the findings."""

    key: str
    n_pos: int
    n_neg: int
    auc: PairedAuc | None
    q: float | None
    note: str

    @property
    def call(self) -> int:
        """1 where the second arm is better at q < 0.05, -1 where it is worse, else 0."""
        if self.auc is None or self.q is None or self.q >= SIGNIFICANT_Q:
            return 0
        return 1 if self.auc.difference > 0 else -1


@dataclass(frozen=True)
class ArmDifference:
    """The second arm minus the first, over the seeds that both have.

    Attributes
    ----------
    interval, p
        By bootstrap over patients and seeds; None with too few patients.
    n_findings, n_patients, n_resamples
        In the means, and in the bootstrap.
    """

    seeds: tuple[int, ...]
    difference: float
    interval: Interval | None
    p: float | None
    n_findings: int
    n_patients: int
    n_resamples: int
    findings: tuple[FindingChange, ...]

    @property
    def n_better(self) -> int:
        """Findings at which the second arm is better, q < 0.05."""
        return sum(item.call > 0 for item in self.findings)

    @property
    def n_worse(self) -> int:
        """Findings at which it is worse."""
        return sum(item.call < 0 for item in self.findings)


def enough_cases(labels_NC: NDArray[np.int8], min_cases: int = MIN_CASES) -> NDArray[np.bool_]:
    """Return which findings have `min_cases` positives and negatives, (C,)."""
    enough_C: NDArray[np.bool_] = np.minimum((labels_NC == 1).sum(axis=0), (labels_NC == 0).sum(axis=0)) >= min_cases
    return enough_C


def measure_arm(runs: Sequence[Finished], settings: BootstrapSettings, min_cases: int = MIN_CASES) -> ArmMeasure:
    """Measure the runs of one backbone and arm, which all scored the same studies."""
    aucs_SC = np.stack([_finding_aucs(run.scores, min_cases) for run in runs])
    return ArmMeasure(tuple(runs), aucs_SC, _resampled([run.scores for run in runs], settings, min_cases))


def _finding_aucs(scores: Scores, min_cases: int) -> NDArray[np.float64]:
    aucs_C = np.full(len(scores.keys), np.nan)
    for column in np.flatnonzero(enough_cases(scores.labels_NC, min_cases)):
        aucs_C[column] = auc(scores.labels_NC[:, column], scores.logits_NC[:, column]).value
    return aucs_C


def _resampled(scored: Sequence[Scores], settings: BootstrapSettings, min_cases: int) -> NDArray[np.float64] | None:
    first = scored[0]
    if patient_index(first.patients)[1] < MIN_PATIENTS:
        return None
    columns = np.flatnonzero(enough_cases(first.labels_NC, min_cases))
    chunks = []
    for weights_BN in resampled_weights(first.patients, settings):
        chunks.append(np.stack([_mean_aucs(scores, columns, weights_BN) for scores in scored]))
    return np.concatenate(chunks, axis=1)


def _mean_aucs(scores: Scores, columns: NDArray[np.intp], weights_BN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean AUC over the findings that have one in the resample, (B,)."""
    sums_B, counts_B = np.zeros(len(weights_BN)), np.zeros(len(weights_BN))
    for column in columns:
        aucs_B = weighted_auc(scores.labels_NC[:, column], scores.logits_NC[:, column], weights_BN)
        counts_B += np.isfinite(aucs_B)
        sums_B += np.nan_to_num(aucs_B, nan=0.0)
    means_B = np.full(len(weights_BN), np.nan)
    np.divide(sums_B, counts_B, out=means_B, where=counts_B > 0)
    return means_B


def compare_arms(
    first: ArmMeasure, second: ArmMeasure, settings: BootstrapSettings, min_cases: int = MIN_CASES
) -> ArmDifference | None:
    """Hold one arm against another of the same backbone; None where they share no seed, or no finding has enough cases.

    Parameters
    ----------
    first, second
        Measured with the same `settings`, so that their resamples are of the same patients.
    """
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds or not first.scored_C.any():
        return None
    rows = [measure.seeds.index(seed) for measure in (first, second) for seed in seeds]
    first_rows, second_rows = rows[: len(seeds)], rows[len(seeds) :]
    gains_S = np.subtract(np.take(second.seed_means, second_rows), np.take(first.seed_means, first_rows))
    gains_B = _resampled_gains(first, second, (first_rows, second_rows), settings)
    enough = gains_B is not None and gains_B.size > 0
    return ArmDifference(
        seeds=seeds,
        difference=float(gains_S.mean()),
        interval=percentile_interval(gains_B) if gains_B is not None and enough else None,
        p=two_sided_share(gains_B) if gains_B is not None and enough else None,
        n_findings=int(first.scored_C.sum()),
        n_patients=patient_index(first.runs[0].scores.patients)[1],
        n_resamples=0 if gains_B is None else int(gains_B.size),
        findings=_changes(
            [first.runs[row] for row in first_rows], [second.runs[row] for row in second_rows], min_cases
        ),
    )


def _resampled_gains(
    first: ArmMeasure, second: ArmMeasure, rows: tuple[list[int], list[int]], settings: BootstrapSettings
) -> NDArray[np.float64] | None:
    """Return the gain of every resample of patients and seeds, (B,)."""
    if first.resampled_SB is None or second.resampled_SB is None:
        return None
    gains_SB = second.resampled_SB[rows[1]] - first.resampled_SB[rows[0]]
    n_seeds, n_resamples = gains_SB.shape
    # A stream of its own: the patients' draws must be those of every other comparison.
    drawn_SB = np.random.default_rng([settings.seed, 1]).integers(n_seeds, size=(n_seeds, n_resamples))
    gains_B: NDArray[np.float64] = np.take_along_axis(gains_SB, drawn_SB, axis=0).mean(axis=0)
    finite_B: NDArray[np.float64] = gains_B[np.isfinite(gains_B)]
    return finite_B


def _changes(first: Sequence[Finished], second: Sequence[Finished], min_cases: int) -> tuple[FindingChange, ...]:
    scores = first[0].scores
    labels_NC = scores.labels_NC
    tested = [
        paired_mean_auc(
            labels_NC[:, column],
            [run.scores.logits_NC[:, column] for run in first],
            [run.scores.logits_NC[:, column] for run in second],
        )
        if enough
        else None
        for column, enough in enumerate(enough_cases(labels_NC, min_cases))
    ]
    q_values = benjamini_hochberg([None if item is None else item.p for item in tested])
    n_pos_C, n_neg_C = (labels_NC == 1).sum(axis=0), (labels_NC == 0).sum(axis=0)
    return tuple(
        FindingChange(key, int(n_pos), int(n_neg), item, q, TOO_FEW if item is None else "")
        for key, n_pos, n_neg, item, q in zip(scores.keys, n_pos_C, n_neg_C, tested, q_values, strict=True)
    )
