"""What a model package says about how each of its findings was calibrated and measured, in words. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.operations.models import describe_package
from engine.models.backbones.registry import BackboneRegistry

UNCALIBRATED = "Not calibrated: the score is no probability"


def track_record(path: Path, registry: BackboneRegistry | None = None) -> dict[str, str]:
    """Return a text by finding key; packages of older versions say less.

    Raises
    ------
    PackageError
        If the package is refused.
    """
    description = describe_package(path, registry)
    return {key: finding_text(key, description) for key in description["manifest"]["finding_keys"]}


def finding_text(key: str, description: Mapping[str, Any]) -> str:
    """Put into lines how one finding was calibrated, what its operating point reached, and how well it ranked."""
    metrics = description["metrics"]
    calibration = metrics.get("calibration") or {}
    measured = calibration.get("findings", calibration).get(key) or {}
    lines = (
        _calibrated(description["calibration"].get(key), calibration, measured),
        _reached(calibration, measured),
        _ranked(metrics.get("heldout") or {}, key),
    )
    return "\n".join(line for line in lines if line)


def _calibrated(method: Mapping[str, Any] | None, calibration: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    note = f" ({measured['note']})" if measured.get("note") else ""
    if measured.get("kept_from_parent"):
        return f"Calibration as in the parent package{note}."
    state = UNCALIBRATED if method is None else f"Calibrated by {method['method']}"
    fit = calibration.get("fit") or {}
    where = f" {fit['description']}" if fit.get("description") else ""
    on = f" on {_cases(measured)}{where}" if "n_pos" in measured else ""
    return f"{state}{note}; operating point chosen{on}." if on else f"{state}{note}."


def _reached(calibration: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """Return sensitivity and specificity, from studies that the fit has not seen where there are any."""
    tested = measured.get("test")
    shares = tested or measured.get("fit") or {}
    said = [_share(name, shares.get(name)) for name in ("sensitivity", "specificity")]
    if not any(said):
        return ""
    part = calibration.get("test" if tested else "fit") or {}
    seen = "the studies of the fit: expect less on others" if part.get("in_sample", not tested) else "not in the fit"
    return f"At the operating point: {', '.join(text for text in said if text)}; {seen}."


def _share(name: str, share: Mapping[str, Any] | None) -> str:
    if share is None:
        return ""
    return f"{name} {share['value']:.2f} (95 % {share['low']:.2f} to {share['high']:.2f}, n = {share['n']})"


def _ranked(heldout: Mapping[str, Any], key: str) -> str:
    measured = (heldout.get("findings") or {}).get(key) or {}
    if not measured:
        return ""
    auc = f"AUC {measured['auc']:.2f}" if measured.get("auc") is not None else "AUC not measured"
    note = f", {measured['note']}" if measured.get("note") else ""
    return f"{auc} on {_cases(measured)}, {heldout.get('description', 'held out')}{note}."


def _cases(measured: Mapping[str, Any]) -> str:
    return f"{measured['n_pos']} with and {measured['n_neg']} without"
