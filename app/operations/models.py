"""The library of model packages, as the app uses it. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.settings import AppPaths
from engine.errors import PackageError
from engine.models.library import STATE_FILE, LibraryState, ModelLibrary
from engine.models.package import verify_package


def open_library(paths: AppPaths) -> ModelLibrary:
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


def can_roll_back(paths: AppPaths) -> bool:
    """Whether another model was active before; False too where the library's state cannot be read."""
    try:
        state = LibraryState.model_validate_json((paths.models / STATE_FILE).read_bytes())
    except (OSError, ValidationError):
        return False
    return bool(state.history)
