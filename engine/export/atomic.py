"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.errors import ExportError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` and put it in place of `path` at the end.

    If anything is raised, the temporary file is removed and what was at `path` before stays.

    Raises
    ------
    ExportError
        If the folder or file cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written ({error.strerror}); nothing was changed.",
            hint="Check that the folder exists, can be written and has space left.",
            code="export.cannot_write",
            kind="environment",
        ) from error


def write_json_atomic(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document as UTF-8 JSON, keys in their own order, so that equal documents give equal bytes.

    Raises
    ------
    ExportError
        If the file cannot be written, or the document holds a number that JSON does not have.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    except ValueError as error:
        raise ExportError(
            f"{path} was not written: the result holds a number that is not finite.",
            hint="Run the analysis again; if it recurs, the model package is at fault.",
            code="export.not_finite",
        ) from error
    with replacing(path) as stream:
        stream.write(text.encode("utf-8") + b"\n")


def write_npz_atomic(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as a compressed ``.npz`` without pickles; equal arrays give equal bytes.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    with replacing(path) as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
