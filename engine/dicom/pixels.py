"""From a header to a checked pixel layout, and from a layout to stored values."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array as decode_pixels
from pydicom.uid import UID

from engine.dicom import tags
from engine.dicom.header import UNDEFINED, Header, HeaderError, quiet
from engine.dicom.series import FileSource, PixelLayout, Reason
from engine.dicom.source import ByteReader
from engine.errors import DicomError

GREY = ("MONOCHROME2", "MONOCHROME1")
LARGEST_FRAME_BYTES = 1 << 30
RLE_GREATEST_EXPANSION = 64
PEEK = 4096
EIGHT_BIT_PLUGINS = frozenset({"gdcm", "pillow"})  # of JPEG Extended

_SOP_KINDS = (
    (tags.STRUCTURED_REPORT_PREFIX, "a structured report (such as a dose report)"),
    (tags.ENCAPSULATED_DOCUMENT_PREFIX, "an encapsulated document"),
    (tags.PRESENTATION_STATE_PREFIX, "a presentation state"),
)
_STORED_TYPES: dict[tuple[int, bool], str] = {
    (8, False): "u1",
    (8, True): "i1",
    (16, False): "u2",
    (16, True): "i2",
    (32, False): "u4",
    (32, True): "i4",
}


def read_layout(header: Header, reader: ByteReader) -> PixelLayout:
    """Check the pixel module against the bytes that are there.

    Parameters
    ----------
    header
        Of the file; doubtful things that can be read are added to its notes.
    reader
        The file.

    Raises
    ------
    HeaderError
        If there are no pixels, or they cannot be what the header says.
    """
    if header.pixel_offset is None:
        raise HeaderError("dicom.no_pixels", _without_pixels(header))
    if header.pixel_tag != tags.PIXEL_DATA:
        raise HeaderError("dicom.pixels.float", "The pixels are floating point numbers, which no CT image has.")
    rows, columns = header.unsigned(tags.ROWS) or 0, header.unsigned(tags.COLUMNS) or 0
    if not rows or not columns:
        raise HeaderError("dicom.pixels.empty", f"The image has {rows} rows and {columns} columns: it is empty.")
    _check_colour(header)
    allocated, stored, high = _bits(header)
    encapsulated = header.transfer_syntax not in tags.NATIVE_SYNTAXES
    high = stored - 1 if encapsulated else high  # decoders give the value itself, in the low bits
    size = reader.size if header.inflated is None else len(header.inflated)
    layout = PixelLayout(
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=_signed(header),
        transfer_syntax=header.transfer_syntax,
        offset=header.pixel_offset,
        length=size - header.pixel_offset if header.pixel_length == UNDEFINED else header.pixel_length,
        n_frames=_frames(header),
        encapsulated=encapsulated,
        inflated=header.inflated is not None,
        big_endian=header.big_endian,
        inverted=header.text(tags.PHOTOMETRIC_INTERPRETATION) == "MONOCHROME1",
    )
    if layout.frame_bytes > LARGEST_FRAME_BYTES:
        raise HeaderError("dicom.pixels.too_large", f"An image of {rows} × {columns} pixels exceeds 1 GiB.")
    if encapsulated:
        _check_encapsulated(header, layout, reader)
    else:
        _check_native(header, layout, size)
        _note_what_follows(header, reader)
    return layout


def _note_what_follows(header: Header, reader: ByteReader) -> None:
    """Note elements after the pixels that belong before them: a second PixelData, or a file put together wrongly."""
    if header.inflated is not None:
        return
    tag = reader.read_at(header.end, 4)
    if len(tag) == 4 and not header.big_endian and struct.unpack("<HH", tag) <= (0x7FE0, 0x0010):
        header.notes.append(
            Reason("dicom.pixels.second", "More elements follow the pixels that should not; they are not read.")
        )


def _without_pixels(header: Header) -> str:
    sop_class = header.text(tags.SOP_CLASS_UID) or header.media_storage_sop_class
    for prefix, name in _SOP_KINDS:
        if sop_class == prefix or sop_class.startswith(prefix + "."):
            return f"It is {name}, which holds no image."
    return "It holds no image: there is no PixelData."


def _check_colour(header: Header) -> None:
    samples = header.unsigned(tags.SAMPLES_PER_PIXEL)
    photometric = header.text(tags.PHOTOMETRIC_INTERPRETATION)
    if samples is not None and samples != 1:
        raise HeaderError(
            "dicom.pixels.colour", f"The image has {samples} samples per pixel: it is a picture in colour, no CT slice."
        )
    if not photometric:
        header.notes.append(
            Reason("dicom.photometric.missing", "PhotometricInterpretation is missing; MONOCHROME2 is assumed.")
        )
    elif photometric not in GREY:
        shown = re.sub(r"[^A-Z0-9_ ]", "?", photometric[:16])
        raise HeaderError(
            "dicom.photometric.unsupported", f"PhotometricInterpretation {shown!r} is none of a grey-scale image."
        )


def _bits(header: Header) -> tuple[int, int, int]:
    allocated = header.unsigned(tags.BITS_ALLOCATED)
    stored = header.unsigned(tags.BITS_STORED)
    if allocated not in (8, 16, 32):
        raise HeaderError("dicom.bits.allocated", f"BitsAllocated {allocated} is not 8, 16 or 32.")
    if stored is None:
        stored = allocated
        header.notes.append(Reason("dicom.bits.missing", f"BitsStored is missing; {allocated} is assumed."))
    if not 1 <= stored <= allocated:
        raise HeaderError("dicom.bits.stored", f"BitsStored {stored} does not fit BitsAllocated {allocated}.")
    high = header.unsigned(tags.HIGH_BIT)
    high = stored - 1 if high is None else high
    if not stored - 1 <= high < allocated:
        raise HeaderError(
            "dicom.bits.high_bit", f"HighBit {high} does not fit BitsStored {stored} and BitsAllocated {allocated}."
        )
    return allocated, stored, high


def _signed(header: Header) -> bool:
    representation = header.unsigned(tags.PIXEL_REPRESENTATION)
    if representation is None:
        header.notes.append(
            Reason("dicom.pixel_representation.missing", "PixelRepresentation is missing; unsigned is assumed.")
        )
    elif representation not in (0, 1):
        raise HeaderError("dicom.pixel_representation", f"PixelRepresentation {representation} is neither 0 nor 1.")
    return representation == 1


def _frames(header: Header) -> int:
    if not header.text(tags.NUMBER_OF_FRAMES):
        return 1
    frames = header.integer(tags.NUMBER_OF_FRAMES)
    if frames is None or frames < 1:
        header.notes.append(Reason("dicom.frames.invalid", "NumberOfFrames is no positive number; 1 is assumed."))
        return 1
    return frames


def _check_native(header: Header, layout: PixelLayout, size: int) -> None:
    if header.pixel_length == UNDEFINED:
        raise HeaderError("dicom.pixels.undefined_length", "The pixels are encapsulated, but no compression is named.")
    present = min(layout.length, size - layout.offset)
    expected = layout.frame_bytes * layout.n_frames
    if present < expected:
        cause = "The file is cut short" if layout.length > present else "PixelData is too short"
        raise HeaderError(
            "dicom.truncated",
            f"{cause}: {layout.n_frames} frame(s) of {layout.rows} × {layout.columns} × {layout.bits_allocated} bits "
            f"need {expected} bytes, {present} are there.",
        )
    if present > expected + 1:
        header.notes.append(
            Reason(
                "dicom.pixels.excess",
                f"PixelData holds {present} bytes where the header asks for {expected}; the rest is not shown.",
            )
        )


def _check_encapsulated(header: Header, layout: PixelLayout, reader: ByteReader) -> None:
    syntax = UID(layout.transfer_syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise HeaderError("dicom.decoder.unsupported", f"Images in {syntax.name} cannot be decoded.") from error
    if not decoder.is_available:
        missing = "; ".join(decoder.missing_dependencies)
        raise HeaderError(
            "dicom.decoder.missing", f"To decode {syntax.name} a plugin is missing: {' '.join(missing.split())}."
        )
    if header.pixel_length != UNDEFINED:
        raise HeaderError(
            "dicom.pixels.not_encapsulated", f"{syntax.name} is named, but PixelData is not encapsulated."
        )
    codestream = _first_fragment(reader.read_at(layout.offset, PEEK), layout, reader)
    _check_codestream(header, layout, codestream, reader.size)


def _first_fragment(data: bytes, layout: PixelLayout, reader: ByteReader) -> bytes:
    """Return the start of the first fragment, after the basic offset table."""
    if len(data) < 8 or data[:4] != b"\xfe\xff\x00\xe0":
        raise HeaderError("dicom.pixels.fragments", "The compressed pixels do not start with an offset table.")
    (table,) = struct.unpack_from("<L", data, 4)
    start = layout.offset + 8 + table
    data = reader.read_at(start, PEEK + 8)
    if len(data) < 16 or data[:4] != b"\xfe\xff\x00\xe0":
        raise HeaderError("dicom.pixels.fragments", "The compressed pixels hold no fragment: there is no image.")
    (length,) = struct.unpack_from("<L", data, 4)
    if start + 8 + length > reader.size:
        raise HeaderError("dicom.truncated", f"The file is cut short in a compressed fragment of {length} bytes.")
    return data[8 : 8 + length]


def _check_codestream(header: Header, layout: PixelLayout, data: bytes, size: int) -> None:
    """Compare the codestream's own size and precision with the header before a decoder sees it."""
    if layout.transfer_syntax == tags.RLE_LOSSLESS:
        if layout.frame_bytes * layout.n_frames > RLE_GREATEST_EXPANSION * size:
            raise HeaderError("dicom.pixels.codestream", "The run-length data is too short for an image of this size.")
        return
    if layout.transfer_syntax in tags.JPEG_SYNTAXES:
        found = _jpeg_size(data)
    elif layout.transfer_syntax in tags.JPEG_2000_SYNTAXES:
        found = _jpeg_2000_size(data)
    else:
        return
    name = UID(layout.transfer_syntax).name
    if found is None:
        raise HeaderError(
            "dicom.pixels.codestream", f"The compressed pixels are damaged: no {name} image starts there."
        )
    rows, columns, precision = found
    if (rows, columns) != (layout.rows, layout.columns):
        raise HeaderError(
            "dicom.pixels.codestream",
            f"The compressed image has {rows} × {columns} pixels, the header says {layout.rows} × {layout.columns}.",
        )
    _check_extended(layout, precision)
    if precision > layout.bits_allocated:
        raise HeaderError(
            "dicom.bits.codestream",
            f"The compressed image has {precision} bits, BitsAllocated {layout.bits_allocated}.",
        )
    if precision != layout.bits_stored:
        header.notes.append(
            Reason(
                "dicom.bits.codestream",
                f"The compressed image has {precision} bits per pixel, BitsStored says {layout.bits_stored}.",
            )
        )


