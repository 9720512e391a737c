"""Calibration: fits that are recovered or refused, and ECE and Brier worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InferenceError
from engine.inference.calibrate import (
    BACKWARDS,
    CONSTANT,
    CalibrationSettings,
    brier_score,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    measure_calibration,
)
from engine.inference.calibration_report import CalibrationReport, MeasuredSet, fitted_set
from engine.inference.operating_points import TOO_FEW, OperatingRule
from engine.models.calibration import Platt, Temperature, sigmoid

TEMPERATURE = CalibrationSettings(method="temperature")


def labels_of(n_pos: int, n_neg: int, n_unknown: int = 0) -> np.ndarray:
    return np.array([1] * n_pos + [0] * n_neg + [-1] * n_unknown, dtype=np.int8)[:, None]


def drawn(slope: float, intercept: float, n: int = 4000, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which logits speak too boldly or too shyly."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, 1))
    labels = (random.random((n, 1)) < 1 / (1 + np.exp(-(slope * logits + intercept)))).astype(np.int8)
    return labels, logits.astype(np.float32)


def test_ece_of_two_bins_by_hand() -> None:
    """Low bin: mean probability 0.15, one of two positive. High bin: 0.85, both positive. (2·0.35 + 2·0.15) / 4."""
    labels = np.array([0, 1, 1, 1], np.int8)
    probabilities = np.array([0.1, 0.2, 0.8, 0.9])
    assert expected_calibration_error(labels, probabilities, n_bins=2) == pytest.approx(0.25)
    assert brier_score(labels, probabilities) == pytest.approx((0.01 + 0.64 + 0.04 + 0.01) / 4)


def test_equal_probabilities_are_never_parted_so_that_order_does_not_matter() -> None:
    """Six of ten say 0.2 and one of these is positive; the rest say 0.8 and three of four are: (6·|1/6−0.2| + …)/10."""
    labels = np.array([1, 0, 0, 0, 0, 0, 1, 1, 1, 0], np.int8)
    probabilities = np.array([0.2] * 6 + [0.8] * 4)
    by_hand = (6 * abs(1 / 6 - 0.2) + 4 * abs(3 / 4 - 0.8)) / 10
    random = np.random.default_rng(1)
    for _ in range(20):
        order = random.permutation(10)
        assert expected_calibration_error(labels[order], probabilities[order], 5) == pytest.approx(by_hand)


def test_a_perfect_forecast_has_no_error_and_one_study_is_a_bin() -> None:
    labels = np.array([0, 1], np.int8)
    assert expected_calibration_error(labels, labels.astype(float)) == 0
    assert brier_score(labels, labels.astype(float)) == 0
    assert expected_calibration_error(np.array([1], np.int8), np.array([0.25])) == 0.75


def test_platt_recovers_the_probabilities_that_made_the_labels() -> None:
    (item,) = fit_calibration(("a",), *drawn(2.0, -1.0))
    assert isinstance(item.method, Platt)
    assert (item.method.slope, item.method.intercept) == pytest.approx((2.0, -1.0), abs=0.2)
    assert item.reason == ""


def test_temperature_recovers_the_boldness_of_the_logits() -> None:
    (item,) = fit_calibration(("a",), *drawn(0.4, 0.0), TEMPERATURE)
    assert isinstance(item.method, Temperature)
    assert item.method.temperature == pytest.approx(2.5, rel=0.1)
    raw, calibrated = item.measured.raw, item.measured.calibrated
    assert raw is not None
    assert calibrated is not None
    assert calibrated.ece < 0.3 * raw.ece
    assert calibrated.brier < raw.brier


def test_the_temperature_is_where_the_likelihood_is_greatest() -> None:
    labels, logits = (array[:, 0] for array in drawn(1.7, 0.3, n=60))
    fitted = fit_temperature(labels, logits.astype(np.float64))
    assert fitted is not None

    def loss(beta: float) -> float:
        shown = np.clip(1 / (1 + np.exp(-beta * logits.astype(np.float64))), 1e-15, 1 - 1e-15)
        return float(-np.sum(np.where(labels == 1, np.log(shown), np.log(1 - shown))) + beta**2 / 200)

    best = 1 / fitted.temperature
    assert loss(best) <= min(loss(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))


@pytest.mark.parametrize("settings", [CalibrationSettings(), TEMPERATURE])
def test_a_separable_finding_has_a_finite_fit(settings: CalibrationSettings) -> None:
    labels = labels_of(10, 10)
    (item,) = fit_calibration(("a",), labels, np.where(labels == 1, 2.0, -2.0).astype(np.float32), settings)
    assert item.method is not None
    assert 0.99 < item.probability(2.0) < 1.0
    assert item.point.threshold == pytest.approx(item.probability(0.0))


@pytest.mark.parametrize("settings", [CalibrationSettings(), TEMPERATURE])
@pytest.mark.parametrize(
    ("labels", "logits", "reason"),
    [
        (labels_of(9, 50), np.arange(59.0), TOO_FEW),
        (labels_of(50, 9, 100), np.arange(159.0), TOO_FEW),
        (labels_of(20, 20), np.linspace(-1, 1, 40), BACKWARDS),
        (labels_of(20, 20), np.full(40, 3.0), CONSTANT),
    ],
)
def test_a_bad_fit_is_refused_with_its_reason(
    settings: CalibrationSettings, labels: np.ndarray, logits: np.ndarray, reason: str
) -> None:
    (item,) = fit_calibration(("a",), labels, logits[:, None].astype(np.float32), settings)
    assert (item.method, item.reason) == (None, reason)
    assert item.measured.calibrated is None
    assert item.measured.raw is not None, "the raw output is measured all the same"
    assert item.probability(0.7) == sigmoid(0.7)


def test_no_label_at_all_measures_nothing() -> None:
    (item,) = fit_calibration(("a",), np.full((5, 1), -1, np.int8), np.zeros((5, 1), np.float32))
    assert (item.reason, item.measured.raw, item.measured.sensitivity) == (TOO_FEW, None, None)
    assert len(fit_calibration(("a", "b"), np.zeros((0, 2), np.int8), np.zeros((0, 2), np.float32))) == 2


def test_outputs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InferenceError, match="1 of 40 outputs") as caught:
        fit_calibration(("a",), labels_of(20, 20), np.array([[np.nan]] + [[0.0]] * 39))
    assert caught.value.code == "calibration.not_finite"


def test_the_calibrated_probability_is_positive_exactly_where_youden_says_so() -> None:
    """The reader sees the calibrated value beside the tick: both must be on one scale."""
    random = np.random.default_rng(11)
    labels = (random.random((400, 1)) < 0.15).astype(np.int8)
    logits = (labels * 1.2 + random.normal(0, 1, (400, 1))).astype(np.float32)
    (item,) = fit_calibration(("a",), labels, logits)
    shown = np.array([item.probability(float(logit)) for logit in logits[:, 0]])[:, None]
    called = shown >= item.point.threshold
    youden = called[labels == 1].mean() - called[labels == 0].mean()
    others = [(logits >= cut)[labels == 1].mean() - (logits >= cut)[labels == 0].mean() for cut in logits]
    assert youden == pytest.approx(max(others))
    assert item.point.threshold < 0.5, "with 15 % prevalence the best calibrated threshold lies low"


def test_the_report_tells_the_fit_from_other_studies() -> None:
    keys = ("a", "backwards")
    labels, logits = drawn(0.4, -1.0, n=300)
    settings = CalibrationSettings(operating_point=OperatingRule(rule="sensitivity", target=0.9))
    items = fit_calibration(keys, np.hstack([labels, labels]), np.hstack([logits, -logits]), settings)
    others, their_logits = drawn(0.4, -1.0, n=200, seed=6)
    measures = measure_calibration(items, np.hstack([others, others]), np.hstack([their_logits, -their_logits]))
    report = CalibrationReport(
        settings, items, fitted_set("studies", 300, items), MeasuredSet("other studies", 200, False, measures)
    )
    document = report.to_json()
    assert (document["rule"], document["target"], document["ece_bins"]) == ("sensitivity", 0.9, "10 equal-mass bins")
    assert (document["fit"]["in_sample"], document["test"]["in_sample"]) == (True, False)
    assert document["fit"]["mean"]["n_findings"] == 1, "before and after are means of the same findings"
    assert document["test"]["mean"]["ece_after"] == measures[0].calibrated.ece
    finding = document["findings"]["a"]
    assert finding["target_reached"] is True
    assert finding["fit"]["sensitivity"]["value"] >= 0.9
    assert finding["test"]["sensitivity"]["n"] == int((others == 1).sum())
    called = np.array([items[0].probability(float(logit)) for logit in their_logits[:, 0]]) >= items[0].point.threshold
    assert finding["test"]["sensitivity"]["count"] == int(called[others[:, 0] == 1].sum())
    text = report.markdown()
    assert "**Uncalibrated** (the raw output is shown, and marked)" in text
    assert f"{BACKWARDS}: backwards." in text
    assert "300 studies (in-sample)" in text
    assert "which the fit did not see" in text
