"""Text on its way into the store: storable everywhere, and folded for searching."""

from __future__ import annotations

import unicodedata


def storable(text: str) -> str:
    """Drop NUL and replace lone surrogates: neither is text, and no database takes both."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def search_form(*parts: str) -> str:
    """Fold text so that a search finds it whatever its case, accents, width or DICOM name separators.

    >>> search_form("Müller^Åsa", "CT-17")
    'muller asa ct-17'
    """
    text = " ".join(parts).replace("^", " ").replace("=", " ")
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(storable(bare).casefold().split())
