"""The library of model packages, as the app uses it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.settings import AppPaths
from engine.errors import PackageError
from engine.findings.catalogue import load_catalogue
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.models.library import ModelLibrary
from engine.models.package import read_package

CHOOSE_MODEL = "Make another model active (models list, models activate NAME), or install this one again."


def open_library(paths: AppPaths) -> ModelLibrary:
    """Open the library: the user's packages and the bundled ones, held against the findings catalogue.

    Raises
    ------
    HeadCTError
        If the catalogue cannot be read.
    """
    catalogue = load_catalogue(paths.catalogue_file)
    return ModelLibrary(paths.models, paths.bundled_models, open_registry(paths.backbones), catalogue)


def package_path(models: ModelLibrary, name: str | None) -> Path:
    """Return the folder or ZIP of a verified model by name, digest or path; of the active one without a name.

    Raises
    ------
    PackageError
        If there is none or it is refused; of kind ``environment`` where no name was given, for then nothing that the
        user gave is wrong.
    """
    return models.find(name).path if name is not None else _active_path(models)


def _active_path(models: ModelLibrary) -> Path:
    entry = models.active()
    if entry is None:
        broken = " ".join(package.error.message for package in models.broken())
        raise PackageError(
            f"No model is active. {broken}".rstrip(),
            hint="Install a package with models install PATH and activate it, or name one with --model.",
            code="package.none_active",
            kind="environment",
        )
    try:
        return models.find(entry.digest).path
    except PackageError as error:
        raise PackageError(
            f"The active model {entry.name} cannot be used. {error.message}",
            hint=CHOOSE_MODEL,
            code=error.code,
            kind="environment",
        ) from error


def damage_by_digest(models: ModelLibrary) -> dict[str, str]:
    """Verify every package of the library; per digest the reason why it is refused, empty where it is whole."""
    damage = {}
    for entry in models.list():
        try:
            models.find(entry.digest)
        except PackageError as error:
            damage[entry.digest] = error.message
        else:
            damage[entry.digest] = ""
    return damage


def describe_package(path: Path, registry: BackboneRegistry | None = None) -> dict[str, Any]:
    """Return a package's manifest, notice, calibration and measured results (``metrics.json``) as plain values.

    ``uncalibrated`` lists the findings without a calibrated probability.

    Raises
    ------
    PackageError
        If the package is refused.
    """
    package = read_package(path, registry)
    manifest = package.manifest
    return {
        "path": str(path),
        "digest": manifest.digest,
        "notice": manifest.notice,
        "calibration": package.calibration.model_dump(mode="json"),
        "uncalibrated": [key for key in manifest.finding_keys if key not in package.calibration.root],
        "metrics": package.metrics,
        "manifest": manifest.model_dump(mode="json"),
    }


def package_lines(description: Mapping[str, Any]) -> list[str]:
    """Put what `describe_package` returned in lines for a person; packages of older versions measured less."""
    manifest, metrics = description["manifest"], description["metrics"]
    calibration = metrics.get("calibration", {})
    measured = calibration.get("findings", calibration)
    lines = [
        f"{manifest['name']} {manifest['version']}  {description['digest'][:12]}  {manifest['notice']}",
        f"backbone {manifest['backbone']['name']}, {len(manifest['finding_keys'])} findings, "
        f"{len(description['uncalibrated'])} of them uncalibrated (marked *): their numbers are no probabilities",
        *_calibration_lines(calibration),
        *_usage_lines(metrics.get("expert_usage")),
        "",
        f"{'finding':<44} {'reading':<12} {'at or above':<12} sensitivity / specificity",
    ]
    return lines + [_finding_line(key, description, measured.get(key, {})) for key in manifest["finding_keys"]]


def _calibration_lines(calibration: Mapping[str, Any]) -> list[str]:
    if "method" not in calibration:
        return ["calibration: not measured by this package's version"]
    target = "" if calibration["target"] is None else f" of {calibration['target']:g}"
    lines = [f"calibration: {calibration['method']}; operating points: {calibration['rule']}{target}"]
    for part in (calibration["fit"], calibration["test"]):
        if part is not None and part["mean"]["n_findings"]:
            mean, where = part["mean"], "in-sample" if part["in_sample"] else "not in the fit"
            lines.append(
                f"  on {part['n_studies']} {part['description']} ({where}): mean ECE {mean['ece_before']:.3f} to "
                f"{mean['ece_after']:.3f}, Brier {mean['brier_before']:.3f} to {mean['brier_after']:.3f} "
                f"({mean['n_findings']} findings)"
            )
    return lines


def _usage_lines(usage: Mapping[str, Any] | None) -> list[str]:
    if usage is None:
        return ["expert usage: not measured"]
    gates = " ".join(f"{gate:.3f}" for gate in usage["mean_gates"])
    state = f"COLLAPSED ({usage['collapse_rule']})" if usage["collapsed"] else "not collapsed"
    return [
        f"expert usage on {usage['n_studies']} {usage['description']}: mean gates {gates}; normalised entropy "
        f"{usage['mean_gate_entropy']:.3f}, per slice {usage['mean_slice_entropy']:.3f}; {state}"
    ]


def _finding_line(key: str, description: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    method = description["calibration"].get(key)
    reading = "raw *" if method is None else method["method"]
    kept = "  as in the parent:" if measured.get("kept_from_parent") else ""
    reached = measured.get("test") or measured.get("fit") or {}
    shares = " / ".join(
        "?" if reached.get(name) is None else f"{reached[name]['value']:.2f} (n = {reached[name]['n']})"
        for name in ("sensitivity", "specificity")
    )
    note = f"  {measured['note']}" if measured.get("note") else ""
    missed = "  target missed" if measured.get("target_reached") is False else ""
    point = description["manifest"]["operating_points"][key]
    return f"{key:<44} {reading:<12} {point:<12.3f} {shares}{kept}{note}{missed}".rstrip()
