"""The error tree. A library's error is translated into one of these once, at the edge where it is called."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Literal

ErrorKind = Literal["input", "scope", "environment"]

_HEADER = "Traceback (most recent call last):"
_LINK = "which came from:"
_WITHHELD = "(text withheld: it may quote patient data)"
_REPORT_LINE = re.compile(
    rf"{re.escape(_HEADER)}|{_LINK}"
    r'|  File "(?:[^"]*\.py|<[^">]*>)", line \d+,? in [\w<>.]+'
    rf"|(?:\w+\.)+[\w<>.]+: (?:\[\w+(?:\.\w+)+\]|{re.escape(_WITHHELD)})"
)


class HeadCTError(Exception):
    """An error that a person can act on.

    Parameters
    ----------
    message
        Names the file or object, the numbers and the effect. Holds no patient data.
    hint
        What the user can do about it.
    code
        A stable, dotted slug such as ``dicom.truncated``, for tests and support.
    kind
        ``input`` (bad input), ``scope`` (a valid study that the classifier is not made for) or
        ``environment`` (disk full, device lost, missing display). The command line maps it to its exit code.
    """

    def __init__(self, message: str, *, hint: str, code: str, kind: ErrorKind = "input") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.kind: ErrorKind = kind

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keyword-only parts when the error crosses a process boundary."""
        return _rebuild, (type(self), self.message, self.hint, self.code, self.kind)


def _rebuild(cls: type[HeadCTError], message: str, hint: str, code: str, kind: ErrorKind) -> HeadCTError:
    return cls(message, hint=hint, code=code, kind=kind)


class DicomError(HeadCTError):
    """A file or series cannot be read, or not as what it claims to be."""


class GeometryError(HeadCTError):
    """Positions or orientations do not make the volume that was asked for."""


class PackageError(HeadCTError):
    """A model package or checkpoint is damaged, incomplete or not one of ours."""


class StoreError(HeadCTError):
    """The store cannot be opened, read or written."""


class InferenceError(HeadCTError):
    """The classifier cannot give a result that may be shown."""


class TrainingError(HeadCTError):
    """A training run cannot start or go on."""


class LabelError(HeadCTError):
    """Reports cannot be read or labelled. Never quotes a report."""


class ExportError(HeadCTError):
    """A result cannot be written."""


class ConfigError(HeadCTError):
    """A configuration file holds unknown keys or impossible values."""


def traceback_without_values(error: BaseException) -> str:
    """Return where an error and its causes arose: files, lines, functions and types, and the codes of our own errors.

    No error's text is in it, not even that of a `HeadCTError`, which may name a path: a path may hold a patient's name.
    """
    return "\n".join(_report_lines(error)) + "\n"


def report_lines_of(text: str) -> str:
    """Return those lines of a process's stderr that `traceback_without_values` could have written.

    Everything else, such as what a library printed or the text of an error, may quote a value. So may what looks like
    a line of source code, which is left out as well.
    """
    return "\n".join(line for line in text.splitlines() if _REPORT_LINE.fullmatch(line))


def _report_lines(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield _HEADER
        for frame in traceback.extract_tb(link.__traceback__):
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
            if frame.line:
                yield f"    {frame.line}"
        code = f"[{link.code}]" if isinstance(link, HeadCTError) else _WITHHELD
        yield f"{type(link).__module__}.{type(link).__qualname__}: {code}"
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if link is not None:
            yield f"\n{_LINK}\n"
