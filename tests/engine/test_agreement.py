"""Agreement statistics against figures worked out by hand, and where they are undefined."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from engine.agreement import agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha
from tests.conftest import PROJECT_ROOT


def rows(*readers: str) -> np.ndarray:
    """One string a reader: 1 present, 0 absent, ? unsure, . nothing said."""
    meaning = {"1": 1, "0": 0, "?": 2, ".": -1}
    return np.array([[meaning[answer] for answer in said] for said in readers], dtype=np.int8)


def test_cohens_kappa_of_a_worked_table() -> None:
    """Both yes 20, both no 15, only A 5, only B 10: observed 0.7, by chance 0.5 x 0.6 + 0.5 x 0.4 = 0.5, kappa 0.4."""
    first = np.repeat([1, 0, 1, 0], [20, 15, 5, 10]).astype(np.int8)
    second = np.repeat([1, 0, 0, 1], [20, 15, 5, 10]).astype(np.int8)
    assert cohen_kappa(first, second) == pytest.approx(0.4, abs=1e-12)
    result = agreement(np.stack([first, second]), ["A", "B"])
    (pair,) = result.pairs
    assert (pair.n_items, pair.observed) == (50, pytest.approx(0.7))
    assert pair.kappa == pytest.approx(0.4, abs=1e-12)


def test_fleiss_kappa_of_a_worked_table() -> None:
    """Three readers, four items, votes for present 3, 2, 0, 1.

    Agreement an item: 1, 1/3, 1, 1/3, mean 2/3. Present has 6 of 12 votes, so chance gives 1/2, and kappa is 1/3.
    """
    values = rows("1101", "1100", "1000")
    assert fleiss_kappa(values) == pytest.approx(1 / 3, abs=1e-12)
    assert agreement(values, "ABC").n_fleiss == 4


def test_krippendorffs_alpha_of_a_worked_table_with_missing_answers() -> None:
    """Items 11, 00, 10, 1. : the last has no pair. Coincidences: o11 2, o00 2, o10 = o01 = 1; n 6, n1 3, n0 3.

    Alpha = 1 - (n - 1) x o10 x 2 / (2 x n1 x n0) = 1 - 5 x 1 / 9 = 4/9.
    """
    values = rows("1011", "100.")
    assert krippendorff_alpha(values) == pytest.approx(4 / 9, abs=1e-12)
    assert agreement(values, "AB").n_alpha == 3


def test_krippendorffs_alpha_of_three_readers_who_skip() -> None:
    """Items 111, 10., 000, .01 : every item adds m(m-1) ordered pairs, each of weight 1/(m-1).

    o11 = 3, o00 = 3, o10 = o01 = 1 + 1 = 2; n1 = 5, n0 = 5, n = 10. Alpha = 1 - 9 x 2 / 25 = 7/25.
    """
    assert krippendorff_alpha(rows("110.", "1000", "1.01")) == pytest.approx(7 / 25, abs=1e-12)


def test_krippendorffs_alpha_of_the_published_nominal_example() -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): two observers, ten units, binary, 0.095.

    1 - 19 x 4 / (14 x 6) by hand.
    """
    assert krippendorff_alpha(rows("0100000010", "1110010000")) == pytest.approx(0.095, abs=5e-4)


def test_readers_who_agree_throughout_reach_one_and_opposites_fall_below_chance() -> None:
    same = agreement(rows("1010", "1010", "1010"), "ABC")
    assert (same.fleiss_kappa, same.krippendorff_alpha) == (1.0, 1.0)
    assert {pair.kappa for pair in same.pairs} == {1.0}
    opposite = agreement(rows("1010", "0101"), "AB")
    assert opposite.pairs[0].kappa == pytest.approx(-1)
    assert opposite.fleiss_kappa is not None
    assert opposite.fleiss_kappa < 0


def test_an_unsure_answer_is_missing_or_a_category() -> None:
    values = rows("10?1", "1001")
    missing = agreement(values, "AB")
    assert (missing.pairs[0].n_items, missing.pairs[0].observed, missing.n_fleiss) == (3, 1.0, 3)
    counted = agreement(values, "AB", unsure="category")
    assert (counted.pairs[0].n_items, counted.pairs[0].observed, counted.n_alpha) == (4, 0.75, 4)
    assert counted.pairs[0].kappa is not None
    assert counted.pairs[0].kappa < 1


@pytest.mark.parametrize("said", [("", ""), ("..", ".."), ("1.", ".0"), ("11", "11"), ("??", "??")])
def test_where_nothing_can_be_said_nothing_is_said(said: tuple[str, str]) -> None:
    result = agreement(rows(*said), "AB")
    assert (result.pairs[0].kappa, result.fleiss_kappa, result.krippendorff_alpha) == (None, None, None)


def test_one_reader_agrees_with_nobody() -> None:
    result = agreement(rows("101"), ["A"])
    assert (result.pairs, result.fleiss_kappa, result.n_fleiss, result.n_alpha) == ((), None, 0, 0)
    assert result.krippendorff_alpha is None


def test_names_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="2 rows need"):
        agreement(rows("1", "1"), ["A", "A"])


def test_neither_torch_nor_a_library_is_loaded_before_it_is_needed() -> None:
    code = "import sys, engine.agreement; print([n for n in ('torch', 'nltk', 'sklearn') if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