def _check_extended(layout: PixelLayout, precision: int) -> None:
    """Refuse 12-bit JPEG Extended where the only plugins are those that say they take it, and decode 8 bits alone."""
    eight = precision == layout.bits_stored == 8
    if layout.transfer_syntax != tags.JPEG_EXTENDED or eight:
        return
    plugins = get_decoder(UID(layout.transfer_syntax)).available_plugins
    if EIGHT_BIT_PLUGINS.issuperset(plugins):
        raise HeaderError(
            "dicom.decoder.precision",
            f"JPEG Extended with {precision} bits per pixel cannot be decoded: {' and '.join(plugins)} take 8 "
            "bits only. Ask for the image uncompressed or losslessly compressed.",
        )


def _jpeg_size(data: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and precision of a JPEG or JPEG-LS stream from its frame header."""
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, rows, columns = struct.unpack_from(">BHH", data, position + 4)
            return rows, columns, precision
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and precision of a JPEG 2000 stream from its SIZ marker."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
    return bottom - top, right - left, (data[start + 42] & 0x7F) + 1


def stored_dtype(layout: PixelLayout) -> np.dtype[np.generic]:
    """Return the type of the stored values in the byte order of the file."""
    return np.dtype((">" if layout.big_endian else "<") + _STORED_TYPES[layout.bits_allocated, layout.signed])


def read_frame(reader: ByteReader, source: FileSource, layout: PixelLayout, frame: int, target: NDArray[Any]) -> None:
    """Read one uncompressed frame as it is stored.

    Parameters
    ----------
    target
        Contiguous, shape (rows, columns), type of `stored_dtype`; is filled.

    Raises
    ------
    DicomError
        If the file became shorter since it was scanned.
    """
    view = memoryview(target.data).cast("B")
    offset = layout.offset + frame * layout.frame_bytes
    if reader.read_into(offset, view) != layout.frame_bytes:
        raise DicomError(
            f"{source.label} changed since it was scanned: frame {frame + 1} is cut short.",
            hint="Open the folder again.",
            code="dicom.truncated",
        )


def decode_frames(
    data: bytes, source: FileSource, layout: PixelLayout, frames: Sequence[int]
) -> Iterator[NDArray[np.generic]]:
    """Decode compressed frames, one after the other.

    Parameters
    ----------
    data
        The whole file.
    frames
        Which frames, in the order in which they are wanted.

    Yields
    ------
    NDArray
        Stored values, shape (rows, columns).

    Raises
    ------
    DicomError
        If no plugin can decode a frame.
    """
    with quiet():
        dataset = dcmread(io.BytesIO(data), force=True)
    for frame in frames:
        yield _decode(dataset, source, layout, frame)


def _decode(dataset: Dataset, source: FileSource, layout: PixelLayout, frame: int) -> NDArray[np.generic]:
    try:
        with quiet():
            decoded = np.asarray(decode_pixels(dataset, index=frame, raw=True))
    # Decoder plugins are native code behind many layers; each has its own exceptions, RuntimeError and bare
    # Exception among them. Whatever they raise means the same here: this frame cannot be decoded.
    except Exception as error:
        raise _undecodable(source, layout, frame) from error
    if decoded.shape != (layout.rows, layout.columns):
        raise _undecodable(source, layout, frame)
    return decoded


def _undecodable(source: FileSource, layout: PixelLayout, frame: int) -> DicomError:
    name = UID(layout.transfer_syntax).name
    return DicomError(
        f"{source.label}: frame {frame + 1} cannot be decoded as {name}; its compressed data is damaged.",
        hint="Ask for the file again from where it came, if possible uncompressed.",
        code="dicom.pixels.decode",
    )
