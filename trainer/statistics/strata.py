"""Where a model is good and where it is not: mean AUC by kinds of study, and by kinds of finding.

Legend: N studies, C findings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.inference.operating_points import MIN_CASES
from trainer.statistics.delong import auc

THICKNESS_BANDS_MM = (1.25, 2.5, 5.0)
UNKNOWN_VALUE = "unknown"


@dataclass(frozen=True)
class Stratum:
    """The studies, or the findings, that share a value of an attribute.

    Attributes
    ----------
    n_scored
        Findings with enough cases in the stratum; the means are over these.
    mean_auc, std_auc
        Mean and standard deviation (population) over them; None where there is none.
    overall_mean_auc
        Mean AUC of the same findings on all studies. Strata have enough cases of different findings: a stratum is to be
        held against this, not against another stratum.
    """

    attribute: str
    value: str
    n_studies: int
    n_scored: int
    mean_auc: float | None
    std_auc: float | None
    overall_mean_auc: float | None


def finding_aucs(
    labels_NC: NDArray[np.int8], scores_NC: NDArray[np.floating], min_cases: int = MIN_CASES
) -> NDArray[np.float64]:
    """Return the AUC of every finding, (C,); NaN below `min_cases` positives or negatives."""
    enough_C = np.minimum((labels_NC == 1).sum(axis=0), (labels_NC == 0).sum(axis=0)) >= max(min_cases, 1)
    return np.array(
        [
            auc(labels_NC[:, column], scores_NC[:, column]).value if enough else math.nan
            for column, enough in enumerate(enough_C)
        ]
    )


def study_strata(
    labels_NC: NDArray[np.int8],
    scores_NC: NDArray[np.floating],
    attributes: Mapping[str, Sequence[str]],
    min_cases: int = MIN_CASES,
) -> tuple[Stratum, ...]:
    """Measure by attributes of the studies.

    Parameters
    ----------
    attributes
        By name, such as ``scanner``, the N studies' values; an empty value is ``unknown``.
    """
    overall_C = finding_aucs(labels_NC, scores_NC, min_cases)
    strata = []
    for name, values in attributes.items():
        named = [value or UNKNOWN_VALUE for value in values]
        for value in sorted(set(named), key=lambda text: (text == UNKNOWN_VALUE, text)):
            rows = np.flatnonzero([item == value for item in named])
            aucs_C = finding_aucs(labels_NC[rows], scores_NC[rows], min_cases)
            strata.append(_stratum(name, value, rows.size, aucs_C, overall_C))
    return tuple(strata)


def category_strata(
    keys: Sequence[str], labels_NC: NDArray[np.int8], scores_NC: NDArray[np.floating], categories: Mapping[str, str]
) -> tuple[Stratum, ...]:
    """Measure by the findings' categories, on all studies; a finding without one is ``unknown``."""
    overall_C = finding_aucs(labels_NC, scores_NC)
    named = np.array([categories.get(key, UNKNOWN_VALUE) for key in keys])
    return tuple(
        _stratum("category", str(value), len(labels_NC), np.where(named == value, overall_C, math.nan), overall_C)
        for value in dict.fromkeys(named.tolist())
    )


def thickness_band(thickness_mm: float) -> str:
    """Return the band of a slice thickness, upper ends included."""
    for low, high in zip((0.0, *THICKNESS_BANDS_MM), THICKNESS_BANDS_MM, strict=False):
        if thickness_mm <= high:
            return f"up to {high:g} mm" if low == 0.0 else f"over {low:g} to {high:g} mm"
    return f"over {THICKNESS_BANDS_MM[-1]:g} mm"


def _stratum(
    attribute: str, value: str, n_studies: int, aucs_C: NDArray[np.float64], overall_C: NDArray[np.float64]
) -> Stratum:
    scored = np.flatnonzero(np.isfinite(aucs_C))
    if scored.size == 0:
        return Stratum(attribute, value, n_studies, 0, None, None, None)
    return Stratum(
        attribute,
        value,
        n_studies,
        int(scored.size),
        float(np.mean(aucs_C[scored])),
        float(np.std(aucs_C[scored])),
        float(np.mean(overall_C[scored])),
    )
