"""Reads the header of a DICOM file through pydicom, and only the wanted elements of it.

pydicom trusts what it reads; this module sets the limits: how far a header may step, how much it may hold, how far a
deflated data set may grow, and what makes a file no DICOM file. PixelData is located, not read.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import ENCODED_VR, read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from engine.dicom import tags
from engine.dicom.series import Reason
from engine.dicom.source import ByteReader, MemoryReader

CHUNK = 16_384
MOST_META_BYTES = 16_384
LONGEST_VALUE = 1 << 20
LONGEST_TEXT = 1024
MOST_STEPS = 400_000
MOST_INFLATED = 1 << 31
UNDEFINED = 0xFFFFFFFF

_ITEM_GROUP = 0xFFFE
_VRS = frozenset(vr.decode() for vr in ENCODED_VR)
_VRS_OR_NONE = _VRS | {None}
_PIXEL_TAGS = frozenset((tags.PIXEL_DATA, tags.FLOAT_PIXEL_DATA, tags.DOUBLE_FLOAT_PIXEL_DATA))

# What pydicom raises on damaged data, nested sequences and values among it.
PYDICOM_ERRORS = (
    *(InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, TypeError, AttributeError, LookupError),
    *(NotImplementedError, OverflowError, RecursionError, struct.error),
)

_StopWhen = Callable[[int, str | None, int], bool]

# pydicom's messages may quote values, which are patient data; what matters in them is said in our own words.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings, which may quote values, to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class HeaderError(Exception):
    """A file is no DICOM file, or a damaged one; carries the reason for the report."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.reason = Reason(code, message)


@dataclass(slots=True)
class Header:
    """The wanted elements of one file and where its pixels are.

    Attributes
    ----------
    dataset
        The wanted elements as pydicom keeps them, converted only when they are asked for.
    values
        Tag to the bytes of its value: the same elements, undecoded.
    has_frame_groups
        Whether there are PerFrameFunctionalGroups.
    pixel_offset, pixel_length
        PixelData's value in the file (or in `inflated`); the offset is None where there is none, the length
        `UNDEFINED` where it is encapsulated.
    notes
        What was wrong with the file and could be read nevertheless.
    inflated
        The data set of a deflated file.
    """

    dataset: Dataset = field(default_factory=Dataset)
    values: dict[int, bytes] = field(default_factory=dict)
    transfer_syntax: str = ""
    media_storage_sop_class: str = ""
    has_frame_groups: bool = False
    pixel_tag: int = 0
    pixel_offset: int | None = None
    pixel_length: int = 0
    end: int = 0
    big_endian: bool = False
    notes: list[Reason] = field(default_factory=list)
    inflated: bytes | None = None

    def name(self, tag: int) -> str:
        """Return a name or description in the file's character set; undecodable bytes are shown as replacements.

        At most 1024 characters, control characters left out.
        """
        if not self.values.get(tag):
            return ""
        try:
            with quiet():
                value = self.dataset[tag].value
                text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
        except PYDICOM_ERRORS:
            text = self.text(tag)
        return "".join(c for c in text[: 4 * LONGEST_TEXT] if c.isprintable())[:LONGEST_TEXT].strip()

    def text(self, tag: int) -> str:
        """Return the value as text, Latin-1, without padding; empty where absent. For codes, not for names."""
        raw = self.values.get(tag)
        return raw.decode("latin-1").strip(" \0") if raw else ""

    def texts(self, tag: int) -> tuple[str, ...]:
        """Return the values of a multi-valued text element."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def unsigned(self, tag: int) -> int | None:
        """Return a US value; None where absent."""
        raw = self.values.get(tag)
        if raw is None or len(raw) < 2:
            return None
        return int.from_bytes(raw[:2], "big" if self.big_endian else "little")

    def signed(self, tag: int) -> int | None:
        """Return an SS value; None where absent."""
        value = self.unsigned(tag)
        return value if value is None or value < 0x8000 else value - 0x10000

    def floats(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Return exactly `count` finite numbers of a DS element; None where they are not there."""
        raw = self.values.get(tag)
        if not raw:
            return None
        try:
            numbers = tuple(map(float, raw.rstrip(b" \0").split(b"\\")))
        except ValueError:
            return None
        if len(numbers) != count or any(number - number != 0.0 for number in numbers):
            return None
        return numbers

    def number(self, tag: int) -> float | None:
        """Return one finite number of a DS element."""
        numbers = self.floats(tag, 1)
        return None if numbers is None else numbers[0]

    def integer(self, tag: int) -> int | None:
        """Return an IS value; None where absent or no whole number."""
        number = self.number(tag)
        return int(number) if number is not None and number == int(number) else None


