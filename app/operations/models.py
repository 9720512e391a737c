"""The library of model packages, as the app uses it. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.models.library import LibraryEntry, ModelLibrary
from engine.models.package import verify_package

from app.settings import AppPaths
from engine.errors import PackageError


def library(paths: AppPaths) -> ModelLibrary:
    """Open the library: the user's packages and the bundled ones."""
    return ModelLibrary(paths.models, paths.bundled_models)


def package_path(models: ModelLibrary, name: str | None) -> Path:
    """Return the folder or ZIP of a model by name, digest or path; of the active one without a name.

    Raises
    ------
    PackageError
        If there is none.
    """
    entry = models.active() if name is None else models.find(name)
    if entry is None:
        raise PackageError(
            "No model is active.",
            hint="Install a package with models install PATH and activate it.",
            code="package.none_active",
        )
    return entry.path


def describe_package(path: Path) -> dict[str, Any]:
    """Return a verified package's manifest and measured results as plain values.

    Raises
    ------
    PackageError
        If the package is refused.
    """
    manifest = verify_package(path)
    return {"path": str(path), "digest": manifest.digest, "manifest": manifest.model_dump(mode="json")}


def adopt(models: ModelLibrary, path: Path) -> LibraryEntry:
    """Install a candidate package and make it the active one.

    Raises
    ------
    PackageError
        If the package is refused.
    """
    return models.activate(models.install(path).digest)


def read_metrics(path: Path) -> dict[str, Any]:
    """Return a package folder's ``metrics.json``.

    Raises
    ------
    PackageError
        If it is not there or not JSON.
    """
    try:
        metrics: dict[str, Any] = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise PackageError(
            f"{path / 'metrics.json'} cannot be read.",
            hint="Run the training again.",
            code="package.metrics",
        ) from error
    return metrics
