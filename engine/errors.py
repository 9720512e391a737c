"""The error tree. A library's error is translated into one of these once, at the edge where it is called."""

from __future__ import annotations

from typing import Literal

ErrorKind = Literal["input", "scope", "environment"]


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


class ExportError(HeadCTError):
    """A result cannot be written."""


class ConfigError(HeadCTError):
    """A configuration file holds unknown keys or impossible values."""
