from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate import TOO_FEW, calibrate, evaluate


def _labels(n_pos: int, n_neg: int, n_unknown: int = 0) -> np.ndarray:
    return np.array([1] * n_pos + [0] * n_neg + [-1] * n_unknown, dtype=np.int8)[:, None]


def test_auc_is_the_share_of_pairs_ranked_right() -> None:
    random = np.random.default_rng(3)
    labels = _labels(12, 15, 5)
    logits = random.normal(size=(32, 1)).astype(np.float32)
    pairs = [1.0 if positive > negative else 0.0 for positive in logits[:12, 0] for negative in logits[12:27, 0]]
    score = evaluate(("a",), labels, logits).score("a")
    assert score.auc == pytest.approx(np.mean(pairs))
    assert (score.n_pos, score.n_neg, score.note) == (12, 15, "")


@pytest.mark.parametrize(("n_pos", "n_neg"), [(9, 30), (30, 9), (0, 0)])
def test_too_few_cases_give_no_auc_but_their_count(n_pos: int, n_neg: int) -> None:
    labels = _labels(n_pos, n_neg, 1)
    logits = np.arange(len(labels), dtype=np.float32)[:, None]
    score = evaluate(("a",), labels, logits).score("a")
    assert (score.auc, score.n_pos, score.n_neg, score.note) == (None, n_pos, n_neg, TOO_FEW)


def test_mean_and_std_are_over_the_findings_that_have_an_auc() -> None:
    labels = np.concatenate([_labels(10, 10), _labels(10, 10), _labels(3, 17)], axis=1)
    perfect = labels[:, 0].astype(np.float32)
    logits = np.stack([perfect, np.zeros(20, np.float32), perfect], axis=1)
    result = evaluate(("a", "b", "c"), labels, logits)
    assert [score.auc for score in result.findings] == [1.0, 0.5, None]
    assert (result.mean_auc, result.std_auc, result.n_scored) == (0.75, 0.25, 2)
    assert result.to_json()["findings"]["c"] == {"auc": None, "n_pos": 3, "n_neg": 17, "note": TOO_FEW}


def test_calibration_recovers_the_probabilities_that_made_the_labels() -> None:
    random = np.random.default_rng(5)
    logits = random.normal(0, 1, (4000, 1))
    labels = (random.random((4000, 1)) < 1 / (1 + np.exp(-(2.0 * logits - 1.0)))).astype(np.int8)
    (item,) = calibrate(("a",), labels, logits.astype(np.float32))
    assert item.platt is not None
    assert item.platt == pytest.approx((2.0, -1.0), abs=0.2)


def test_operating_point_splits_separable_scores_between_the_classes() -> None:
    labels = _labels(10, 10)
    logits = np.where(labels == 1, 3.0, -1.0).astype(np.float32)
    (item,) = calibrate(("a",), labels, logits)
    assert item.platt is not None
    slope, intercept = item.platt
    assert item.operating_point == pytest.approx(1 / (1 + np.exp(-(slope * 1.0 + intercept))))
    assert item.note == ""


def test_the_calibrated_probability_is_positive_exactly_where_youden_says_so() -> None:
    """The reader sees the calibrated value beside the tick: both must be on one scale."""
    random = np.random.default_rng(11)
    labels = (random.random((400, 1)) < 0.15).astype(np.int8)
    logits = (labels * 1.2 + random.normal(0, 1, (400, 1))).astype(np.float32)
    (item,) = calibrate(("a",), labels, logits)
    assert item.platt is not None
    slope, intercept = item.platt
    shown = 1 / (1 + np.exp(-(slope * logits + intercept)))
    called = shown >= item.operating_point
    youden = called[labels == 1].mean() - called[labels == 0].mean()
    others = [(logits >= cut)[labels == 1].mean() - (logits >= cut)[labels == 0].mean() for cut in logits]
    assert youden == pytest.approx(max(others))
    assert item.operating_point < 0.5, "with 15 % prevalence the best calibrated threshold lies low"


def test_too_few_cases_are_not_calibrated() -> None:
    (item,) = calibrate(("a",), _labels(9, 50), np.zeros((59, 1), np.float32))
    assert (item.platt, item.operating_point, item.note, item.n_pos) == (None, 0.5, TOO_FEW, 9)


def test_a_classifier_that_ranks_backwards_gets_no_calibrated_probability() -> None:
    labels = _labels(20, 20)
    (item,) = calibrate(("a",), labels, np.linspace(0, 1, 40, dtype=np.float32)[:, None])
    assert item.platt is None
