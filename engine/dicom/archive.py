"""ZIP archives, read in memory and within limits: nothing is ever extracted to disk."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from engine.dicom.series import FileSource, Reason
from engine.dicom.source import ByteReader, FileReader, MemoryReader, unreadable
from engine.errors import DicomError

MOST_MEMBERS = 50_000
LARGEST_MEMBER_BYTES = 2 << 30
LARGEST_TOTAL_BYTES = 16 << 30
GREATEST_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 10 << 20

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def is_zip(first: bytes) -> bool:
    """Whether a file's first bytes are those of a ZIP archive, empty ones included."""
    return first[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def refuse_member(info: zipfile.ZipInfo) -> Reason | None:
    """Say why a member is not read: a path that leads outside, a link, a bomb, a password; None if it may be read."""
    parts = PurePosixPath(info.filename.replace("\\", "/")).parts
    if ".." in parts or info.filename.startswith(("/", "\\")) or ":" in (parts[0] if parts else ""):
        return Reason("dicom.zip.path", "Its path leads outside the archive; it is not read.")
    if stat.S_ISLNK(info.external_attr >> 16):
        return Reason("dicom.zip.link", "It is a link, which may lead outside the archive; it is not read.")
    if info.flag_bits & 0x1:
        return Reason("dicom.zip.encrypted", "It is encrypted; unpack the archive with its password first.")
    too_dense = info.file_size > RATIO_COUNTS_FROM_BYTES and info.file_size > GREATEST_RATIO * max(
        1, info.compress_size
    )
    if info.file_size > LARGEST_MEMBER_BYTES or too_dense:
        return Reason(
            "dicom.zip.bomb",
            f"It would unpack from {info.compress_size} to {info.file_size} bytes, beyond the limits; it is not read.",
        )
    return None


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open an archive within limits.

    Raises
    ------
    DicomError
        If it cannot be read, is damaged, or would unpack to too much.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise unreadable(FileSource(path), error) from error
    except _ZIP_ERRORS as error:
        raise DicomError(
            f"{path} is a damaged ZIP archive: its table of contents cannot be read.",
            hint="Download or copy the archive again.",
            code="dicom.zip.damaged",
        ) from error
    members = archive.infolist()
    total = sum(info.file_size for info in members)
    if len(members) > MOST_MEMBERS or total > LARGEST_TOTAL_BYTES:
        archive.close()
        raise DicomError(
            f"{path} holds {len(members)} members of {total} bytes together; "
            f"{MOST_MEMBERS} members and {LARGEST_TOTAL_BYTES} bytes are the limits.",
            hint="Unpack the archive yourself if you trust it, and open the folder.",
            code="dicom.zip.bomb",
        )
    return archive


def read_member(archive: zipfile.ZipFile, source: FileSource) -> MemoryReader:
    """Read one member into memory.

    Raises
    ------
    DicomError
        If the member is refused, damaged, or longer than the archive says.
    """
    name = source.member or ""
    try:
        info = archive.getinfo(name)
        refused = refuse_member(info)
        if refused is not None:
            raise DicomError(f"{source.label}: {refused.message}", hint="Leave it out.", code=refused.code)
        with archive.open(info) as member:
            data = member.read(info.file_size + 1)
    except OSError as error:
        raise unreadable(source, error) from error
    except (KeyError, *_ZIP_ERRORS) as error:
        raise DicomError(
            f"{source.label} cannot be unpacked: the archive is damaged there.",
            hint="Download or copy the archive again.",
            code="dicom.zip.damaged",
        ) from error
    return MemoryReader(data)


class Opener:
    """Opens sources; keeps the archives open that it meets until it is closed."""

    def __init__(self) -> None:
        self._archives: dict[Path, zipfile.ZipFile] = {}

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *_: object) -> None:
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()

    def archive(self, path: Path) -> zipfile.ZipFile:
        """Return the opened archive.

        Raises
        ------
        DicomError
            As `open_zip`.
        """
        if path not in self._archives:
            self._archives[path] = open_zip(path)
        return self._archives[path]

    def open(self, source: FileSource) -> ByteReader:
        """Open a file or a member of an archive.

        Raises
        ------
        DicomError
            If it cannot be read.
        """
        if source.member is not None:
            return read_member(self.archive(source.path), source)
        try:
            return FileReader(source.path)
        except OSError as error:
            raise unreadable(source, error) from error


def members(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[FileSource, Reason | None]]:
    """List the files in an archive, each with the reason why it is not read, if there is one."""
    for info in archive.infolist():
        if not info.is_dir():
            yield FileSource(path, info.filename), refuse_member(info)
