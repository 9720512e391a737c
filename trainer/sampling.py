"""Repeat factor sampling for studies with several findings (Gupta et al., LVIS, CVPR 2019, section 4.1).

A finding that is rarer than a threshold t is shown more often: r_c = max(1, √(t / f_c)), with f_c the share of studies
that have it. A study is repeated as its rarest finding asks: r_i = max over its findings of r_c. The whole part of r_i
is certain, the rest is drawn anew for every epoch.

Legend: N studies, C findings.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

_ORDER, _REPEATS = 0, 1


def repeat_factors(labels_NC: NDArray[np.int8], threshold: float) -> NDArray[np.float64]:
    """Return r_i of every study, float64 (N,), at least 1.

    Parameters
    ----------
    labels_NC
        int8 (N, C): 1 present, 0 absent, -1 unknown. Unknown labels do not count in f_c: a finding of which half the
        studies say nothing is not rarer for that. A study without a known finding is shown once.
    threshold
        t: findings at least this frequent are not repeated.
    """
    known_C = np.maximum((labels_NC >= 0).sum(axis=0), 1)
    share_C = (labels_NC == 1).sum(axis=0) / known_C
    factor_C = np.sqrt(threshold / np.maximum(share_C, 1.0 / np.maximum(known_C, 1)))
    factors_NC = np.where(labels_NC == 1, np.maximum(factor_C, 1.0), 1.0)
    return cast("NDArray[np.float64]", factors_NC.max(axis=1, initial=1.0))


def epoch_order(
    n_studies: int, seed: int, epoch: int, factors_N: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """Return the studies of an epoch in the order in which they are shown; int (n,), n ≥ N with factors.

    It depends on its arguments alone, so that a resumed run, and every process of one, sees the same order.
    """
    if factors_N is None:
        return np.random.default_rng([seed, epoch]).permutation(n_studies)
    draw_N = np.random.default_rng([seed, epoch, _REPEATS]).random(n_studies)
    whole_N = np.floor(factors_N)
    counts_N = (whole_N + (draw_N < factors_N - whole_N)).astype(np.intp)
    shown = np.repeat(np.arange(n_studies), counts_N)
    return cast("NDArray[np.intp]", np.random.default_rng([seed, epoch, _ORDER]).permutation(shown))
