from __future__ import annotations

import numpy as np
import pytest

from trainer.sampling import epoch_order, repeat_factors


def test_the_factors_are_those_computed_by_hand() -> None:
    # a: 2 of 4, b: 1 of 4, c: 1 of 2 known. t = 1: √2, √4 = 2, √2.
    labels = np.array([[1, 0, -1], [1, 1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.int8)
    assert repeat_factors(labels, 1.0) == pytest.approx([np.sqrt(2), 2.0, np.sqrt(2), 1.0])
    # t = 0.36: a and c are frequent enough; b: √(0.36 / 0.25) = 1.2.
    assert repeat_factors(labels, 0.36) == pytest.approx([1.0, 1.2, 1.0, 1.0])
    assert repeat_factors(labels, 0.2) == pytest.approx([1.0, 1.0, 1.0, 1.0])


def test_a_study_is_repeated_as_often_as_its_factor_says_on_average() -> None:
    factors = np.array([1.0, 2.25, 3.0])
    counts = np.array([np.bincount(epoch_order(3, 1, epoch, factors), minlength=3) for epoch in range(400)])
    assert set(counts[:, 0]) == {1}
    assert set(counts[:, 1]) == {2, 3}
    assert set(counts[:, 2]) == {3}
    assert counts[:, 1].mean() == pytest.approx(2.25, abs=0.08)


def test_an_epoch_has_its_own_order_and_always_the_same() -> None:
    factors = np.full(50, 1.5)
    first = epoch_order(50, 1, 1, factors)
    assert np.array_equal(first, epoch_order(50, 1, 1, factors))
    assert not np.array_equal(first, epoch_order(50, 1, 2, factors))
    assert not np.array_equal(first, epoch_order(50, 2, 1, factors))
    assert set(first) == set(range(50))


def test_without_factors_every_study_is_shown_once_in_the_order_of_old_runs() -> None:
    assert np.array_equal(epoch_order(9, 4, 2), np.random.default_rng([4, 2]).permutation(9))


def test_a_study_without_findings_and_a_finding_without_studies_are_no_trouble() -> None:
    labels = np.array([[0, -1], [0, -1]], dtype=np.int8)
    assert repeat_factors(labels, 0.5) == pytest.approx([1.0, 1.0])
