"""Adapters of a model as a PEFT folder, and a PEFT folder as a new model."""

from __future__ import annotations

from pathlib import Path

from engine.models.backbones.registry import BackboneRegistry


def export_adapter(package: Path, folder: Path, registry: BackboneRegistry) -> None:
    """Write the adapters and the trained part of a package into a new folder.

    Raises
    ------
    PackageError
        As `engine.models.adapter_exchange.export_adapter` does, or if the package is refused.
    """
    # Torch and peft take seconds to import; the other commands on models do without.
    from engine.models.adapter_exchange import export_adapter as export
    from engine.models.package import load_package

    export(load_package(package, registry), folder)


def import_adapter(base: Path, folder: Path, out: Path, name: str | None, registry: BackboneRegistry) -> str:
    """Write a new package from an existing one and a PEFT folder; its digest.

    Raises
    ------
    PackageError
        As `engine.models.adapter_exchange.import_adapter` does.
    """
    from engine.models.adapter_exchange import import_adapter as read

    return read(base, folder, out, name=name, registry=registry).digest
