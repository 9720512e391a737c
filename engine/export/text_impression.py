"""A draft impression as plain text."""

from __future__ import annotations

from pathlib import Path

from engine.export.atomic import replacing
from engine.export.impression import ImpressionDocument


class TextImpression:
    """UTF-8 without a byte order mark, lines ended by LF, a line end at the end."""

    key = "txt"
    label = "Plain text"
    suffix = ".txt"
    carries_identity = False

    def write(self, document: ImpressionDocument, path: Path) -> None:
        """Write the text.

        Raises
        ------
        ExportError
            If the file cannot be written; what was at `path` before stays.
        """
        with replacing(path) as stream:
            stream.write(f"{document.whole.rstrip()}\n".encode())
