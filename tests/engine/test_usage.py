"""Expert usage, worked out by hand, and against a real classifier's ledger."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from engine.explain.ledger import compute_ledger
from engine.explain.usage import ExpertUsage, cohort_usage, normalised_entropy, study_usage
from tests.support.models import random_classifier


def usage(gates: list[list[float]], ledger: np.ndarray | None = None) -> ExpertUsage:
    array = np.array(gates)
    parts = np.ones((1, len(array), 1 + array.shape[1])) if ledger is None else ledger
    measured = study_usage([f"finding_{row}" for row in range(len(parts))], array, parts)
    assert measured is not None
    return measured


def test_entropies_by_hand() -> None:
    """Each slice goes to one of two experts wholly: every slice is decided, and both are used alike."""
    measured = usage([[1.0, 0.0], [0.0, 1.0]])
    assert measured.mean_gates.tolist() == [0.5, 0.5]
    assert (measured.mean_gate_entropy, measured.mean_slice_entropy) == pytest.approx((1.0, 0.0))
    assert not measured.collapsed
    assert not measured.undecided
    assert normalised_entropy(np.array([0.5, 0.25, 0.25])) == pytest.approx(1.5 * math.log(2) / math.log(3))


def test_one_expert_for_all_slices_is_a_collapse_and_a_uniform_router_is_not() -> None:
    collapsed = usage([[0.97, 0.01, 0.02], [0.95, 0.03, 0.02]])
    assert collapsed.collapsed
    assert "**Collapsed** (normalised entropy of the mean gates below 0.5)" in collapsed.markdown("phantoms")
    uniform = usage([[1 / 3, 1 / 3, 1 / 3]] * 4)
    assert not uniform.collapsed
    assert uniform.undecided
    assert "hardly chooses" in uniform.verdict


def test_a_single_expert_cannot_collapse_and_none_has_no_usage() -> None:
    assert not usage([[1.0], [1.0]]).collapsed
    assert study_usage(("a",), np.zeros((3, 0)), np.ones((1, 3, 1))) is None


def test_shares_of_the_ledger_are_of_absolute_contributions() -> None:
    """Slices that pull against each other are use all the same: |3| + |-1| of 8 is the frozen path's."""
    ledger = np.array([[[3.0, 0.0, 2.0], [-1.0, 1.0, -1.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    share = usage([[0.5, 0.5], [0.5, 0.5]], ledger).ledger_share
    assert share[0] == pytest.approx([4 / 8, 1 / 8, 3 / 8])
    assert share[1].tolist() == [0, 0, 0]


def test_every_study_of_a_cohort_counts_the_same() -> None:
    long = usage([[1.0, 0.0]] * 30)
    short = usage([[0.0, 1.0]])
    both = cohort_usage([long, short])
    assert both is not None
    assert both.mean_gates.tolist() == [0.5, 0.5]
    assert (both.n_studies, both.n_slices) == (2, 31)
    assert cohort_usage([]) is None


def test_a_real_classifier_is_measured_and_its_document_is_plain() -> None:
    classifier = random_classifier(12, 4)
    features = torch.randn((1, 9, 12), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output = classifier(features)
        ledger, _ = compute_ledger(classifier, features, output)
    measured = study_usage(("a", "b", "c", "d"), output.gates_BSK[0].numpy(), ledger[0].numpy())
    assert measured is not None
    assert measured.mean_gates.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(measured.ledger_share.sum(axis=1), 1, atol=1e-12)
    document = json.loads(json.dumps(measured.to_json(), allow_nan=False))
    assert document["ledger_share_columns"] == ["frozen", *(f"expert_{index}" for index in range(1, 7))]
    assert document["ledger_share"]["c"] == measured.ledger_share[2].tolist()
    assert document["collapsed"] is False
