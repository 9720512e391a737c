"""In which band of AUC how many findings are (the paper's Figure 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HIGH_AUC = 0.90
MODERATE_AUC = 0.80
COUNT_COLUMNS = ("high", "moderate", "lower", "too_few")


def band_counts(aucs_C: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Return how many findings have an AUC of 0.90 or more, of 0.80 to 0.90, below 0.80, and none at all (NaN)."""
    high = int(np.sum(aucs_C >= HIGH_AUC))
    moderate = int(np.sum(aucs_C >= MODERATE_AUC)) - high
    unknown = int(np.isnan(aucs_C).sum())
    return high, moderate, aucs_C.size - high - moderate - unknown, unknown
