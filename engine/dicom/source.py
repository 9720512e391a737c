"""Random access to the bytes of a file on disk or of one held in memory."""

from __future__ import annotations

import io
import os
from typing import Protocol

from engine.dicom.series import FileSource
from engine.errors import DicomError


class ByteReader(Protocol):
    """Bytes that can be read at any place."""

    size: int

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return up to `n_bytes` bytes from `offset`; fewer at the end."""

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` from `offset`; return how many bytes there were."""

    def close(self) -> None:
        """Let go of the file."""


class FileReader:
    """A file on disk, read without a buffer of its own. Not mapped: an ejected disk must be an error, not a crash."""

    def __init__(self, path: os.PathLike[str]) -> None:
        self._file = io.FileIO(path)
        self.size = os.fstat(self._file.fileno()).st_size

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return up to `n_bytes` bytes from `offset`; fewer at the end."""
        self._file.seek(offset)
        n_bytes = max(0, min(n_bytes, self.size - offset))
        data = self._file.read(n_bytes) or b""
        while len(data) < n_bytes and (more := self._file.read(n_bytes - len(data))):
            data += more
        return data

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` from `offset`; return how many bytes there were."""
        self._file.seek(offset)
        done = 0
        while done < len(target) and (n := self._file.readinto(target[done:])):
            done += n
        return done

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class MemoryReader:
    """Bytes in memory: a member of an archive, or an inflated data set."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return up to `n_bytes` bytes from `offset`; fewer at the end."""
        return self._data[offset : offset + n_bytes]

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` from `offset`; return how many bytes there were."""
        data = self._data[offset : offset + len(target)]
        target[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Keep nothing open."""


def unreadable(source: FileSource, error: OSError) -> DicomError:
    """Translate an operating system's error into ours, which names the file and the cause."""
    return DicomError(
        f"{source.label} cannot be read: {error.strerror or type(error).__name__}.",
        hint="Check that the disk or network drive is still there and that you may read the file.",
        code="dicom.unreadable",
        kind="environment" if not isinstance(error, FileNotFoundError) else "input",
    )
