"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from engine.errors import TrainingError


def write_atomically(path: Path, data: bytes | Callable[[Path], None]) -> None:
    """Write beside the target, then rename over it.

    Parameters
    ----------
    path
        The target.
    data
        Its content, or, where that is large, a function that writes it to the path that it is given, and raises OSError
        if it cannot.

    Raises
    ------
    TrainingError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(temporary, path, data)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror}",
            hint="Free disk space or choose another folder.",
            code="training.write",
            kind="environment",
        ) from error


def _write_and_rename(temporary: Path, path: Path, data: bytes | Callable[[Path], None]) -> None:
    """Leave the whole file or, however this ends, nothing."""
    try:
        if callable(data):
            data(temporary)
        with temporary.open("r+b" if callable(data) else "wb") as stream:
            if not callable(data):
                stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_parts(path: Path) -> None:
    """Remove what processes that were killed left half-written beside a file that only this process writes."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)


def write_json(path: Path, document: object) -> None:
    """Write a plain document as indented UTF-8 JSON; no NaN, no infinity."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode("utf-8"))
