"""Average precision: the area under the precision-recall steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precision(labels_N: NDArray[np.int8], scores_N: NDArray[np.floating]) -> float:
    """Return ``Σ (R_k − R_{k−1}) P_k`` over the distinct scores from the highest, without interpolation.

    Equal scores are called together, so that the order of the studies does not matter. A useless score gives about the
    share of positives, not a half.

    Parameters
    ----------
    labels_N
        int8: 1 present, 0 absent, -1 unknown, which does not count.
    scores_N
        Higher means more likely present.

    Raises
    ------
    ValueError
        If there is no positive.
    """
    known = labels_N >= 0
    labels, scores = labels_N[known], scores_N[known]
    n_pos = int((labels == 1).sum())
    if n_pos == 0:
        raise ValueError("average precision needs a positive")
    order = np.argsort(-scores, kind="stable")
    last_K = np.append(np.flatnonzero(np.diff(scores[order])), order.size - 1)
    found_K = np.cumsum(labels[order] == 1)[last_K]
    return float(np.sum(np.diff(found_K, prepend=0) * found_K / (last_K + 1)) / n_pos)
