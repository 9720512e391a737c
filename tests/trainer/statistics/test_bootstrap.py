"""The bootstrap against one that copies patients' studies, one resample after another."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainer.statistics.bootstrap import (
    MIN_PATIENTS,
    BootstrapSettings,
    paired_bootstrap,
    resampled_weights,
    weighted_auc,
)


def _cohort(n_patients: int = 40, n_findings: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """One or two studies a patient, coarse scores (ties), a tenth of the labels unknown; the second model is better."""
    random = np.random.default_rng(5)
    groups = [f"p{patient}" for patient in range(n_patients) for _ in range(1 + patient % 2)]
    labels = random.integers(0, 2, (len(groups), n_findings)).astype(np.int8)
    first = np.round(random.normal(size=labels.shape) + 0.5 * labels, 1)
    second = np.round(random.normal(size=labels.shape) + 2.0 * labels, 1)
    labels[random.random(labels.shape) < 0.1] = -1
    return labels, first, second, groups


def test_a_weight_is_a_number_of_copies() -> None:
    labels, scores, _, _ = _cohort()
    weights = np.random.default_rng(6).integers(0, 4, (20, len(labels)))
    measured = weighted_auc(labels[:, 0], scores[:, 0], weights.astype(np.float64))
    for row, value in zip(weights, measured, strict=True):
        copies = np.repeat(np.arange(len(labels)), row)
        copies = copies[labels[copies, 0] >= 0]
        assert value == pytest.approx(roc_auc_score(labels[copies, 0], scores[copies, 0]), abs=1e-12)


def test_a_resample_without_a_class_has_no_auc() -> None:
    labels, scores = np.array([1, 0, 0], np.int8), np.array([1.0, 0.0, 2.0])
    weights = np.array([[0.0, 2.0, 1.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert weighted_auc(labels, scores, weights) == pytest.approx([np.nan, 1.0, 0.5], nan_ok=True)
    assert np.isnan(weighted_auc(np.full(3, -1, np.int8), scores, weights)).all()


def test_patients_are_drawn_whole_and_as_many_as_there_are() -> None:
    labels, _, _, groups = _cohort()
    (weights,) = resampled_weights(groups, BootstrapSettings(n_resamples=300, seed=2))
    assert weights.shape == (300, len(labels))
    first = np.array([groups.index(group) for group in groups])
    assert (weights == weights[:, first]).all(), "the studies of a patient go together"
    assert (weights[:, np.unique(first)].sum(axis=1) == len(set(groups))).all()
    assert weights.mean() == pytest.approx(1.0, abs=0.1)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, groups = _cohort()
    settings = BootstrapSettings(n_resamples=50, seed=2)
    whole = np.concatenate(list(resampled_weights(groups, settings)))
    monkeypatch.setattr("trainer.statistics.bootstrap.CHUNK_CELLS", 7 * len(groups))
    chunks = list(resampled_weights(groups, settings))
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    assert (np.concatenate(chunks) == whole).all()


def test_it_agrees_with_a_bootstrap_that_copies_studies() -> None:
    labels, first, second, groups = _cohort()
    measured = paired_bootstrap(labels, first, second, groups, BootstrapSettings(n_resamples=2000, seed=3))
    assert measured is not None
    by_patient = [[i for i, group in enumerate(groups) if group == patient] for patient in dict.fromkeys(groups)]
    random = np.random.default_rng(99)
    gains = []
    for _ in range(500):
        rows = [row for patient in random.integers(0, len(by_patient), len(by_patient)) for row in by_patient[patient]]
        gains.append(_mean_auc(labels[rows], second[rows]) - _mean_auc(labels[rows], first[rows]))
    assert measured.difference == pytest.approx(_mean_auc(labels, second) - _mean_auc(labels, first))
    spread = np.std(gains)
    assert measured.interval.low == pytest.approx(np.quantile(gains, 0.025), abs=0.25 * spread)
    assert measured.interval.high == pytest.approx(np.quantile(gains, 0.975), abs=0.25 * spread)
    assert measured.p < 0.01
    assert (measured.n_patients, measured.n_findings, measured.n_resamples) == (40, 3, 2000)
    assert measured.first_interval.low < measured.first < measured.first_interval.high


def _mean_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    columns = [(labels[:, c] >= 0, c) for c in range(labels.shape[1])]
    return float(np.mean([roc_auc_score(labels[known, c], scores[known, c]) for known, c in columns]))


def test_seed_and_settings_fix_the_numbers() -> None:
    cohort = _cohort()
    settings = BootstrapSettings(n_resamples=200, seed=3)
    assert paired_bootstrap(*cohort, settings) == paired_bootstrap(*cohort, settings)
    assert paired_bootstrap(*cohort, settings) != paired_bootstrap(*cohort, BootstrapSettings(n_resamples=200, seed=4))


def test_a_model_against_itself_differs_by_nothing() -> None:
    labels, first, _, groups = _cohort()
    measured = paired_bootstrap(labels, first, first, groups, BootstrapSettings(n_resamples=100))
    assert measured is not None
    assert (measured.difference, measured.interval.low, measured.interval.high, measured.p) == (0.0, 0.0, 0.0, 1.0)


def test_too_few_patients_or_no_finding_give_nothing() -> None:
    labels, first, second, groups = _cohort()
    assert paired_bootstrap(labels, first, second, [f"{i % (MIN_PATIENTS - 1)}" for i in range(len(groups))]) is None
    assert paired_bootstrap(labels[:, :0], first[:, :0], second[:, :0], groups) is None
    assert paired_bootstrap(np.ones_like(labels), first, second, groups) is None