class _Stream:
    """The file as pydicom reads it: in chunks, with a limit to the number of reads.

    pydicom turns whatever is raised while it reads a sequence into an error of its own; `failure` keeps the first.
    """

    def __init__(self, reader: ByteReader, position: int = 0) -> None:
        self._reader = reader
        self._chunk, self._base = b"", 0
        self._position = position
        self._steps = 0
        self.size = reader.size
        self.failure: OSError | HeaderError | None = None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def read(self, n_bytes: int) -> bytes:
        self._steps += 1
        start = self._position - self._base
        if start < 0 or start + n_bytes > len(self._chunk):
            start = self._fill(n_bytes)
        data = self._chunk[start : start + n_bytes]
        self._position += len(data)
        return data

    def peek(self, n_bytes: int) -> bytes:
        data = self.read(n_bytes)
        self._position -= len(data)
        return data

    def _fill(self, n_bytes: int) -> int:
        try:
            if self._steps > MOST_STEPS:
                raise HeaderError("dicom.header.too_long", f"The header takes more than {MOST_STEPS} steps to read.")
            self._chunk, self._base = self._reader.read_at(self._position, max(CHUNK, n_bytes)), self._position
        except (OSError, HeaderError) as error:
            self.failure = self.failure or error
            raise
        return 0


def read_header(
    reader: ByteReader, wanted: Collection[int] = tags.WANTED, longest_value: int | None = LONGEST_VALUE
) -> Header:
    """Read the header of one file.

    Parameters
    ----------
    wanted
        Tags of the top level whose elements are kept.
    longest_value
        In bytes; a wanted element that is longer is damage. None sets no limit but the file's own length.

    Raises
    ------
    HeaderError
        If the file is no DICOM file, is damaged before its pixels, or uses an unknown transfer syntax.
    OSError
        If the file cannot be read.
    """
    header = Header()
    stream = _Stream(reader)
    with quiet():
        _read_file_meta(stream, header)
        if header.transfer_syntax == tags.DEFLATED_LITTLE:
            header.inflated = _inflate(reader, stream.tell())
            stream = _Stream(MemoryReader(header.inflated))
        _read_elements(stream, header, wanted, longest_value)
    return header


def _read_file_meta(stream: _Stream, header: Header) -> None:
    """Read group 0002, always Explicit VR Little Endian, without trust in its length."""
    if stream.read(132)[128:] != b"DICM":
        stream.seek(0)
        _require_bare_data_set(stream.read(CHUNK), stream.size)
        stream.seek(0)
        header.notes.append(Reason("dicom.preamble.missing", "The 128-byte preamble and the DICM mark are missing."))
    if stream.size <= stream.tell() + 8:
        raise HeaderError("dicom.empty", f"The file ends after {stream.size} bytes, before its first data element.")

    def after_meta(tag: int, vr: str | None, length: int) -> bool:
        if tag >> 16 != 0x0002:
            return True
        if vr not in _VRS or stream.tell() + length > min(stream.size, MOST_META_BYTES):
            raise HeaderError(
                "dicom.file_meta.damaged",
                f"The file meta information is damaged: {_tag_text(tag)} has no valid VR, or no {length} bytes.",
            )
        return False

    meta = _raw_values(_read(stream, False, True, after_meta))
    header.media_storage_sop_class = _uid(meta.get(tags.MEDIA_STORAGE_SOP_CLASS_UID))
    header.transfer_syntax = _uid(meta.get(tags.TRANSFER_SYNTAX_UID))
    _settle_transfer_syntax(header, stream)


def _require_bare_data_set(first: bytes, size: int) -> None:
    """Accept a file without preamble only if it starts like group 0002 or 0008 of a data set."""
    if len(first) >= 8 and first[:2] in (b"\x02\x00", b"\x08\x00") and first[3] == 0:
        (implicit_length,) = struct.unpack_from("<L", first, 4)
        if first[4:6] in ENCODED_VR or implicit_length < min(size, 256):
            return
    elsewhere = first.find(b"DICM")
    place = f" The mark stands at byte {elsewhere}, where it does not count." if elsewhere >= 0 else ""
    raise HeaderError("dicom.not_dicom", f"Not a DICOM file: no DICM mark at byte 128.{place}")


