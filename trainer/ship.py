"""Put a finished run into the program's resources: ``python -m trainer.ship OUT [--resources DIR]``.

The package replaces the one of the same name under ``models/``, the reference cohort the one under ``demo/``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import HeadCTError, TrainingError
from engine.models.package import install_files, read_package
from trainer.files import write_atomically
from trainer.reference import read_reference, sidecar
from trainer.training import PACKAGE_FOLDER, REFERENCE_FILE

RESOURCES = Path(__file__).resolve().parents[1] / "resources"


def ship(out: Path, resources: Path) -> Path:
    """Copy package and reference cohort, after both were checked against each other; return the package's folder.

    Raises
    ------
    HeadCTError
        If one of them is missing, damaged, or not the other's, or it is of patients; nothing is replaced then.
    """
    package = read_package(out / PACKAGE_FOLDER)
    reference = out / REFERENCE_FILE
    _require_phantoms(read_reference(reference, package.manifest).document.cohort)
    target = resources / "models" / package.manifest.name
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    install_files(fresh, package)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    for source in (reference, sidecar(reference)):
        write_atomically(resources / "demo" / source.name, source.read_bytes())
    return target


def _require_phantoms(cohort: Mapping[str, Any]) -> None:
    """Refuse features that were computed from images of persons: what ships is public."""
    if cohort.get("kind") != "phantom":
        raise TrainingError(
            "This run was trained on an imported cohort, whose features may not be published; nothing was shipped.",
            hint="Ship runs on phantoms only.",
            code="training.ship_cohort",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit code."""
    parser = argparse.ArgumentParser(prog="trainer.ship", description="Put a finished training run into the resources.")
    parser.add_argument("out", type=Path, help="the run's output folder")
    parser.add_argument("--resources", type=Path, default=RESOURCES)
    parsed = parser.parse_args(argv)
    try:
        print(ship(parsed.out, parsed.resources))
    except HeadCTError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
