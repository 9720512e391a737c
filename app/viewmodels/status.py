"""How far the analysis of the current series is: the reason behind every empty panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StatusKind = Literal["empty", "reading", "new", "analysing", "analysed", "failed", "refused"]

HEADINGS: dict[StatusKind, str] = {
    "empty": "No study is open.",
    "reading": "Reading the study…",
    "new": "Not analysed yet. Press Analyse.",
    "analysing": "Analysing…",
    "analysed": "",
    "failed": "The analysis failed.",
    "refused": "Out of scope for the classifier.",
}


@dataclass(frozen=True)
class AnalysisStatus:
    """The state of the current series' analysis, and the reason in words where there is one."""

    kind: StatusKind = "empty"
    reason: str = ""

    @property
    def text(self) -> str:
        """Heading and reason, one sentence each; empty once there is an analysis."""
        return " ".join(part for part in (HEADINGS[self.kind], self.reason) if part)
