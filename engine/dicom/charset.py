"""Names and descriptions in the character set of the file; a wrong character set gives raw text, never an error."""

from __future__ import annotations

import warnings

from pydicom.charset import convert_encodings, decode_bytes

from engine.dicom import tags
from engine.dicom.header import Header

LONGEST_TEXT = 1024
_DELIMITERS = {ord(c) for c in "\r\n\t\f^="}


def decoded(header: Header, tag: int) -> str:
    """Return a name or description.

    Parameters
    ----------
    header
        Of the file; its SpecificCharacterSet counts.
    tag
        Of an element of type PN, LO, SH, ST or LT.

    Returns
    -------
    str
        At most 1024 characters, control characters left out; undecodable bytes shown as Latin-1.
    """
    raw = header.values.get(tag, b"")[: 4 * LONGEST_TEXT]
    if not raw:
        return ""
    text = _plain(raw) or _encoded(raw, list(header.texts(tags.SPECIFIC_CHARACTER_SET)))
    return "".join(c for c in text if c.isprintable())[:LONGEST_TEXT].strip()


def _plain(raw: bytes) -> str:
    return raw.decode("ascii") if raw.isascii() and b"\x1b" not in raw else ""


def _encoded(raw: bytes, names: list[str]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(decode_bytes(raw, convert_encodings(names or ["ISO_IR 6"]), _DELIMITERS))
    except (LookupError, UnicodeError, ValueError):
        return raw.decode("latin-1")
