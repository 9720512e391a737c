"""Operating points on cases small enough to be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_curve

from engine.inference.operating_points import (
    TOO_FEW,
    OperatingPoint,
    OperatingRule,
    Proportion,
    choose_operating_point,
    reached,
)
from engine.models.calibration import Platt, sigmoid

# From the highest score down: + + - + - - (three of each).
LABELS = np.array([1, 1, 0, 1, 0, 0], np.int8)
LOGITS = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])


def choose(rule: OperatingRule, labels: np.ndarray = LABELS, logits: np.ndarray = LOGITS) -> OperatingPoint:
    return choose_operating_point(rule, labels, logits, sigmoid, min_cases=1)


def counts(point: OperatingPoint) -> tuple[int, int]:
    assert point.sensitivity is not None
    assert point.specificity is not None
    return point.sensitivity.count, point.specificity.count


@pytest.mark.parametrize(
    ("rule", "threshold_logit", "true_positives", "true_negatives", "target_reached"),
    [
        # Youden: 2/3 after two calls, 2/3 after four; of equals the higher threshold.
        (OperatingRule(), 3.5, 2, 3, None),
        (OperatingRule(rule="sensitivity", target=0.6), 3.5, 2, 3, True),
        (OperatingRule(rule="sensitivity", target=0.67), 1.5, 3, 2, True),
        (OperatingRule(rule="sensitivity", target=1.0), 1.5, 3, 2, True),
        (OperatingRule(rule="specificity", target=1.0), 3.5, 2, 3, True),
        (OperatingRule(rule="specificity", target=0.6), 1.5, 3, 2, True),
        (OperatingRule(rule="specificity", target=0.3), 1.5, 3, 2, True),
    ],
)
def test_a_rule_takes_the_threshold_worked_out_by_hand(
    rule: OperatingRule, threshold_logit: float, true_positives: int, true_negatives: int, target_reached: bool | None
) -> None:
    point = choose(rule)
    assert point.threshold == pytest.approx(sigmoid(threshold_logit))
    assert counts(point) == (true_positives, true_negatives)
    assert point.target_reached is target_reached
    assert point.note == ""


def test_equal_scores_are_called_together() -> None:
    """Two positives and a negative share the highest score: no threshold parts them."""
    labels = np.array([1, 1, 0, 1, 0, 0], np.int8)
    logits = np.array([2.0, 2.0, 2.0, 1.0, 0.0, 0.0])
    point = choose(OperatingRule(rule="specificity", target=0.9), labels, logits)
    assert point.threshold == pytest.approx(sigmoid(0.5))
    assert counts(point) == (3, 2)
    assert point.target_reached is False
    assert "cannot be reached; the nearest is 0.667" in point.note


def test_a_target_that_only_calling_everything_positive_reaches_is_missed_and_said() -> None:
    """The lowest score is a positive's: sensitivity 1 would mean that everyone is positive."""
    labels = np.array([1, 0, 0, 1], np.int8)
    point = choose(OperatingRule(rule="sensitivity", target=0.9), labels, np.array([3.0, 2.0, 1.0, 0.0]))
    assert point.threshold == pytest.approx(sigmoid(2.5)), "of the thresholds with sensitivity 1/2 the most specific"
    assert counts(point) == (1, 2)
    assert point.target_reached is False


def test_a_fixed_threshold_is_on_the_shown_scale() -> None:
    shown = Platt(slope=2.0, intercept=-4.0).probability
    point = choose_operating_point(OperatingRule(rule="fixed", target=0.5), LABELS, LOGITS, shown)
    assert point.threshold == 0.5
    assert counts(point) == (3, 2), "2 · 2 − 4 = 0, and at the threshold counts as positive"
    assert point.target_reached is None


def test_too_few_cases_choose_nothing_but_are_counted() -> None:
    point = choose_operating_point(OperatingRule(rule="sensitivity", target=0.9), LABELS, LOGITS, sigmoid)
    assert (point.threshold, point.target_reached, point.note) == (0.5, None, TOO_FEW)
    assert counts(point) == (3, 0), "0.5 is the logit 0, which counts as positive"


def test_one_class_alone_has_no_other_share() -> None:
    sensitivity, specificity = reached(np.array([1, 1, -1], np.int8), np.array([0.9, 0.2, 0.9]), 0.5)
    assert sensitivity == Proportion(1, 2)
    assert specificity is None


def test_a_constant_output_has_no_operating_point() -> None:
    point = choose(OperatingRule(), LABELS, np.zeros(6))
    assert (point.threshold, point.note) == (0.5, "all studies have the same score")


def test_a_backward_ranking_says_that_no_threshold_helps() -> None:
    assert choose(OperatingRule(), 1 - np.sort(LABELS), np.arange(6.0)).note == "no threshold is better than chance"


def test_youden_agrees_with_an_independent_curve() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        labels = (random.random(40) < 0.4).astype(np.int8)
        logits = np.round(random.normal(0, 1, 40) + labels, 1)
        false_rate, true_rate, thresholds = roc_curve(labels, logits, drop_intermediate=False)
        index = true_rate - false_rate
        highest = thresholds[index >= index.max() - 1e-12][0]
        point = choose(OperatingRule(), labels, logits)
        shown = np.array([sigmoid(value) for value in logits])
        assert np.array_equal(shown >= point.threshold, logits >= highest)


def test_wilson_intervals_are_those_of_the_formula() -> None:
    """Wilson (1927), as tabulated: 8 of 10 gives 0.490 to 0.943; 0 of 10 gives 0 to z²/(n + z²) = 0.278."""
    assert Proportion(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    z2 = 1.959963984540054**2
    assert Proportion(0, 10).interval == pytest.approx((0.0, z2 / (10 + z2)))
    assert Proportion(10, 10).interval == pytest.approx((10 / (10 + z2), 1.0))
    assert all(math.isfinite(value) for value in Proportion(1, 1).interval)


@pytest.mark.parametrize(
    "fields",
    [{"rule": "youden", "target": 0.9}, {"rule": "sensitivity"}, {"rule": "fixed"}, {"rule": "fixed", "target": 0.0}],
)
def test_a_rule_with_the_wrong_target_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OperatingRule(**fields)
