"""Outputs appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import ExportError


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its place when the block ends without an error.

    The file is made on entry, so that a place that cannot be written is refused before any long work.

    Raises
    ------
    ExportError
        If the folder or file cannot be written.
    """
    temporary: Path | None = None
    try:
        temporary = _temporary_beside(path)
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_folder(folder: Path) -> Path:
    """Make a folder that can be written.

    Raises
    ------
    ExportError
        If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise unwritable(folder, error) from error


def write_json(path: Path, document: Any) -> None:
    """Write plain values as UTF-8 JSON; NaN and infinity are refused by ValueError."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def unwritable(path: Path, error: OSError) -> ExportError:
    """Say that an output cannot be written."""
    return ExportError(
        f"{path} cannot be written: {error.strerror or type(error).__name__}. Nothing was left there.",
        hint="Choose another place, correct the permissions, or free some space.",
        code="output.unwritable",
        kind="environment",
    )


def _temporary_beside(path: Path) -> Path:
    """Make an empty file with the same suffixes, which decide the format for some writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(None, "it is a folder")
    name, dot, suffixes = path.name.partition(".")
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=f".tmp{dot}{suffixes}", dir=path.parent)
    os.close(handle)
    os.chmod(temporary, 0o666 & ~_umask())
    return Path(temporary)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
