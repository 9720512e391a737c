"""Refuse a place that cannot or must not be written before the long work, not after it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from engine.errors import ExportError


def require_folder(folder: Path) -> Path:
    """Make a folder that can be written, and return it.

    Raises
    ------
    ExportError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise _unwritable(folder, error.strerror or type(error).__name__) from error


def require_output(path: Path) -> Path:
    """Return a path where a file can be put; its folder is made.

    Raises
    ------
    ExportError
        If its folder cannot be written, or a folder stands in its place.
    """
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    require_folder(path.absolute().parent)
    return path


def require_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs that would replace a file of the input, under whatever name, or each other.

    Raises
    ------
    ExportError
        Of kind ``input``, if an output is the same file as one of `inputs` or as another output.
    """
    named = list(outputs)
    for index, output in enumerate(named):
        if any(output.resolve() == other.resolve() for other in named[:index]):
            raise _collision(output, "two results would be written to it")
    # What is not there yet can be no file of the input.
    present = [(output, _identity(output)) for output in named if output.exists()]
    if not present:
        return
    taken = {identity for identity in map(_identity, inputs) if identity is not None}
    for output, identity in present:
        if identity in taken:
            raise _collision(output, "it is a file of the input, which would be lost")


def _identity(path: Path) -> tuple[int, int] | None:
    """Name the file itself, whatever path, link or letter case leads to it; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _collision(path: Path, reason: str) -> ExportError:
    return ExportError(
        f"{path} is not written: {reason}. Nothing was done.",
        hint="Choose another name for the result.",
        code="output.collision",
    )


def _unwritable(path: Path, reason: str) -> ExportError:
    return ExportError(
        f"{path} cannot be written: {reason}. Nothing was done.",
        hint="Choose another place, correct the permissions, or free some space.",
        code="output.unwritable",
        kind="environment",
    )
