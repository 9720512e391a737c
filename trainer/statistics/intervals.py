"""Confidence intervals: what an interval is, and those of an AUC and of a difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

LEVEL = 0.95
Method = Literal["logit", "wald", "newcombe", "percentile"]


@dataclass(frozen=True)
class Interval:
    """A two-sided interval and how it was made."""

    low: float
    high: float
    method: Method


def normal_quantile(level: float = LEVEL) -> float:
    """Return z, with `level` of the standard normal distribution between −z and z."""
    return NormalDist().inv_cdf((1.0 + level) / 2.0)


def two_sided_p(z: float) -> float:
    """Return the probability of a standard normal value at least as far from 0."""
    return math.erfc(abs(z) / math.sqrt(2.0))


def wald_interval(value: float, error: float, level: float = LEVEL) -> Interval:
    """Return ``value ± z · error``; `error` is the standard error."""
    half = normal_quantile(level) * error
    return Interval(value - half, value + half, "wald")


def logit_interval(share: float, error: float, level: float = LEVEL) -> Interval:
    """Return the interval of a share strictly between 0 and 1, made on the logit scale and so inside (0, 1).

    ``logit(p) ± z · SE / (p (1 − p))``, back through the sigmoid (delta method; Pepe, 2003).
    """
    centre = math.log(share / (1.0 - share))
    half = normal_quantile(level) * error / (share * (1.0 - share))
    return Interval(_sigmoid(centre - half), _sigmoid(centre + half), "logit")


def newcombe_interval(auc: float, n_pos: int, n_neg: int, level: float = LEVEL) -> Interval:
    """Return the score-like interval of an AUC, which has a width at 0 and 1 too.

    Solves ``|auc − t| = z · sqrt(V(t))`` for t with ``V(t) = t (1 − t) [1 + ((m + n) / 2 − 1) ((1 − t) / (2 − t) +
    t / (1 + t))] / (m n)`` (Newcombe, 2006, part 2, method 5).

    Parameters
    ----------
    n_pos, n_neg
        m and n, each at least 1.
    """
    z = normal_quantile(level)

    def excess(t: float) -> float:
        spread = 1.0 + ((n_pos + n_neg) / 2.0 - 1.0) * ((1.0 - t) / (2.0 - t) + t / (1.0 + t))
        return abs(auc - t) - z * math.sqrt(t * (1.0 - t) * spread / (n_pos * n_neg))

    low = 0.0 if auc == 0.0 else _root(excess, 0.0, auc)
    return Interval(low, 1.0 if auc == 1.0 else _root(excess, 1.0, auc), "newcombe")


def _root(excess: Callable[[float], float], outside: float, inside: float) -> float:
    from scipy.optimize import brentq

    # At the estimate itself an AUC of 0 or 1 has no excess either: start a hair beside it.
    start = inside + (outside - inside) * 1e-9
    return float(brentq(excess, outside, start, xtol=1e-12))


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
