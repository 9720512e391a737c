"""Refuse a place that cannot be written before the long work, not after it."""

from __future__ import annotations

import tempfile
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


def _unwritable(path: Path, reason: str) -> ExportError:
    return ExportError(
        f"{path} cannot be written: {reason}. Nothing was done.",
        hint="Choose another place, correct the permissions, or free some space.",
        code="output.unwritable",
        kind="environment",
    )
