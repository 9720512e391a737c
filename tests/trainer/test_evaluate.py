from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from engine.inference.calibrate import CalibrationSettings, fit_calibration
from engine.inference.operating_points import TOO_FEW
from tests.support.models import random_classifier
from tests.trainer.synthetic import make_studies
from trainer.datasets import stack_labels
from trainer.evaluate import calibration_report, evaluate, expert_usage, predict_logits
from trainer.statistics.delong import auc


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
    assert result.to_json()["findings"]["c"] == {
        "auc": None,
        "n_pos": 3,
        "n_neg": 17,
        "note": TOO_FEW,
        "auc_low": None,
        "auc_high": None,
        "average_precision": None,
    }
    a, b, _ = result.findings
    assert a.auc_low is not None and 0.7 < a.auc_low < a.auc_high == 1.0  # noqa: PT018
    assert (b.auc_low, b.auc_high) == (None, None), "nothing varies"
    assert (a.average_precision, b.average_precision) == (1.0, 0.5)


def test_the_interval_is_delongs_on_the_logit_scale() -> None:
    random = np.random.default_rng(8)
    labels = _labels(20, 30, 4)
    logits = (random.normal(size=(54, 1)) + labels).astype(np.float32)
    score = evaluate(("a",), labels, logits).score("a")
    interval = auc(labels[:, 0], logits[:, 0]).interval("logit")
    assert interval is not None
    assert (score.auc_low, score.auc_high) == (interval.low, interval.high)
    known = labels[:, 0] >= 0
    assert score.average_precision == pytest.approx(average_precision_score(labels[known, 0], logits[known, 0]))


def test_calibration_is_fitted_on_one_set_and_measured_on_both() -> None:
    keys = ("a", "b", "c")
    classifier = random_classifier(32, 3)
    fit_on, test_on = make_studies(60, 1), make_studies(40, 2)
    report = calibration_report(classifier, keys, CalibrationSettings(), ("ones", fit_on), ("others", test_on))
    assert (report.fitted.n_studies, report.fitted.in_sample) == (60, True)
    assert report.tested is not None
    assert (report.tested.n_studies, report.tested.in_sample) == (40, False)
    again = fit_calibration(keys, stack_labels(fit_on), predict_logits(classifier, fit_on))
    assert report.items == again
    positives = (stack_labels(test_on) == 1).sum(axis=0)
    assert [report.tested.measure(key).n_pos for key in keys] == positives.tolist()


def test_calibration_without_studies_leaves_everything_uncalibrated() -> None:
    report = calibration_report(random_classifier(32, 3), ("a", "b", "c"), CalibrationSettings(), ("", ()), ("", ()))
    assert [(item.method, item.reason, item.point.threshold) for item in report.items] == [(None, TOO_FEW, 0.5)] * 3


def test_expert_usage_does_not_see_padding() -> None:
    """A study counts the same whatever longer one stands beside it."""
    classifier = random_classifier(32, 3)
    studies = make_studies(5, 3)
    alone = [expert_usage(classifier, ("a", "b", "c"), [study]) for study in studies]
    together = expert_usage(classifier, ("a", "b", "c"), studies)
    assert together is not None
    np.testing.assert_allclose(together.mean_gates, np.mean([one.mean_gates for one in alone if one], axis=0))
    assert together.n_slices == sum(len(study.features_SD) for study in studies)
    assert expert_usage(classifier, ("a", "b", "c"), ()) is None
