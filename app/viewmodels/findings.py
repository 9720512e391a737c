"""The findings panel: 75 rows with their values, the reader's verdicts, filter, order and selection."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

from app.viewmodels.status import AnalysisStatus
from engine.analysis import Analysis, FindingResult, ModelIdentity
from engine.findings.catalogue import CATEGORY_LABELS, URGENCY_ORDER, Catalogue, Finding

Verdict = Literal["agree", "disagree", "unsure"]
SortOrder = Literal["urgency", "value"]
Calibration = Literal["all", "some", "none"]

ALL_TITLE = "All findings"
VERDICT_LABELS: Mapping[Verdict, str] = {"agree": "Agreed", "disagree": "Disagreed", "unsure": "Unsure"}


@dataclass(frozen=True)
class FeedbackReason:
    """Why a reader disagrees or is unsure; `key` is what the store keeps."""

    key: str
    label: str


REASONS: tuple[FeedbackReason, ...] = (
    FeedbackReason("", "No reason given"),
    FeedbackReason("artefact", "Artefact"),
    FeedbackReason("calcification", "Calcification"),
    FeedbackReason("chronic", "Old or chronic"),
    FeedbackReason("partial_volume", "Partial volume"),
    FeedbackReason("normal_variant", "Normal variant"),
    FeedbackReason("missed", "Missed by the model"),
    FeedbackReason("wrong_location", "Wrong slices drove it"),
    FeedbackReason("other_finding", "Another finding explains it"),
    FeedbackReason("other", "Other (see comment)"),
)


@dataclass(frozen=True)
class FeedbackView:
    """The reader's standing verdict on one finding; `time_text` is local time for display."""

    verdict: Verdict
    reason: str = ""
    comment: str = ""
    reader: str = ""
    time_text: str = ""


@dataclass(frozen=True)
class FindingRow:
    """One finding as the panel shows it: catalogue, result (None before an analysis) and verdict."""

    finding: Finding
    result: FindingResult | None
    feedback: FeedbackView | None

    @property
    def key(self) -> str:
        """The finding's key."""
        return self.finding.key

    @property
    def covered(self) -> bool:
        """Whether there is a result and the model predicts this finding."""
        return self.result is not None and self.result.covered

    @property
    def value(self) -> float | None:
        """The calibrated probability where there is one, else the raw score; None where not covered."""
        if self.result is None or not self.result.covered:
            return None
        calibrated = self.result.calibrated_probability
        return self.result.probability if calibrated is None else calibrated

    @property
    def calibrated(self) -> bool:
        """Whether `value` is a calibrated probability."""
        return self.result is not None and self.result.calibrated_probability is not None

    @property
    def value_name(self) -> str:
        """What `value` is called on the screen."""
        return "calibrated probability" if self.calibrated else "uncalibrated score"

    @property
    def operating_point(self) -> float | None:
        """The threshold on `value`."""
        return self.result.operating_point if self.result is not None and self.result.covered else None

    @property
    def positive(self) -> bool | None:
        """Whether the model calls it present; None where it says nothing."""
        return self.result.positive if self.result is not None and self.result.covered else None


