"""The library of model packages, as the app uses it. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.settings import AppPaths
from engine.errors import PackageError
from engine.findings.catalogue import load_catalogue
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
    return ModelLibrary(paths.models, paths.bundled_models, known_keys=load_catalogue(paths.catalogue_file))


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


def describe_package(path: Path) -> dict[str, Any]:
    """Return a package's manifest, notice and measured results (``metrics.json``) as plain values.

    Raises
    ------
    PackageError
        If the package is refused.
    """
    package = read_package(path)
    manifest = package.manifest
    return {
        "path": str(path),
        "digest": manifest.digest,
        "notice": manifest.notice,
        "metrics": package.metrics,
        "manifest": manifest.model_dump(mode="json"),
    }
