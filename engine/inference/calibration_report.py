"""What a package says about its calibration and operating points: numbers for ``metrics.json``, words for the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.inference.calibrate import N_BINS, CalibrationSettings, FindingCalibration, FindingMeasure, Quality
from engine.inference.operating_points import Proportion

ECE_BINS = f"{N_BINS} equal-mass bins"


@dataclass(frozen=True)
class MeasuredSet:
    """One set of studies: in words (``synthetic phantoms``), how many, whether the fit saw them, and the measures."""

    description: str
    n_studies: int
    in_sample: bool
    measures: tuple[FindingMeasure, ...]

    def measure(self, key: str) -> FindingMeasure:
        """Return one finding's; KeyError if it was not measured."""
        for item in self.measures:
            if item.key == key:
                return item
        raise KeyError(key)

    def means(self) -> dict[str, Any]:
        """Return the means over the calibrated findings, so that before and after are of the same ones."""
        pairs = [(item.raw, item.calibrated) for item in self.measures if item.raw and item.calibrated]
        names: dict[str, Callable[[tuple[Quality, Quality]], float]] = {
            "ece_before": lambda pair: pair[0].ece,
            "ece_after": lambda pair: pair[1].ece,
            "brier_before": lambda pair: pair[0].brier,
            "brier_after": lambda pair: pair[1].brier,
        }
        means = {
            name: float(np.mean([value(pair) for pair in pairs])) if pairs else None for name, value in names.items()
        }
        return {"n_findings": len(pairs), **means}

    def to_json(self) -> dict[str, Any]:
        """Return what is said about the set as a whole."""
        return {
            "description": self.description,
            "n_studies": self.n_studies,
            "in_sample": self.in_sample,
            "mean": self.means(),
        }


@dataclass(frozen=True)
class CalibrationReport:
    """Calibration and operating points of a package, with what they were measured on.

    Attributes
    ----------
    kept
        Why, by key, findings were left as they were in the parent package; they are not among `items`.
    fitted, tested
        The set of the fit, and another one if there is any.
    """

    settings: CalibrationSettings
    items: tuple[FindingCalibration, ...]
    fitted: MeasuredSet
    tested: MeasuredSet | None = None
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def n_calibrated(self) -> int:
        """Number of findings that were fitted."""
        return sum(item.method is not None for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Return the ``calibration`` part of ``metrics.json``."""
        rule = self.settings.operating_point
        return {
            "method": self.settings.method,
            "rule": rule.rule,
            "target": rule.target,
            "ece_bins": ECE_BINS,
            "fit": self.fitted.to_json(),
            "test": None if self.tested is None else self.tested.to_json(),
            "findings": {
                **{item.key: self._finding(item) for item in self.items},
                **{key: {"kept_from_parent": True, "note": reason} for key, reason in self.kept},
            },
        }

    def markdown(self, title: str = "Calibration and operating points") -> str:
        """Return the section of the model card."""
        shown = self.fitted if self.tested is None else self.tested
        lines = [
            f"## {title}",
            f"Method {self.settings.method}, fitted on {self.fitted.n_studies} {self.fitted.description}; operating "
            f"points by {self.settings.operating_point.text}, on the probability that is shown. ECE is over "
            f"{ECE_BINS}; few studies bias it upwards.",
            *(_mean_line(measured) for measured in (self.fitted, self.tested) if measured is not None),
            self._uncalibrated_line(),
            *self._missed_lines(),
            *self._kept_lines(),
            "",
            f"Sensitivity and specificity with 95 % Wilson intervals, on the {shown.n_studies} {shown.description}, "
            f"{'the very ones of the fit: expect less on others' if shown.in_sample else 'which the fit did not see'}.",
            "",
            "| finding | calibrated | operating point | sensitivity | specificity | ECE | Brier |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(_row(item, shown.measure(item.key)) for item in self.items),
        ]
        return "\n".join(lines) + "\n"

    def _finding(self, item: FindingCalibration) -> dict[str, Any]:
        point, measured = item.point, item.measured
        document: dict[str, Any] = {
            "calibrated": item.method is not None,
            "operating_point": point.threshold,
            "target_reached": point.target_reached,
            "n_pos": measured.n_pos,
            "n_neg": measured.n_neg,
            "note": "; ".join(dict.fromkeys(text for text in (item.reason, point.note) if text)),
            "fit": _measure_json(measured),
        }
        return document if self.tested is None else document | {"test": _measure_json(self.tested.measure(item.key))}

    def _uncalibrated_line(self) -> str:
        reasons: dict[str, list[str]] = {}
        for item in self.items:
            if item.method is None:
                reasons.setdefault(item.reason, []).append(item.key)
        if not reasons:
            return "Every finding that was fitted is calibrated."
        listed = "; ".join(f"{reason}: {', '.join(keys)}" for reason, keys in reasons.items())
        return f"**Uncalibrated** (the raw output is shown, and marked) — {listed}."

    def _missed_lines(self) -> list[str]:
        missed = [item.key for item in self.items if item.point.target_reached is False]
        if not missed:
            return []
        return [f"**Missed the target** of {self.settings.operating_point.text}, at the nearest: {', '.join(missed)}."]

    def _kept_lines(self) -> list[str]:
        reasons: dict[str, list[str]] = {}
        for key, reason in self.kept:
            reasons.setdefault(reason, []).append(key)
        return [f"As in the parent package ({reason}): {', '.join(keys)}." for reason, keys in reasons.items()]


def _mean_line(measured: MeasuredSet) -> str:
    means = measured.means()
    where = f"{measured.n_studies} {measured.description} ({'in-sample' if measured.in_sample else 'not in the fit'})"
    if not means["n_findings"]:
        return f"On {where}: nothing to measure."
    return (
        f"On {where}, mean of {means['n_findings']} calibrated findings: ECE {means['ece_before']:.3f} before, "
        f"{means['ece_after']:.3f} after; Brier {means['brier_before']:.3f} before, {means['brier_after']:.3f} after."
    )


def _row(item: FindingCalibration, measured: FindingMeasure) -> str:
    cells = (
        item.key,
        "no" if item.method is None else "yes",
        f"{item.point.threshold:.3f}",
        _share(measured.sensitivity),
        _share(measured.specificity),
        _change(_ece(measured.raw), _ece(measured.calibrated)),
        _change(_brier(measured.raw), _brier(measured.calibrated)),
    )
    return f"| {' | '.join(cells)} |"


def _share(share: Proportion | None) -> str:
    if share is None:
        return "no case"
    low, high = share.interval
    return f"{share.value:.2f} ({low:.2f}–{high:.2f}), n = {share.n}"


def _change(before: float | None, after: float | None) -> str:
    if before is None:
        return "—"
    return f"{before:.3f}" if after is None else f"{before:.3f} → {after:.3f}"


def _ece(quality: Quality | None) -> float | None:
    return None if quality is None else quality.ece


def _brier(quality: Quality | None) -> float | None:
    return None if quality is None else quality.brier


def _measure_json(measured: FindingMeasure) -> dict[str, Any]:
    return {
        "ece_before": _ece(measured.raw),
        "ece_after": _ece(measured.calibrated),
        "brier_before": _brier(measured.raw),
        "brier_after": _brier(measured.calibrated),
        "sensitivity": None if measured.sensitivity is None else measured.sensitivity.to_json(),
        "specificity": None if measured.specificity is None else measured.specificity.to_json(),
    }


def fitted_set(description: str, n_studies: int, items: Sequence[FindingCalibration]) -> MeasuredSet:
    """Return the set of the fit itself."""
    return MeasuredSet(description, n_studies, True, tuple(item.measured for item in items))
