"""Reads the header of a DICOM file: every element is stepped over, only the wanted ones are kept.

Written for speed and for hostile input: nothing is allocated on the word of a header, every length is checked against
the bytes that are there, and PixelData is located, not read. Pixel decoding and the functional groups of enhanced
objects are left to pydicom.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field

from pydicom.config import IGNORE
from pydicom.uid import UID

from engine.dicom import tags
from engine.dicom.series import Reason
from engine.dicom.source import ByteReader, MemoryReader

FIRST_READ = 16_384
NEXT_READ = 65_536
LONGEST_VALUE = 1 << 20
MOST_ELEMENTS = 2_000_000
MOST_INFLATED = 1 << 31
UNDEFINED = 0xFFFFFFFF

_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_TAGS = frozenset((tags.PIXEL_DATA, tags.FLOAT_PIXEL_DATA, tags.DOUBLE_FLOAT_PIXEL_DATA))
_UID = re.compile(r"[0-9.]{1,64}")


class HeaderError(Exception):
    """A file is no DICOM file, or a damaged one; carries the reason for the report."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.reason = Reason(code, message)


@dataclass(slots=True)
class Header:
    """The wanted elements of one file, undecoded, and where its pixels are.

    Attributes
    ----------
    values
        Tag to the bytes of its value.
    pixel_offset, pixel_length
        PixelData's value in the file (or in `inflated`); the offset is None where there is none, the length
        `UNDEFINED` where it is encapsulated.
    notes
        What was wrong with the file and could be read nevertheless.
    inflated
        The data set of a deflated file.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    transfer_syntax: str = ""
    media_storage_sop_class: str = ""
    pixel_tag: int = 0
    pixel_offset: int | None = None
    pixel_length: int = 0
    end: int = 0
    big_endian: bool = False
    notes: list[Reason] = field(default_factory=list)
    inflated: bytes | None = None

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


def read_header(reader: ByteReader) -> Header:
    """Read the header of one file.

    Raises
    ------
    HeaderError
        If the file is no DICOM file, is damaged before its pixels, or uses an unknown transfer syntax.
    OSError
        If the file cannot be read.
    """
    header = Header()
    first = reader.read_at(0, FIRST_READ)
    start = _read_file_meta(reader, first, header)
    syntax = header.transfer_syntax
    if syntax == tags.DEFLATED_LITTLE:
        header.inflated = _inflate(reader, start)
        reader, start, first = MemoryReader(header.inflated), 0, header.inflated[:FIRST_READ]
    explicit = _is_explicit(header, reader.read_at(start, 8), syntax != tags.IMPLICIT_LITTLE)
    header.big_endian = syntax == tags.EXPLICIT_BIG
    _walk(reader, first, start, header, explicit)
    return header


def _read_file_meta(reader: ByteReader, first: bytes, header: Header) -> int:
    """Read group 0002, always Explicit VR Little Endian, without trust in its length. Return where it ends."""
    if first[128:132] == b"DICM":
        position = 132
    else:
        position = 0
        _require_bare_data_set(first, reader.size)
        header.notes.append(Reason("dicom.preamble.missing", "The 128-byte preamble and the DICM mark are missing."))
    if reader.size <= position + 8:
        raise HeaderError("dicom.empty", f"The file ends after {reader.size} bytes, before its first data element.")
    position = _walk_meta(first, position, header)
    _settle_transfer_syntax(header, first[position : position + 6])
    return position


def _walk_meta(first: bytes, position: int, header: Header) -> int:
    while first[position : position + 2] == b"\x02\x00" and position + 12 <= len(first):
        element, vr, length = struct.unpack_from("<H2sH", first, position + 2)
        head = 8
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from("<L", first, position + 8)
            head = 12
        elif vr not in _SHORT_VRS:
            raise HeaderError(
                "dicom.file_meta.damaged",
                f"The file meta information is damaged: (0002,{element:04X}) at byte {position} has no valid VR.",
            )
        end = position + head + length
        if end > len(first):
            raise HeaderError(
                "dicom.file_meta.damaged",
                f"The file meta information is damaged: element (0002,{element:04X}) claims {length} bytes.",
            )
        value = first[position + head : end].decode("latin-1").strip(" \0")
        if element == 0x0010:
            header.transfer_syntax = value
        elif element == 0x0002:
            header.media_storage_sop_class = value
        position = end
    return position


def _require_bare_data_set(first: bytes, size: int) -> None:
    """Accept a file without preamble only if it starts like group 0002 or 0008 of a data set."""
    if len(first) >= 8 and first[:2] in (b"\x02\x00", b"\x08\x00") and first[3] == 0:
        vr, (implicit_length,) = first[4:6], struct.unpack_from("<L", first, 4)
        if vr in _SHORT_VRS or vr in _LONG_VRS or implicit_length < min(size, 256):
            return
    elsewhere = first.find(b"DICM")
    place = f" The mark stands at byte {elsewhere}, where it does not count." if elsewhere >= 0 else ""
    raise HeaderError("dicom.not_dicom", f"Not a DICOM file: no DICM mark at byte 128.{place}")


def _settle_transfer_syntax(header: Header, next_bytes: bytes) -> None:
    syntax = header.transfer_syntax
    if not syntax:
        explicit = next_bytes[4:6] in _SHORT_VRS or next_bytes[4:6] in _LONG_VRS
        header.transfer_syntax = tags.EXPLICIT_LITTLE if explicit else tags.IMPLICIT_LITTLE
        name = "Explicit" if explicit else "Implicit"
        header.notes.append(
            Reason("dicom.transfer_syntax.missing", f"No transfer syntax is given; {name} VR Little Endian is assumed.")
        )
    elif not (_UID.fullmatch(syntax) and UID(syntax, IGNORE).type == "Transfer Syntax"):
        raise HeaderError(
            "dicom.transfer_syntax.unknown",
            f"The transfer syntax {_printable(syntax)} is none that DICOM defines, so its pixels cannot be read.",
        )


def _is_explicit(header: Header, next_bytes: bytes, declared: bool) -> bool:
    vr = next_bytes[4:6]
    found = vr in _SHORT_VRS or vr in _LONG_VRS
    if len(next_bytes) < 8 or found == declared:
        return declared
    if not declared and header.transfer_syntax != tags.IMPLICIT_LITTLE:
        return declared
    name = "explicit" if found else "implicit"
    header.notes.append(
        Reason("dicom.transfer_syntax.wrong", f"The data set has {name} VRs, other than its transfer syntax says.")
    )
    return found


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


def _walk(reader: ByteReader, first: bytes, start: int, header: Header, explicit: bool) -> None:
    """Step over the elements of the data set up to PixelData; keep the wanted values of the top level."""
    order = ">" if header.big_endian else "<"
    unpack_tag = struct.Struct(order + "HH").unpack_from
    unpack_short = struct.Struct(order + "H").unpack_from
    unpack_long = struct.Struct(order + "L").unpack_from
    chunk, base, position = first, 0, start
    values, size, wanted = header.values, reader.size, tags.WANTED
    nesting: list[bool] = []
    for _ in range(MOST_ELEMENTS):
        if position + 12 > len(chunk):
            base += position
            chunk, position = reader.read_at(base, NEXT_READ), 0
            if len(chunk) < 8:
                header.end = base
                return
        group, element = unpack_tag(chunk, position)
        tag = group << 16 | element
        head = 8
        if group == 0xFFFE:
            (length,) = unpack_long(chunk, position + 4)
            if tag != _ITEM:
                if nesting:
                    explicit = nesting.pop()
                length = 0
            elif length == UNDEFINED:
                nesting.append(explicit)
        elif explicit:
            vr = chunk[position + 4 : position + 6]
            if vr in _SHORT_VRS:
                (length,) = unpack_short(chunk, position + 6)
            elif vr in _LONG_VRS and position + 12 <= len(chunk):
                (length,) = unpack_long(chunk, position + 8)
                head = 12
            else:
                raise _damaged(tag, base + position, "has no valid VR")
        else:
            (length,) = unpack_long(chunk, position + 4)
            vr = b""
        if tag in _PIXEL_TAGS and not nesting:
            _note_pixels(header, tag, base + position + head, length)
            return
        if length == UNDEFINED:
            if tag != _ITEM:
                if tag == tags.PER_FRAME_FUNCTIONAL_GROUPS and not nesting:
                    values[tag] = b""
                nesting.append(explicit)
                explicit = explicit and vr != b"UN"
            position += head
            continue
        if base + position + head + length > size:
            raise _truncated(tag, length, size - base - position - head)
        if tag == tags.PER_FRAME_FUNCTIONAL_GROUPS and not nesting:
            values[tag] = b""
        elif tag in wanted and not nesting:
            values[tag] = _value(reader, chunk, base, position + head, length)
        position += head + length
    raise HeaderError("dicom.header.too_long", f"The header has more than {MOST_ELEMENTS} elements.")


def _value(reader: ByteReader, chunk: bytes, base: int, position: int, length: int) -> bytes:
    if position + length <= len(chunk):
        return chunk[position : position + length]
    return reader.read_at(base + position, min(length, LONGEST_VALUE))


def _note_pixels(header: Header, tag: int, offset: int, length: int) -> None:
    header.pixel_tag = tag
    header.pixel_offset = offset
    header.pixel_length = length
    header.end = offset if length == UNDEFINED else offset + length


def _damaged(tag: int, place: int, what: str) -> HeaderError:
    return HeaderError(
        "dicom.header.damaged", f"The header is damaged: element {_tag_text(tag)} at byte {place} {what}."
    )


def _truncated(tag: int, length: int, left: int) -> HeaderError:
    return HeaderError(
        "dicom.truncated",
        f"The file is cut short or damaged: element {_tag_text(tag)} claims {length} bytes, {max(0, left)} are left.",
    )


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:64])
