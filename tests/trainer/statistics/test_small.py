"""Average precision, Benjamini-Hochberg and strata: against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from engine.inference.operating_points import TOO_FEW
from trainer.statistics.average_precision import average_precision
from trainer.statistics.bootstrap import BootstrapSettings
from trainer.statistics.multiplicity import benjamini_hochberg
from trainer.statistics.paired import compare_scores
from trainer.statistics.strata import category_strata, study_strata, thickness_band


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 5), st.sampled_from([1, 3, 100]))
def test_average_precision_is_scikit_learns(seed: int, n: int, n_unknown: int, n_values: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n + n_unknown).astype(np.int8)
    labels[0], labels[n:] = 1, -1
    scores = random.integers(0, n_values, labels.size).astype(np.float64)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels[:n], scores[:n]))


def test_average_precision_by_hand() -> None:
    """Found at ranks 1 and 3: (1/1 + 2/3) / 2. All equal: the share of positives."""
    labels = np.array([1, 0, 1, 0], np.int8)
    assert average_precision(labels, np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx(5 / 6)
    assert average_precision(labels, np.zeros(4)) == 0.5
    with pytest.raises(ValueError, match="positive"):
        average_precision(np.zeros(4, np.int8), np.zeros(4))


def test_q_values_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4/k is 0.04, 0.04, 0.04, 0.5; what was not tested is not counted."""
    q_values = benjamini_hochberg([0.03, None, 0.01, 0.5, 0.02])
    assert q_values[1] is None
    assert [q_values[index] for index in (2, 4, 0, 3)] == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert benjamini_hochberg([None, None]) == (None, None)
    assert benjamini_hochberg([]) == ()


def _scores(n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    labels = np.stack([np.arange(n) % 2, np.arange(n) % 3 == 0, np.arange(n) < 5], axis=1).astype(np.int8)
    return labels, random.normal(size=(n, 3)), random.normal(size=(n, 3)) + 3 * labels


def test_a_comparison_tests_what_has_cases_and_corrects_over_that() -> None:
    labels, first, second = _scores()
    compared = compare_scores(("a", "b", "c"), labels, first, second, range(60), BootstrapSettings(n_resamples=100))
    a, b, c = compared.findings
    assert (c.auc, c.q, c.note, c.n_pos) == (None, None, TOO_FEW, 5)
    assert a.auc is not None and b.auc is not None  # noqa: PT018
    assert (a.q, b.q) == benjamini_hochberg([a.auc.p, b.auc.p])
    assert compared.mean is not None
    assert compared.mean.n_findings == 2
    assert compared.mean.difference == pytest.approx((a.auc.difference + b.auc.difference) / 2)
    assert compared.mean.interval.low > 0
    document = compared.to_json()
    assert document["findings"]["c"]["difference"] is None
    assert document["findings"]["a"]["difference_low"] > 0


def test_a_stratum_is_measured_on_its_studies_and_held_against_the_same_findings() -> None:
    labels, _, scores = _scores()
    scores[30:, 0] *= -1
    scanners = ["A"] * 30 + ["B"] * 26 + [""] * 4
    a, b, unknown = study_strata(labels, scores, {"scanner": scanners})
    assert [(item.attribute, item.value, item.n_studies) for item in (a, b, unknown)] == [
        ("scanner", "A", 30),
        ("scanner", "B", 26),
        ("scanner", "unknown", 4),
    ]
    assert a.mean_auc is not None and b.mean_auc is not None  # noqa: PT018
    assert a.n_scored == 2, "10 of every third, 15 of every second"
    assert a.mean_auc > 0.9
    assert b.n_scored == 1
    assert b.mean_auc < 0.1
    assert b.overall_mean_auc is not None
    assert b.mean_auc < b.overall_mean_auc < 0.9
    assert (unknown.n_scored, unknown.mean_auc, unknown.overall_mean_auc) == (0, None, None)


def test_categories_part_the_findings() -> None:
    labels, first, second = _scores()
    scores = np.stack([first[:, 0], second[:, 1], second[:, 2]], axis=1)
    blood, mass, unknown = category_strata(("a", "b", "c"), labels, scores, {"a": "blood", "b": "mass"})
    assert (blood.value, blood.n_scored, mass.value, mass.n_scored) == ("blood", 1, "mass", 1)
    assert blood.mean_auc is not None and mass.mean_auc is not None  # noqa: PT018
    assert blood.mean_auc < 0.75 < mass.mean_auc
    assert (unknown.value, unknown.n_scored) == ("unknown", 0)


@pytest.mark.parametrize(
    ("thickness_mm", "band"),
    [
        (0.625, "up to 1.25 mm"),
        (1.25, "up to 1.25 mm"),
        (1.3, "over 1.25 to 2.5 mm"),
        (5.0, "over 2.5 to 5 mm"),
        (7, "over 5 mm"),
    ],
)
def test_thickness_bands(thickness_mm: float, band: str) -> None:
    assert thickness_band(thickness_mm) == band
