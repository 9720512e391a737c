"""What an impression exporter is given, and what it must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.analysis import RESEARCH_NOTICE


@dataclass(frozen=True)
class ImpressionDocument:
    """A draft impression as the reader left it, and the notice that it never goes without.

    Attributes
    ----------
    text
        The reader's own words and statements. No patient's name, number or date is put in by the program; what the
        reader typed is free text.
    """

    text: str
    notice: str = RESEARCH_NOTICE

    @property
    def whole(self) -> str:
        """The text; with the notice in front where the text does not have it."""
        return self.text if self.notice in self.text else f"{self.notice}\n\n{self.text}"


class ImpressionExporter(Protocol):
    """One format.

    Attributes
    ----------
    key
        What requests call it.
    label
        What a save dialog calls it.
    suffix
        Of its files, with the dot.
    carries_identity
        Whether the program puts a direct patient identifier into it.
    """

    key: str
    label: str
    suffix: str
    carries_identity: bool

    def write(self, document: ImpressionDocument, path: Path) -> None:
        """Write the document whole, or raise ExportError and leave `path` as it was."""
