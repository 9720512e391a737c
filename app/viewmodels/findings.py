"""The findings panel: 75 rows with their values, the reader's statements, filters, order and selection."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Literal

from psygnal import Signal

from app.viewmodels.finding_filters import FILTERS, FilterKey
from app.viewmodels.finding_row import FindingRow
from app.viewmodels.reading import HIDDEN_TEXT
from app.viewmodels.rest import RestPlan, plan_rest
from app.viewmodels.statements import FeedbackView
from app.viewmodels.status import AnalysisStatus
from engine.analysis import Analysis, FindingResult, ModelIdentity
from engine.findings.catalogue import CATEGORY_LABELS, URGENCY_ORDER, Catalogue, Finding

SortOrder = Literal["catalogue", "urgency", "value"]
Calibration = Literal["all", "some", "none"]
Density = Literal["comfortable", "compact"]

ALL_TITLE = "All findings"
ONE_BY_ONE = 8  # more rows than this are told as all rows: a redraw of each would take longer
NO_ANALYSIS = "There is no analysis to filter by."


class FindingsModel:
    """All rows, the ones that pass the filters in their order, and the selected one.

    While `hidden` is set, rows are made without results: neither values nor calls, and no order, filter or count that
    follows from them, can be had from here.
    """

    rows_changed = Signal()
    row_changed = Signal(str)
    selected_changed = Signal(object)
    status_changed = Signal(object)
    density_changed = Signal(object)

    def __init__(self) -> None:
        self._catalogue: Mapping[str, Finding] = {}
        self._results: dict[str, FindingResult] = {}
        self._rows: dict[str, FindingRow] = {}
        self._hidden = False
        self._needle = ""
        self._filters: frozenset[FilterKey] = frozenset()
        self._just_reviewed: set[str] = set()
        self._sort: SortOrder = "urgency"
        self._grouped = True
        self._density: Density = "comfortable"
        self._selected: str | None = None
        self._status = AnalysisStatus()
        self._identity: ModelIdentity | None = None
        self._warnings: tuple[str, ...] = ()
        self._searchable: dict[str, str] = {}
        self._measured: tuple[str, Mapping[str, str]] = ("", {})

    # -- content ------------------------------------------------------------------------------------------------

    def set_analysis(self, catalogue: Catalogue, analysis: Analysis | None) -> None:
        """Show all findings of the catalogue, with the results of an analysis or without.

        Statements are dropped: call `set_feedback` afterwards. The selection stays; without one, the first row in
        order is selected once there is an analysis.
        """
        self._catalogue = catalogue
        self._results = {} if analysis is None else {result.key: result for result in analysis.findings}
        self._rows = {key: FindingRow(finding, self._shown(key), None) for key, finding in catalogue.items()}
        self._searchable = {key: _search_text(finding) for key, finding in catalogue.items()}
        self._identity = None if analysis is None else analysis.model
        self._warnings = () if analysis is None else analysis.warnings
        if analysis is not None:
            self.set_status(AnalysisStatus("analysed"))
        self._renew()
        if self._selected not in self._rows or (analysis is not None and self._selected is None):
            ordered = self.visible_rows()
            self.selected_key = ordered[0].key if analysis is not None and ordered else None

    def set_hidden(self, hidden: bool) -> None:
        """Take what the model said out of all rows, or put it back."""
        if hidden == self._hidden:
            return
        self._hidden = hidden
        for key, row in self._rows.items():
            self._rows[key] = FindingRow(row.finding, self._shown(key), row.feedback)
        self._renew()

    def _shown(self, key: str) -> FindingResult | None:
        return None if self._hidden else self._results.get(key)

    def set_status(self, status: AnalysisStatus) -> None:
        """Say why there are no values, or that there are."""
        self._status = status
        self.status_changed.emit(status)

    def set_feedback(self, feedback: Mapping[str, FeedbackView]) -> None:
        """Replace all statements; keys without one are not reviewed.

        A finding just reviewed stays in a list of the unreviewed until the reader moves on: a row that leaves under
        the hand makes the next click a mistake.
        """
        before = {row.key for row in self.visible_rows()}
        changed = [key for key, row in self._rows.items() if row.feedback != feedback.get(key)]
        for key in changed:
            row = self._rows[key]
            self._rows[key] = FindingRow(row.finding, row.result, feedback.get(key))
        if len(changed) == 1:
            self._just_reviewed.update(key for key in changed if key in before)
        several = len(changed) > ONE_BY_ONE
        for key in changed if not several else [key for key in changed if key == self._selected]:
            self.row_changed.emit(key)
        if several or {row.key for row in self.visible_rows()} != before:
            self._renew()

    def set_measured(self, digest: str, texts: Mapping[str, str]) -> None:
        """Keep what a model package says about how its findings were calibrated and measured, in words, by key."""
        self._measured = (digest, texts)

    def measured_text(self, key: str) -> str:
        """Return how the number on this finding was measured; empty where the package in use does not say."""
        digest, texts = self._measured
        return texts.get(key, "") if self._identity is not None and self._identity.digest == digest else ""

    @property
    def hidden(self) -> bool:
        """Whether the model's output is kept out of the rows."""
        return self._hidden

    @property
    def status(self) -> AnalysisStatus:
        """Why there are no values; kind ``analysed`` when there are."""
        return self._status

    @property
    def status_text(self) -> str:
        """Why no values are shown; empty where they are."""
        return HIDDEN_TEXT if self._hidden else self._status.text

    @property
    def identity(self) -> ModelIdentity | None:
        """The model that analysed the series."""
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
        """Findings with a standing statement."""
        return sum(row.feedback is not None for row in self._rows.values())

    @property
    def n_covered(self) -> int:
        """Findings that the model predicts; 0 where that is not shown."""
        return sum(row.covered for row in self._rows.values())

    @property
    def n_positive(self) -> int:
        """Findings that the model calls present."""
        return sum(row.positive is True for row in self._rows.values())

    @property
    def progress_text(self) -> str:
        """How many are reviewed, in words; empty without findings."""
        return f"{self.n_reviewed} of {len(self._rows)} reviewed" if self._rows else ""

    def plan_rest(self) -> RestPlan:
        """Return what would be stated absent if the reader accepted the rest, whatever the filters show."""
        return plan_rest(self.rows, self._hidden)

    # -- filters and order --------------------------------------------------------------------------------------

    @property
    def filter_text(self) -> str:
        """What is searched for in labels and synonyms."""
        return self._needle

    @filter_text.setter
    def filter_text(self, text: str) -> None:
        self._needle = text
        self._renew()

    @property
    def filters(self) -> frozenset[FilterKey]:
        """The filters that are on; those that cannot be used now wait."""
        return self._filters

    def toggle_filter(self, key: FilterKey) -> None:
        """Switch a filter on or off; one that cannot be used now stays as it is."""
        if self.filter_problem(key):
            return
        self._filters = self._filters ^ {key}
        self._renew()

    def clear_filters(self) -> None:
        """Switch all filters off and empty the search."""
        self._filters, self._needle = frozenset(), ""
        self._renew()

    def filter_problem(self, key: FilterKey) -> str:
        """Say why a filter cannot be used now; empty where it can."""
        if not FILTERS[key].needs_model:
            return ""
        return HIDDEN_TEXT if self._hidden else ("" if self._results else NO_ANALYSIS)

    def n_passing(self, key: FilterKey) -> int:
        """Return how many of all findings one filter lets pass."""
        return sum(FILTERS[key].passes(row) for row in self._rows.values())

    @property
    def count_text(self) -> str:
        """How many findings are listed, in words; empty without findings."""
        return f"{len(self.visible_rows())} of {len(self._rows)} shown" if self._rows else ""

    @property
    def sort_order(self) -> SortOrder:
        """As in the catalogue; by urgency, positives first; or by value. Uncovered findings last but in the first."""
        return self._sort

    @sort_order.setter
    def sort_order(self, order: SortOrder) -> None:
        self._sort = order
        self._renew()

    @property
    def grouped(self) -> bool:
        """Whether rows stand under their categories, or in one list."""
        return self._grouped

    @grouped.setter
    def grouped(self, grouped: bool) -> None:
        self._grouped = grouped
        self._renew()

    def order_by(self, order: SortOrder, grouped: bool) -> None:
        """Change order and grouping at once."""
        self._sort, self._grouped = order, grouped
        self._renew()

    @property
    def density(self) -> Density:
        """Whether rows are to be comfortable, or as many as possible at once."""
        return self._density

    @density.setter
    def density(self, density: Density) -> None:
        if density != self._density:
            self._density = density
            self.density_changed.emit(density)

    def visible_rows(self) -> tuple[FindingRow, ...]:
        """Return the rows that pass the filters, group by group, in order within each group."""
        return tuple(row for _, rows in self.groups() for row in rows)

    def groups(self) -> tuple[tuple[str, tuple[FindingRow, ...]], ...]:
        """Return the titles of the groups that have a visible row, each with its rows in order."""
        words = _fold(self._needle).split()
        on = [FILTERS[key] for key in self._filters if not self.filter_problem(key)]
        found = [row for row in self._rows.values() if all(word in self._searchable[row.key] for word in words)]
        shown = [
            row
            for row in found
            if all(item.passes(row) or (item.key == "not_reviewed" and row.key in self._just_reviewed) for item in on)
        ]
        if not self._grouped:
            return ((ALL_TITLE, tuple(sorted(shown, key=self._order))),) if shown else ()
        return tuple(
            (title, tuple(sorted(rows, key=self._order)))
            for category, title in CATEGORY_LABELS.items()
            if (rows := [row for row in shown if row.finding.category == category])
        )

    def _order(self, row: FindingRow) -> tuple[object, ...]:
        value = -(row.value if row.value is not None else -1.0)
        if self._sort == "catalogue":
            return ()
        if self._sort == "value":
            return (not row.covered, value)
        # A positive finding stands above every negative one: urgency orders what is called present first.
        return (not row.covered, row.positive is not True, URGENCY_ORDER[row.finding.urgency], value)

    def _renew(self) -> None:
        self._just_reviewed.clear()
        self.rows_changed.emit()

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
        """Select the next visible finding, covered by the model or not; stops at the ends."""
        keys = [row.key for row in self.visible_rows()]
        if not keys:
            return
        if self._selected not in keys:
            self._move_to(keys[0])
            return
        place = keys.index(self._selected) + step
        self._move_to(keys[min(max(place, 0), len(keys) - 1)])

    def select_unreviewed(self) -> None:
        """Select the next visible finding on which nothing is stated, from the top again after the last one."""
        rows = self.visible_rows()
        place = next((number for number, row in enumerate(rows) if row.key == self._selected), -1)
        waiting = [row.key for row in (*rows[place + 1 :], *rows[: place + 1]) if row.feedback is None]
        if waiting:
            self._move_to(waiting[0])

    def _move_to(self, key: str) -> None:
        self.selected_key = key
        if self._just_reviewed:
            self._renew()


def _search_text(finding: Finding) -> str:
    return _fold(" | ".join((finding.label, *finding.synonyms)))


def _fold(text: str) -> str:
    """Casefold and drop accents, so that ``hématome`` is found by ``hematome``, and ``GROẞ`` by ``gross``."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))
