"""Agreement between readers: Cohen's and Fleiss' kappa and Krippendorff's alpha, each from a library.

The libraries are imported where they are called: both take a moment, and nothing else needs them.

Shapes: R readers, I items (a finding of a series).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MISSING = -1
UNSURE = 2


@dataclass(frozen=True)
class PairAgreement:
    """Two readers over the items that both answered.

    Attributes
    ----------
    observed
        The share on which they agree; None without a common item.
    kappa
        Cohen's; None where chance alone would make them agree (both give one same answer throughout), or without items.
    """

    reader_a: str
    reader_b: str
    n_items: int
    observed: float | None
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """How far readers agree beyond chance; 1 is always, 0 as often as by chance.

    Attributes
    ----------
    fleiss_kappa, n_fleiss
        Over the items that all readers answered; None where it is undefined.
    krippendorff_alpha, n_alpha
        Nominal, over the items that at least two readers answered; None where it is undefined.
    """

    readers: tuple[str, ...]
    pairs: tuple[PairAgreement, ...]
    fleiss_kappa: float | None
    n_fleiss: int
    krippendorff_alpha: float | None
    n_alpha: int


def agreement(
    values_RI: NDArray[np.int8], readers: Sequence[str], *, unsure: Literal["missing", "category"] = "missing"
) -> Agreement:
    """Compute the agreement of readers.

    Parameters
    ----------
    values_RI
        int8 (R, I) as ``Store.statement_matrix`` gives it: 1 present, 0 absent, 2 unsure, -1 nothing said.
    readers
        R names, all different.
    unsure
        Whether unsure is no answer, or an answer of its own.

    Raises
    ------
    ValueError
        If there are not as many names as rows.
    """
    if values_RI.shape[0] != len(readers) or len(set(readers)) != len(readers):
        raise ValueError(f"{values_RI.shape[0]} rows need as many different readers, not {list(readers)}")
    answers_RI = np.where(values_RI == UNSURE, MISSING, values_RI) if unsure == "missing" else values_RI
    said_RI = answers_RI != MISSING
    by_all, by_two = said_RI.all(axis=0), said_RI.sum(axis=0) >= 2
    return Agreement(
        readers=tuple(readers),
        pairs=tuple(_pair(answers_RI, readers, a, b) for a, b in combinations(range(len(readers)), 2)),
        fleiss_kappa=fleiss_kappa(answers_RI[:, by_all]),
        n_fleiss=int(by_all.sum()) if len(readers) > 1 else 0,
        krippendorff_alpha=krippendorff_alpha(answers_RI[:, by_two]),
        n_alpha=int(by_two.sum()),
    )


def cohen_kappa(first_I: NDArray[np.int8], second_I: NDArray[np.int8]) -> float | None:
    """Return Cohen's kappa of two readers who both answered every item (scikit-learn); None where it is undefined."""
    if not first_I.size or len(np.unique(np.concatenate([first_I, second_I]))) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(first_I, second_I))


def fleiss_kappa(answers_RI: NDArray[np.int8]) -> float | None:
    """Return Fleiss' kappa of readers who all answered every item (NLTK's multi-pi); None where it is undefined."""
    if answers_RI.shape[0] < 2 or len(np.unique(answers_RI)) < 2:
        return None
    return _finite(_task(answers_RI).pi())


def krippendorff_alpha(answers_RI: NDArray[np.int8]) -> float | None:
    """Return Krippendorff's nominal alpha (NLTK); -1 is a missing answer. None where it is undefined."""
    pairable_RI = answers_RI[:, (answers_RI != MISSING).sum(axis=0) >= 2]
    if len(np.unique(pairable_RI[pairable_RI != MISSING])) < 2:
        return None
    return _finite(_task(pairable_RI).alpha())


def _pair(answers_RI: NDArray[np.int8], readers: Sequence[str], a: int, b: int) -> PairAgreement:
    both_I = (answers_RI[a] != MISSING) & (answers_RI[b] != MISSING)
    first_I, second_I = answers_RI[a, both_I], answers_RI[b, both_I]
    return PairAgreement(
        reader_a=readers[a],
        reader_b=readers[b],
        n_items=int(both_I.sum()),
        observed=float((first_I == second_I).mean()) if both_I.any() else None,
        kappa=cohen_kappa(first_I, second_I),
    )


def _task(answers_RI: NDArray[np.int8]) -> Any:
    from nltk.metrics.agreement import AnnotationTask

    return AnnotationTask([(int(r), int(i), int(answers_RI[r, i])) for r, i in np.argwhere(answers_RI != MISSING)])


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
