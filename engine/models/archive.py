"""A package's files, whether they lie in a folder or in a ZIP. Nothing is unpacked to look at them."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from engine.errors import PackageError
from engine.models.manifest import MANIFEST_FILE, TENSOR_FILE, refused

MAX_TENSOR_BYTES = 2**30
MAX_TEXT_BYTES = 16 * 2**20
MAX_FILES = 64
_CHUNK = 2**20


class PackageFiles(Protocol):
    """Files by name."""

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""

    def read(self, name: str) -> bytes:
        """Return one file's bytes."""


@contextmanager
def open_package(path: Path) -> Iterator[PackageFiles]:
    """Open a package folder or ZIP for reading.

    Raises
    ------
    PackageError
        If it is neither, cannot be read, or holds links, sub-folders, or more than a package does.
    """
    try:
        if path.is_dir():
            yield _Folder(path)
        elif path.is_file():
            with _open_zip(path) as archive:
                yield _Archive(path, archive)
        else:
            raise _unreadable(path, "it does not exist")
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from error


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _unreadable(path, "it is neither a folder nor an undamaged ZIP") from error


def _limit(name: str) -> int:
    return MAX_TENSOR_BYTES if name == TENSOR_FILE else MAX_TEXT_BYTES


class _Folder:
    """A package in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for item in path.iterdir():
            if item.is_symlink() or not item.is_file():
                raise refused(str(item), "only plain files belong in a package", "extra_file")

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(item.name for item in self._path.iterdir()))

    def read(self, name: str) -> bytes:
        path = self._path / name
        with path.open("rb") as stream:
            content = stream.read(_limit(name) + 1)
        if len(content) > _limit(name):
            raise refused(str(path), f"it is larger than {_limit(name):,} bytes", "too_large")
        return content


class _Archive:
    """A package in a ZIP, its files at the top or in one folder."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > MAX_FILES:
            raise refused(str(path), f"it holds {len(members)} files, more than {MAX_FILES}", "extra_file")
        for member in members:
            _refuse_unsafe(path, member)
        names = [PurePosixPath(member.filename) for member in members]
        top = next((name.parent for name in names if name.name == MANIFEST_FILE and len(name.parts) <= 2), None)
        if top is None:
            raise refused(str(path), f"{MANIFEST_FILE} is missing", "missing_file")
        self._members = {
            str(name.relative_to(top) if name.is_relative_to(top) else name): member
            for name, member in zip(names, members, strict=True)
        }
        if len(self._members) != len(members):
            raise refused(str(path), "a file stands twice", "extra_file")

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._members))

    def read(self, name: str) -> bytes:
        source = f"{self._path}: {name}"
        chunks: list[bytes] = []
        size = 0
        try:
            with self._archive.open(self._members[name]) as stream:
                # The declared size is not trusted: a bomb is stopped as it unfolds.
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    if size > _limit(name):
                        raise refused(source, f"it is larger than {_limit(name):,} bytes", "too_large")
                    chunks.append(chunk)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise refused(source, f"it cannot be unpacked ({type(error).__name__})", "changed") from error
        return b"".join(chunks)


def _refuse_unsafe(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse names that lead elsewhere, links, and encrypted members."""
    name = PurePosixPath(member.filename)
    source = f"{path}: {member.filename}"
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
        raise refused(source, "its name leads out of the package", "unsafe_name")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise refused(source, "it is a link or a device", "unsafe_name")
    if member.flag_bits & 0x1:
        raise refused(source, "it is encrypted", "encrypted")


def _unreadable(path: Path, reason: str) -> PackageError:
    return PackageError(
        f"The model package {path} cannot be read: {reason}.",
        hint="Check the path; a package is a folder or a ZIP with a manifest.json.",
        code="package.unreadable",
    )