def _settle_transfer_syntax(header: Header, stream: _Stream) -> None:
    syntax = UID(header.transfer_syntax, IGNORE)
    if not syntax:
        explicit = stream.peek(6)[4:] in ENCODED_VR
        header.transfer_syntax = tags.EXPLICIT_LITTLE if explicit else tags.IMPLICIT_LITTLE
        name = "Explicit" if explicit else "Implicit"
        header.notes.append(
            Reason("dicom.transfer_syntax.missing", f"No transfer syntax is given; {name} VR Little Endian is assumed.")
        )
    elif not (syntax.is_valid and syntax.type == "Transfer Syntax"):
        shown = "".join(c if c.isprintable() else "?" for c in syntax[:64])
        raise HeaderError(
            "dicom.transfer_syntax.unknown",
            f"The transfer syntax {shown} is none that DICOM defines, so its pixels cannot be read.",
        )
    else:
        header.transfer_syntax = str(syntax)


def _inflate(reader: ByteReader, start: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(reader.read_at(start, reader.size - start), MOST_INFLATED)
    except zlib.error as error:
        raise HeaderError(
            "dicom.deflate.damaged", "The deflated data set is damaged and cannot be inflated."
        ) from error
    if not inflater.eof:
        over = len(data) >= MOST_INFLATED
        raise HeaderError(
            "dicom.deflate.too_large" if over else "dicom.truncated",
            f"The deflated data set {'exceeds' if over else 'ends early, after'} {len(data)} bytes.",
        )
    return data


def _read_elements(stream: _Stream, header: Header, wanted: Collection[int], longest_value: int | None) -> None:
    """Read the wanted elements of the top level up to PixelData."""
    size = stream.size
    implicit = _is_implicit(stream, header)
    header.big_endian = header.transfer_syntax == tags.EXPLICIT_BIG

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        place = stream.tell()
        # Items have no VR; stray ones at the top level are stepped over.
        if ((vr is None) is not implicit or vr not in _VRS_OR_NONE) and tag >> 16 != _ITEM_GROUP:
            raise _damaged(f"element {_tag_text(tag)} at byte {place} has no valid VR")
        if tag in _PIXEL_TAGS:
            header.pixel_tag, header.pixel_offset, header.pixel_length = int(tag), place, length
            header.end = place if length == UNDEFINED else place + length
            return True
        if length != UNDEFINED and place + length > size:
            raise _truncated(tag, length, size - place)
        if longest_value is not None and tag in wanted and longest_value < length != UNDEFINED:
            raise _damaged(f"element {_tag_text(tag)} has {length} bytes, which is more than it can mean")
        if tag == tags.PER_FRAME_FUNCTIONAL_GROUPS:
            header.has_frame_groups = True
        return False

    dataset = _read(stream, implicit, not header.big_endian, at_pixels, wanted)
    if header.pixel_offset is None:
        header.end = stream.tell()
        if header.end < size:
            raise _damaged(f"it ends at byte {header.end} of {size}")
    header.dataset = dataset
    header.values = _raw_values(dataset)


def _is_implicit(stream: _Stream, header: Header) -> bool:
    """Whether the first element has no VR, whatever the transfer syntax says."""
    declared = header.transfer_syntax == tags.IMPLICIT_LITTLE
    first = stream.peek(6)
    found = first[4:] not in ENCODED_VR
    if len(first) < 6 or found == declared:
        return declared
    name = "implicit" if found else "explicit"
    header.notes.append(
        Reason("dicom.transfer_syntax.wrong", f"The data set has {name} VRs, other than its transfer syntax says.")
    )
    return found


def _read(
    stream: _Stream,
    implicit: bool,
    little_endian: bool,
    stop_when: _StopWhen,
    wanted: Collection[int] = (),
) -> Dataset:
    file: Any = stream  # pydicom asks for a BinaryIO, and uses these three methods of it
    try:
        return read_dataset(file, implicit, little_endian, stop_when=stop_when, specific_tags=list(wanted))
    except PYDICOM_ERRORS as error:
        if stream.failure is not None:
            raise stream.failure from error
        raise _damaged(f"it cannot be read near byte {stream.tell()}") from error


def _raw_values(dataset: Dataset) -> dict[int, bytes]:
    return {int(one.tag): one.value for one in dataset.values() if isinstance(one.value, bytes)}


def _uid(raw: bytes | None) -> str:
    return (raw or b"").decode("latin-1").strip(" \0")


def _damaged(what: str) -> HeaderError:
    return HeaderError("dicom.header.damaged", f"The header is damaged: {what}.")


def _truncated(tag: int, length: int, left: int) -> HeaderError:
    return HeaderError(
        "dicom.truncated",
        f"The file is cut short or damaged: element {_tag_text(tag)} claims {length} bytes, {max(0, left)} are left.",
    )


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
