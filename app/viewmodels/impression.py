"""The draft impression: put together from what the reader stated, edited by the reader, without a model's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psygnal import Signal

from app.viewmodels.finding_row import FindingRow
from app.viewmodels.findings import FindingsModel
from app.viewmodels.reading import ReadingModel
from app.viewmodels.statements import Answer, FeedbackView
from app.viewmodels.text_merge import merge
from engine.analysis import RESEARCH_NOTICE
from engine.findings.catalogue import CATEGORY_LABELS, URGENCY_ORDER, Category
from engine.store.records import Laterality

HEADING = f"DRAFT IMPRESSION. {RESEARCH_NOTICE} Put together from a reader's statements; not a report."
NOTHING_PRESENT = "Nothing was stated present."
ALL_CLEAR = (
    "No acute intracranial abnormality: all {n} critical and urgent findings of the catalogue were stated absent."
)
CLEAR: Mapping[Category, str] = {
    "hemorrhage": "No intracranial hemorrhage.",
    "vascular": "No acute vascular abnormality.",
    "trauma": "No acute traumatic abnormality.",
    "mass_lesion": "No urgent mass or lesion.",
    "structural": "No hydrocephalus, mass effect, herniation or edema.",
    "chronic_other": "No urgent finding among the others.",
}
SIDES: Mapping[Laterality, str] = {
    "left": "left",
    "right": "right",
    "bilateral": "both sides",
    "midline": "midline",
    "not_applicable": "",
}


@dataclass(frozen=True)
class Stated:
    """One finding with the reader's statement on it."""

    row: FindingRow
    feedback: FeedbackView

    @property
    def line(self) -> str:
        """The finding as a line: label, side, certainty and comment, all as the reader stated them."""
        said = self.feedback
        side = SIDES[said.laterality] if said.laterality is not None else ""
        certainty = f"reader's certainty {said.certainty} %" if said.certainty is not None else ""
        words = ", ".join(part for part in (self.row.finding.label, side, certainty) if part)
        comment = " ".join(said.comment.split())
        return f"- {words}: {comment}" if comment else f"- {words}"


def assemble(rows: Sequence[FindingRow], reader: str = "") -> str:
    """Put a draft together from statements alone; what nothing was stated on is counted, and that is all.

    Parameters
    ----------
    rows
        All findings of the catalogue; results of a model in them are not looked at.
    reader
        Whose statements count; empty for everybody's.
    """
    stated = [
        Stated(row, row.feedback)
        for row in rows
        if row.feedback is not None and (not reader or row.feedback.reader == reader)
    ]
    present, unsure = _given(stated, "present"), _given(stated, "unsure")
    n_silent = len(rows) - len(stated)
    parts = [
        ["IMPRESSION", *([item.line for item in present] or [NOTHING_PRESENT])],
        ["UNCERTAIN", *(item.line for item in unsure)] if unsure else [],
        ["STATED ABSENT", *_negatives(rows, {item.row.key for item in _given(stated, "absent")})],
        ["NOT REVIEWED", f"{n_silent} of {len(rows)} findings; nothing is said about them."] if n_silent else [],
        [f"Reader: {reader}"] if reader else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _given(stated: Sequence[Stated], answer: Answer) -> list[Stated]:
    """Return what was stated so, the most urgent first."""
    given = (item for item in stated if item.feedback.answer == answer)
    return sorted(given, key=lambda item: URGENCY_ORDER[item.row.finding.urgency])


def _negatives(rows: Sequence[FindingRow], absent: set[str]) -> list[str]:
    """Return sentences for groups that were stated absent to the last finding, and the others by name.

    A sentence stands for every critical and urgent finding of its group: one that was not reviewed, is unsure or
    present, and the sentence is not there.
    """
    if not absent:
        return ["Nothing was stated absent."]
    urgent = [row for row in rows if row.urgent]
    if urgent and all(row.key in absent for row in urgent):
        said, lines = {row.key for row in urgent}, [ALL_CLEAR.format(n=len(urgent))]
    else:
        said, lines = set(), []
        for category in CATEGORY_LABELS:
            group = [row.key for row in urgent if row.finding.category == category]
            if group and absent.issuperset(group):
                said.update(group)
                lines.append(CLEAR[category])
    named = [f"- {row.finding.label}" for row in rows if row.key in absent - said]
    return lines + (["Also:", *named] if lines and named else named)


@dataclass(frozen=True)
class _Edit:
    """A text changed by hand, and the draft that it was made from."""

    base: str
    text: str


class ImpressionModel:
    """The draft of the series in view; what the reader changed in it is kept by reader and series.

    An unchanged text follows the statements. A changed one stays as it is, `stale` tells that there are new
    statements, and `take_over` merges them in.
    """

    changed = Signal()

    def __init__(self, findings: FindingsModel, reading: ReadingModel) -> None:
        self._findings, self._reading = findings, reading
        self._edits: dict[tuple[str, str], _Edit] = {}
        findings.rows_changed.connect(self._tell)
        findings.row_changed.connect(self._tell)
        reading.changed.connect(self._tell)

    @property
    def available(self) -> bool:
        """Whether a series is open."""
        return self._reading.series_uid is not None

    @property
    def draft(self) -> str:
        """What the statements give now."""
        return assemble(self._findings.rows, self._reading.reader)

    @property
    def text(self) -> str:
        """What the reader has before them."""
        edit = self._edit()
        return self.draft if edit is None else edit.text

    @property
    def document(self) -> str:
        """The text under the heading that it never goes without."""
        return f"{HEADING}\n\n{self.text.strip()}\n"

    @property
    def edited(self) -> bool:
        """Whether the reader changed the text."""
        return self._edit() is not None

    @property
    def stale(self) -> bool:
        """Whether statements were made or changed that an edited text does not have."""
        edit = self._edit()
        return edit is not None and edit.base != self.draft

    def edit(self, text: str) -> None:
        """Keep what the reader wrote."""
        if not self.available or text == self.text:
            return
        edit = self._edit()
        base = self.draft if edit is None else edit.base
        if text == base == self.draft:
            self._edits.pop(self._place(), None)
        else:
            self._edits[self._place()] = _Edit(base, text)
        self.changed.emit()

    def take_over(self) -> int:
        """Merge new statements into the edited text; in how many places both had changed, where both are kept."""
        edit = self._edit()
        if edit is None:
            return 0
        draft = self.draft
        merged = merge(edit.base, edit.text, draft)
        self._edits[self._place()] = _Edit(draft, merged.text)
        self.changed.emit()
        return merged.n_conflicts

    def start_over(self) -> None:
        """Drop the reader's changes."""
        self._edits.pop(self._place(), None)
        self.changed.emit()

    def _place(self) -> tuple[str, str]:
        return self._reading.reader, self._reading.series_uid or ""

    def _edit(self) -> _Edit | None:
        return self._edits.get(self._place())

    def _tell(self, *_: object) -> None:
        self.changed.emit()