class FindingsModel:
    """All rows, the ones that pass the filter in their order, and the selected one."""

    rows_changed = Signal()
    row_changed = Signal(str)
    selected_changed = Signal(object)
    status_changed = Signal(object)

    def __init__(self) -> None:
        self._rows: dict[str, FindingRow] = {}
        self._needle = ""
        self._sort: SortOrder = "urgency"
        self._grouped = True
        self._selected: str | None = None
        self._status = AnalysisStatus()
        self._identity: ModelIdentity | None = None
        self._warnings: tuple[str, ...] = ()
        self._searchable: dict[str, str] = {}

    # -- content ------------------------------------------------------------------------------------------------

    def set_analysis(self, catalogue: Catalogue, analysis: Analysis | None) -> None:
        """Show all findings of the catalogue, with the results of an analysis or without.

        Verdicts are dropped: call `set_feedback` afterwards. The selection stays; without one, the first row in
        order is selected once there is an analysis.
        """
        results = {} if analysis is None else {result.key: result for result in analysis.findings}
        self._rows = {key: FindingRow(finding, results.get(key), None) for key, finding in catalogue.items()}
        self._searchable = {key: _search_text(finding) for key, finding in catalogue.items()}
        self._identity = None if analysis is None else analysis.model
        self._warnings = () if analysis is None else analysis.warnings
        if analysis is not None:
            self.set_status(AnalysisStatus("analysed"))
        self.rows_changed.emit()
        if self._selected not in self._rows or (analysis is not None and self._selected is None):
            ordered = self.visible_rows()
            self.selected_key = ordered[0].key if analysis is not None and ordered else None

    def set_status(self, status: AnalysisStatus) -> None:
        """Say why there are no values, or that there are."""
        self._status = status
        self.status_changed.emit(status)

    def set_feedback(self, feedback: Mapping[str, FeedbackView]) -> None:
        """Replace all verdicts; keys without one are not reviewed."""
        for key, row in self._rows.items():
            if row.feedback != feedback.get(key):
                self._rows[key] = FindingRow(row.finding, row.result, feedback.get(key))
                self.row_changed.emit(key)

    @property
    def status(self) -> AnalysisStatus:
        """Why there are no values; kind ``analysed`` when there are."""
        return self._status

    @property
    def identity(self) -> ModelIdentity | None:
        """The model whose numbers are shown."""
        return self._identity

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader must know about how these numbers came about, such as an alignment that failed."""
        return self._warnings

    @property
    def rows(self) -> tuple[FindingRow, ...]:
        """All rows in catalogue order."""
        return tuple(self._rows.values())

    def row(self, key: str) -> FindingRow:
        """Return one row; KeyError if the catalogue has no such key."""
        return self._rows[key]

    @property
    def calibration(self) -> Calibration:
        """How many of the values shown are calibrated probabilities."""
        known = {row.calibrated for row in self._rows.values() if row.covered}
        return "some" if len(known) == 2 else ("all" if known == {True} else "none")

    @property
    def n_reviewed(self) -> int:
        """Findings with a standing verdict."""
        return sum(row.feedback is not None for row in self._rows.values())

    @property
    def n_covered(self) -> int:
        """Findings that the model predicts."""
        return sum(row.covered for row in self._rows.values())

    @property
    def n_positive(self) -> int:
        """Findings that the model calls present."""
        return sum(row.positive is True for row in self._rows.values())

    # -- filter and order ---------------------------------------------------------------------------------------

    @property
    def filter_text(self) -> str:
        """What is searched for in labels and synonyms."""
        return self._needle

    @filter_text.setter
    def filter_text(self, text: str) -> None:
        self._needle = text
        self.rows_changed.emit()

    @property
    def sort_order(self) -> SortOrder:
        """By urgency (then value), or by value alone; uncovered findings last in both."""
        return self._sort

    @sort_order.setter
    def sort_order(self, order: SortOrder) -> None:
        self._sort = order
        self.rows_changed.emit()

    @property
    def grouped(self) -> bool:
        """Whether rows stand under their categories, or in one list."""
        return self._grouped

    @grouped.setter
    def grouped(self, grouped: bool) -> None:
        self._grouped = grouped
        self.rows_changed.emit()

    def visible_rows(self) -> tuple[FindingRow, ...]:
        """Return the rows that pass the filter, group by group, in order within each group."""
        return tuple(row for _, rows in self.groups() for row in rows)

    def groups(self) -> tuple[tuple[str, tuple[FindingRow, ...]], ...]:
        """Return the titles of the groups that have a visible row, each with its rows in order."""
        words = _fold(self._needle).split()
        shown = [row for row in self._rows.values() if all(word in self._searchable[row.key] for word in words)]
        if not self._grouped:
            return ((ALL_TITLE, tuple(sorted(shown, key=self._order))),) if shown else ()
        return tuple(
            (title, tuple(sorted(rows, key=self._order)))
            for category, title in CATEGORY_LABELS.items()
            if (rows := [row for row in shown if row.finding.category == category])
        )

    def _order(self, row: FindingRow) -> tuple[object, ...]:
        value = -(row.value if row.value is not None else -1.0)
        if self._sort == "value":
            return (not row.covered, value)
        # A positive finding stands above every negative one: urgency orders what is called present first.
        return (not row.covered, row.positive is not True, URGENCY_ORDER[row.finding.urgency], value)

    # -- selection ----------------------------------------------------------------------------------------------

    @property
    def selected_key(self) -> str | None:
        """Key of the selected finding."""
        return self._selected

    @selected_key.setter
    def selected_key(self, key: str | None) -> None:
        if key == self._selected:
            return
        self._selected = key
        self.selected_changed.emit(key)

    @property
    def selected(self) -> FindingRow | None:
        """The selected row."""
        return None if self._selected is None else self._rows.get(self._selected)

    def select_next(self, step: int = 1) -> None:
        """Select the next visible finding that the model covers (any, if it covers none); stops at the ends."""
        rows = self.visible_rows()
        keys = [row.key for row in rows if row.covered] or [row.key for row in rows]
        if not keys:
            return
        if self._selected not in keys:
            self.selected_key = keys[0]
            return
        place = keys.index(self._selected) + step
        self.selected_key = keys[min(max(place, 0), len(keys) - 1)]


def _search_text(finding: Finding) -> str:
    return _fold(" | ".join((finding.label, *finding.synonyms)))


def _fold(text: str) -> str:
    """Casefold and drop accents, so that ``hématome`` is found by ``hematome``."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))
