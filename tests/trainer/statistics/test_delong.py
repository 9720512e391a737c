"""DeLong against an independent implementation from the definition, against scikit-learn, and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from trainer.statistics.delong import auc, paired_auc, placements
from trainer.statistics.intervals import LEVEL, newcombe_interval


def _psi(positive: float, negative: float) -> float:
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def _naive(labels: np.ndarray, *models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and their covariance as DeLong et al. (1988) define them, pair by pair."""
    v10, v01 = [], []
    for scores in models:
        positives, negatives = scores[labels == 1], scores[labels == 0]
        v10.append([sum(_psi(x, y) for y in negatives) / len(negatives) for x in positives])
        v01.append([sum(_psi(x, y) for x in positives) / len(positives) for y in negatives])
    aucs = np.mean(v10, axis=1)
    s10, s01 = np.zeros((len(models),) * 2), np.zeros((len(models),) * 2)
    for r, s in itertools.product(range(len(models)), repeat=2):
        s10[r, s] = sum((a - aucs[r]) * (b - aucs[s]) for a, b in zip(v10[r], v10[s], strict=True)) / (len(v10[r]) - 1)
        s01[r, s] = sum((a - aucs[r]) * (b - aucs[s]) for a, b in zip(v01[r], v01[s], strict=True)) / (len(v01[r]) - 1)
    return aucs, s10 / len(v10[0]) + s01 / len(v01[0])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 14),
    st.integers(2, 17),
    st.sampled_from([2, 4, 50]),
    st.integers(0, 5),
)
def test_it_is_delongs_definition_ties_and_unknowns_included(
    seed: int, n_pos: int, n_neg: int, n_values: int, n_unknown: int
) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.array([1] * n_pos + [0] * n_neg + [-1] * n_unknown, np.int8))
    first, second = random.integers(0, n_values, (2, labels.size)).astype(np.float64)
    known = labels >= 0
    aucs, covariance = _naive(labels[known], first[known], second[known])
    single = auc(labels, first)
    assert single.value == pytest.approx(aucs[0], abs=1e-12)
    assert single.value == pytest.approx(roc_auc_score(labels[known], first[known]), abs=1e-12)
    assert single.variance == pytest.approx(covariance[0, 0], abs=1e-12)
    assert (single.n_pos, single.n_neg) == (n_pos, n_neg)
    paired = paired_auc(labels, first, second)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert paired.difference == pytest.approx(aucs[1] - aucs[0], abs=1e-12)
    if variance > 1e-12:
        z = (aucs[1] - aucs[0]) / math.sqrt(variance)
        assert paired.p == pytest.approx(2 * norm.sf(abs(z)), abs=1e-9)
        assert paired.interval is not None
        assert paired.interval.high - paired.difference == pytest.approx(norm.ppf(0.975) * math.sqrt(variance))
    else:
        assert paired.interval is None


def test_a_case_by_hand() -> None:
    """Positives 3, 1 and negatives 2, 0: of four pairs only (1, 2) is wrong. V10 = 1, 1/2; V01 = 1/2, 1."""
    labels, scores = np.array([1, 1, 0, 0], np.int8), np.array([3.0, 1.0, 2.0, 0.0])
    counted = placements(labels, scores)
    assert counted.positive_M.tolist() == [4, 2]
    assert counted.negative_K.tolist() == [2, 4]
    measured = auc(labels, scores)
    assert measured.value == 0.75
    assert measured.variance == 0.125 / 2 + 0.125 / 2
    interval = measured.interval("wald")
    assert interval is not None
    assert interval.low == pytest.approx(0.75 - 1.959964 * math.sqrt(0.125), abs=1e-6)
    logit = measured.interval()
    assert logit is not None
    half = 1.959964 * math.sqrt(0.125) / (0.75 * 0.25)
    assert logit.low == pytest.approx(1 / (1 + math.exp(half - math.log(3))), abs=1e-6)
    assert 0 < logit.low < 0.75 < logit.high < 1


def test_swapping_the_models_turns_the_difference_round() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 50).astype(np.int8)
    first, second = random.normal(size=(2, 50)) + labels
    there, back = paired_auc(labels, first, second), paired_auc(labels, second, first)
    assert there.difference == -back.difference
    assert there.p == back.p


def test_a_model_does_not_differ_from_a_rising_function_of_itself() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 40).astype(np.int8)
    scores = random.normal(size=40) + labels
    paired = paired_auc(labels, scores, np.exp(scores))
    assert (paired.difference, paired.interval, paired.p) == (0.0, None, 1.0)


def test_where_all_scores_are_equal_there_is_no_interval() -> None:
    labels = np.array([1] * 10 + [0] * 12, np.int8)
    measured = auc(labels, np.full(22, 0.3))
    assert (measured.value, measured.variance, measured.interval()) == (0.5, 0.0, None)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_ranking_is_not_called_certain(sign: int) -> None:
    labels = np.array([1] * 10 + [0] * 40, np.int8)
    measured = auc(labels, sign * labels.astype(np.float64))
    interval = measured.interval()
    assert measured.variance == 0.0
    assert interval is not None
    assert interval.method == "newcombe"
    assert (interval.high == 1.0) == (sign == 1)
    assert (interval.low == 0.0) == (sign == -1)
    assert 0.05 < interval.high - interval.low < 0.4


def test_newcombes_bound_solves_its_equation_and_narrows_with_cases() -> None:
    interval = newcombe_interval(1.0, 10, 40)
    t, z = interval.low, norm.ppf((1 + LEVEL) / 2)
    variance = t * (1 - t) / 400 * (1 + (25 - 1) * (1 - t) / (2 - t) + (25 - 1) * t / (1 + t))
    assert 1 - t == pytest.approx(z * math.sqrt(variance), abs=1e-9)
    assert newcombe_interval(1.0, 100, 400).low > t


def test_opposite_perfect_rankings_have_no_variance_and_no_p() -> None:
    labels = np.array([1] * 5 + [0] * 5, np.int8)
    paired = paired_auc(labels, -labels.astype(float), labels.astype(float))
    assert (paired.difference, paired.interval, paired.p) == (1.0, None, None)


@pytest.mark.parametrize("labels", [[1, 1, -1], [0, 0, 0], [-1, -1, -1]])
def test_one_class_has_no_auc(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        auc(np.array(labels, np.int8), np.arange(3.0))


def test_a_score_that_is_not_finite_is_refused_where_it_counts() -> None:
    labels = np.array([1, 0, 1, 0, -1], np.int8)
    with pytest.raises(ValueError, match="finite"):
        auc(labels, np.array([1.0, np.nan, 2.0, 3.0, 4.0]))
    assert auc(labels, np.array([1.0, 0.0, 2.0, 3.0, np.nan])).value == 0.5


def test_a_single_positive_has_an_auc_and_no_interval() -> None:
    measured = auc(np.array([1, 0, 0], np.int8), np.array([2.0, 1.0, 3.0]))
    assert (measured.value, measured.variance, measured.interval()) == (0.5, None, None)


def test_the_logit_interval_covers_about_as_often_as_it_says() -> None:
    """400 draws of 20 positives and 80 negatives one standard deviation apart: the true AUC is Φ(1/√2)."""
    random = np.random.default_rng(4)
    labels = np.array([1] * 20 + [0] * 80, np.int8)
    truth = norm.cdf(1 / math.sqrt(2))
    intervals = [auc(labels, random.normal(size=100) + labels).interval() for _ in range(400)]
    covered = np.mean([item is not None and item.low <= truth <= item.high for item in intervals])
    assert 0.92 <= covered <= 0.98
