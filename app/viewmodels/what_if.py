"""What the model would say without one slice, or without one expert: computed by the engine, not approximated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.analysis import Analysis

NO_COUNTERFACTUAL = "This analysis was kept without counterfactuals. Analyse again to have them."
NO_CALIBRATION = (
    "This analysis was kept without its calibration: the scale is the uncalibrated score, and the operating point, "
    "which belongs to the calibrated one, is not drawn. Analyse again to have both."
)
NO_SLICE = "not defined: without its only slice the study has no value"
NO_SLICE_OF_VOLUME = "This model reads the whole volume at once, so no slice can be left out."
FINE_BELOW = 0.02
NO_EXPERTS = "This model has no experts."


@dataclass(frozen=True, eq=False)
class WhatIf:
    """One finding's value as it is and as it would be, on the scale of its operating point.

    Attributes
    ----------
    scale
        ``calibrated probability`` or ``uncalibrated score``.
    now
        The value with everything in place.
    operating_point
        The threshold on this scale; None where none is known on it.
    without_slice_S
        float64 (S,): attention renormalised over the other slices. NaN where it is not defined.
    without_expert_K
        float64 (K,): the other gates as they were.
    unit
        As in `Analysis`.
    note
        What the reader must know of the scale; empty where nothing.
    """

    scale: str
    now: float
    operating_point: float | None
    without_slice_S: NDArray[np.float64]
    without_expert_K: NDArray[np.float64]
    unit: str
    note: str

    @property
    def slices_text(self) -> str:
        """Why no slice can be left out; empty where some can."""
        if self.unit == "volume":
            return NO_SLICE_OF_VOLUME
        return f"Leaving out a slice is {NO_SLICE}." if np.isnan(self.without_slice_S).all() else ""

    @property
    def experts_text(self) -> str:
        """Why no expert can be left out; empty where some can."""
        return "" if self.without_expert_K.size else NO_EXPERTS

    def change_text(self, name: str, value: float) -> str:
        """Say in one line what leaving `name` out would change."""
        if np.isnan(value):
            return f"Without {name}: {NO_SLICE}."
        crossing = ""
        if self.operating_point is not None:
            before, after = self.now >= self.operating_point, value >= self.operating_point
            if before != after:
                crossing = f", {'above' if after else 'below'} the operating point {self.operating_point:.2f}"
        digits = 2 if abs(value - self.now) >= FINE_BELOW else 3
        if not crossing and f"{value:.3f}" == f"{self.now:.3f}":
            after, before = f"{_log_odds(value):+.2f}", f"{_log_odds(self.now):+.2f}"
            kind = "calibrated " if self.scale.startswith("calibrated") else ""
            return f"Without {name}: {value:.3f} as it is, with {kind}log-odds {after} instead of {before}."
        return f"Without {name}: {value:.{digits}f} instead of {self.now:.{digits}f}{crossing}."

    @property
    def sentence(self) -> str:
        """Which slice and which expert matter most, in one line."""
        parts = []
        if not self.slices_text:
            best = int(np.nanargmax(np.abs(self.without_slice_S - self.now)))
            parts.append(self.change_text(f"prepared slice {best + 1}", float(self.without_slice_S[best])))
        if not self.experts_text:
            best = int(np.argmax(np.abs(self.without_expert_K - self.now)))
            parts.append(self.change_text(f"expert {best + 1}", float(self.without_expert_K[best])))
        return " ".join(["Largest changes:", *parts]) if parts else ""


def what_if(analysis: Analysis, key: str) -> WhatIf | None:
    """Put a finding's counterfactual logits on the scale of its operating point; None where the analysis has none."""
    result = analysis.finding(key)
    if analysis.counterfactual is None or result.probability is None or result.logit is None:
        return None
    row = analysis.ledger.keys.index(key)
    calibrated = result.calibrated_probability
    line = analysis.calibration.get(key) if calibrated is not None else (1.0, 0.0)
    known = line is not None
    slope, intercept = line if line is not None else (1.0, 0.0)
    now = calibrated if known and calibrated is not None else result.probability
    return WhatIf(
        scale="calibrated probability" if known and calibrated is not None else "uncalibrated score",
        now=float(now),
        operating_point=result.operating_point if known else None,
        without_slice_S=_sigmoid(slope * analysis.counterfactual.without_slice[row].astype(np.float64) + intercept),
        without_expert_K=_sigmoid(slope * analysis.counterfactual.without_expert[row].astype(np.float64) + intercept),
        unit=analysis.unit,
        note="" if known else NO_CALIBRATION,
    )


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)) without overflow; NaN stays NaN."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float64)


def _log_odds(probability: float) -> float:
    """Return the log-odds of a probability; beyond what float64 can tell from 0 and 1, its largest finite ones."""
    inside = min(max(probability, float(np.finfo(np.float64).tiny)), 1.0 - float(np.finfo(np.float64).epsneg))
    return float(np.log(inside) - np.log1p(-inside))
