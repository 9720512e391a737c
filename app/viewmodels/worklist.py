"""The worklist: pages of studies, which of them are in view, what is asked for, and what it says when it is empty.

Of 100,000 studies only the pages around what is in view are held. A study of several series can be opened in place; the
rows of a list are then studies and, below an opened one, its series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from psygnal import Signal

from engine.findings.catalogue import Urgency
from engine.store.workflow import SavedFilter, StudyState, WorklistOrder, WorklistPage, WorklistQuery, WorklistRow

SeriesKind = Literal["volume", "stack", "refused"]
SeriesState = Literal["new", "analysing", "analysed", "failed"]

PAGE_ROWS = 100
KEPT_PAGES = 40
READING = "Reading the worklist…"
NOTHING_YET = "Nothing imported yet.\n\nDrop a folder, files or a ZIP here,\nor choose Open folder."
NO_MATCH = "No study matches.\n\nClear the filter to see all {total:,}."


@dataclass(frozen=True)
class SeriesItem:
    """One series of a study.

    Attributes
    ----------
    state_text
        The reason in words where there is one: out of scope, refused, failed.
    n_positive, urgency
        Of the newest analysis; None without one, or while the model's output is hidden from the reader.
    """

    series_uid: str
    study_uid: str
    number: int | None
    description: str
    n_slices: int
    kind: SeriesKind
    state: SeriesState
    state_text: str = ""
    n_positive: int | None = None
    urgency: Urgency | None = None


Entry = WorklistRow | SeriesItem


class WorklistModel:
    """What is asked for (`query`), what has come (`entry`), and the series in view (`current`).

    Signals
    -------
    query_changed
        Something else is asked for; the rows follow.
    rows_wanted
        `missing_page` names a page that is in view and not there.
    series_wanted
        The series of this study are needed.
    reset, rows_inserted, rows_removed, rows_changed
        All rows are others; or some came in (first, how many), went (first, how many), or changed (first, last).
    """

    query_changed = Signal()
    rows_wanted = Signal()
    series_wanted = Signal(str)
    reset = Signal()
    rows_inserted = Signal(int, int)
    rows_removed = Signal(int, int)
    rows_changed = Signal(int, int)
    current_changed = Signal(object)
    counts_changed = Signal()
    filters_changed = Signal()
    table_changed = Signal(bool)
    status_changed = Signal()

    def __init__(self) -> None:
        self._query = WorklistQuery()
        self._hides = False
        self._generation = 0
        self._shown_generation = -1
        self._pages: dict[int, tuple[WorklistRow, ...]] = {}
        self._stale: set[int] = set()
        self._total = 0
        self._view = (0, 0)
        self._opened: dict[int, tuple[str, tuple[SeriesItem, ...]]] = {}
        self._counts: Mapping[StudyState, int] = MappingProxyType({})
        self._filters: tuple[SavedFilter, ...] = ()
        self._current_uid: str | None = None
        self._current: SeriesItem | None = None
        self._position: int | None = None
        self._failure = ""
        self._as_table = False

    # -- what is asked for --------------------------------------------------------------------------------------

    @property
    def query(self) -> WorklistQuery:
        """Search, filters and order that the reader chose."""
        return self._query

    @query.setter
    def query(self, query: WorklistQuery) -> None:
        query = replace(query, offset=0, limit=PAGE_ROWS)
        if query != self._query:
            self._query = query
            self._ask_anew()

    @property
    def hides(self) -> bool:
        """Whether what models found must not show, order or narrow the list: first reads are blind."""
        return self._hides

    @hides.setter
    def hides(self, hides: bool) -> None:
        if hides != self._hides:
            self._hides = hides
            self._ask_anew()

    @property
    def effective_query(self) -> WorklistQuery:
        """The query as it is put to the store: in blind reading without what models found."""
        if not self._hides:
            return self._query
        order = "date" if self._query.order == "priority" else self._query.order
        return replace(self._query, order=order, urgencies=(), positive_only=False)

    @property
    def narrowed(self) -> bool:
        """Whether anything narrows the list."""
        return self._query != replace(WorklistQuery(), order=self._query.order, descending=self._query.descending)

    def clear_filter(self) -> None:
        """Show every study; the order stays."""
        self.query = replace(WorklistQuery(), order=self._query.order, descending=self._query.descending)

    def sort_by(self, order: WorklistOrder) -> None:
        """Sort by something, or turn the order round. Dates and urgency begin with the greatest."""
        query = self._query
        descending = not query.descending if order == query.order else order in ("priority", "date", "added")
        self.query = replace(query, order=order, descending=descending)

    @property
    def generation(self) -> int:
        """Counts the changes of what is asked for; an answer to an older one is dropped."""
        return self._generation

    def refresh(self) -> None:
        """Have what is in view read again; until it comes, the rows stay as they are."""
        self._stale = set(self._pages)
        self.rows_wanted.emit()

    def _ask_anew(self) -> None:
        self._generation += 1
        self._view = (0, 0)
        self.query_changed.emit()
        self.rows_wanted.emit()

    # -- what has come ------------------------------------------------------------------------------------------

    @property
    def known(self) -> bool:
        """Whether an answer to the present question has come."""
        return self._shown_generation == self._generation

    @property
    def total(self) -> int:
        """How many studies match."""
        return self._total

    @property
    def n_rows(self) -> int:
        """How many rows a list has: studies, and the series of opened ones."""
        return self._total + sum(len(series) for _, series in self._opened.values())

    @property
    def rows(self) -> tuple[WorklistRow, ...]:
        """The studies that are here, in the list's order."""
        return tuple(row for number in sorted(self._pages) for row in self._pages[number])

    def row(self, series_uid: str) -> WorklistRow | None:
        """Return the study whose series this is, if it is here."""
        study_uid = self._current.study_uid if self._current and self._current.series_uid == series_uid else None
        found = (row for row in self.rows if row.series_uid == series_uid or row.study_uid == study_uid)
        return next(found, None)

    def study_at(self, position: int) -> WorklistRow | None:
        """Return the study at a place of the list, None while its page is not here."""
        page = self._pages.get(position // PAGE_ROWS, ())
        place = position % PAGE_ROWS
        return page[place] if 0 <= place < len(page) else None

    def entry(self, row: int) -> Entry | None:
        """Return the study or series in a row, None while it is not here."""
        position, child = self.place_of_row(row)
        return self.study_at(position) if child is None else self._opened[position][1][child]

    def place_of_row(self, row: int) -> tuple[int, int | None]:
        """Return a row's study by its place in the list, and which of its series the row is, None for the study."""
        before = 0
        for position in sorted(self._opened):
            children = len(self._opened[position][1])
            if row <= position + before:
                break
            if row <= position + before + children:
                return position, row - position - before - 1
            before += children
        return row - before, None

    def row_of_place(self, position: int) -> int:
        """Return the row of the study at a place of the list."""
        return position + sum(len(series) for at, (_, series) in self._opened.items() if at < position)

    def look_at(self, first_row: int, last_row: int) -> None:
        """Say which rows are in view."""
        view = (self.place_of_row(max(first_row, 0))[0], self.place_of_row(max(last_row, 0))[0])
        if view != self._view:
            self._view = view
            if self.missing_page is not None:
                self.rows_wanted.emit()

    @property
    def missing_page(self) -> int | None:
        """The number of a page that is in view, or next to that, and not here or out of date."""
        if not self.known:
            return 0
        first, last = (position // PAGE_ROWS for position in self._view)
        end = max(self._total - 1, 0) // PAGE_ROWS
        near = (first - 1, last + 1)
        wanted = [number for number in (*range(first, last + 1), *near) if 0 <= number <= end]
        return next((number for number in wanted if number not in self._pages or number in self._stale), None)

    def set_page(self, generation: int, page: WorklistPage) -> None:
        """Take an answer of the store; one to an older question is dropped."""
        if generation != self._generation:
            return
        number = page.offset // PAGE_ROWS
        self._failure = ""
        if not self.known:
            self._shown_generation = generation
            self._pages, self._stale, self._opened = {number: page.rows}, set(), {}
            self._total = page.total
            self._find_current()
            self.reset.emit()
        else:
            self._resize(page.total)
            self._pages[number] = page.rows
            self._stale.discard(number)
            self._settle_opened(number)
            self._forget_far_pages(number)
            self._find_current()
            first, last = number * PAGE_ROWS, number * PAGE_ROWS + len(page.rows) - 1
            if last >= first:
                self.rows_changed.emit(self.row_of_place(first), self.row_of_place(last))
        self.status_changed.emit()

    def fail(self, reason: str) -> None:
        """Say why the list cannot be read."""
        self._failure = reason
        self.status_changed.emit()

    @property
    def empty_text(self) -> str:
        """Why there is nothing in the list; empty while there is something."""
        if self._failure:
            return f"The worklist cannot be read.\n\n{self._failure}"
        if self._total:
            return ""
        if not self.known:
            return READING
        return NO_MATCH.format(total=self.n_studies) if self.narrowed and self.n_studies else NOTHING_YET

    def _resize(self, total: int) -> None:
        """Let rows come or go at the end, so that what is in view stays where it is."""
        before, self._total = self._total, total
        if total > before:
            self.rows_inserted.emit(self.row_of_place(before), total - before)
        elif total < before:
            for position in [at for at in self._opened if at >= total]:
                self._close_at(position)
            self._pages = {number: rows for number, rows in self._pages.items() if number * PAGE_ROWS < total}
            self.rows_removed.emit(self.row_of_place(total), before - total)

    def _forget_far_pages(self, number: int) -> None:
        if len(self._pages) > KEPT_PAGES:
            far = sorted(self._pages, key=lambda other: abs(other - number))[KEPT_PAGES:]
            for other in far:
                del self._pages[other]
                self._stale.discard(other)

    # -- series of a study --------------------------------------------------------------------------------------

    def is_open(self, row: int) -> bool:
        """Whether the study in this row shows its series."""
        position, child = self.place_of_row(row)
        return child is None and position in self._opened

    def open_study(self, row: int) -> None:
        """Show the series of the study in this row, once they have come."""
        entry = self.entry(row)
        if isinstance(entry, WorklistRow) and entry.n_series > 1 and not self.is_open(row):
            self.series_wanted.emit(entry.study_uid)

    def close_study(self, row: int) -> int:
        """Hide the series of the study to which this row belongs; return the study's row."""
        position, _ = self.place_of_row(row)
        if position in self._opened:
            self._close_at(position)
        return self.row_of_place(position)

    def set_series(self, study_uid: str, series: tuple[SeriesItem, ...]) -> None:
        """Show a study's series below it, if it is still in the list."""
        position = self._position_of(study_uid)
        if position is None or not series:
            return
        first = self.row_of_place(position) + 1
        if len(self._opened.get(position, ("", ()))[1]) == len(series):
            self._opened[position] = (study_uid, series)
            self.rows_changed.emit(first - 1, first + len(series) - 1)
            return
        if position in self._opened:
            self._close_at(position)
        self._opened[position] = (study_uid, series)
        self.rows_inserted.emit(first, len(series))
        self.rows_changed.emit(first - 1, first - 1)

    def _close_at(self, position: int) -> None:
        first = self.row_of_place(position) + 1
        _, series = self._opened.pop(position)
        self.rows_removed.emit(first, len(series))
        self.rows_changed.emit(first - 1, first - 1)

    def _settle_opened(self, number: int) -> None:
        """Have the opened series of a page that came anew read again; they follow their study to another place."""
        for position, (study_uid, _) in tuple(self._opened.items()):
            row = self.study_at(position)
            if position // PAGE_ROWS == number and row is not None:
                if row.study_uid != study_uid:
                    self._close_at(position)
                self.series_wanted.emit(study_uid)

    def _position_of(self, study_uid: str) -> int | None:
        for number, rows in self._pages.items():
            for place, row in enumerate(rows):
                if row.study_uid == study_uid:
                    return number * PAGE_ROWS + place
        return None

    # -- the series in view -------------------------------------------------------------------------------------

    @property
    def current_uid(self) -> str | None:
        """The series in view."""
        return self._current_uid

    @current_uid.setter
    def current_uid(self, uid: str | None) -> None:
        if uid == self._current_uid:
            return
        self._current_uid = uid
        self._current = self._opened_series(uid)
        self._find_current()
        self.current_changed.emit(uid)

    @property
    def current(self) -> SeriesItem | None:
        """What the list knows of the series in view."""
        return self._current

    @property
    def position(self) -> int | None:
        """Where the study in view was last seen in the list."""
        return self._position

    def show_current(self, item: SeriesItem) -> None:
        """Tell more of the series in view."""
        if item.series_uid == self._current_uid and item != self._current:
            self._current = item
            self._find_current()
            self.current_changed.emit(item.series_uid)

    def is_current(self, entry: Entry | None) -> bool:
        """Whether a row is the series in view, or its study."""
        if entry is None or self._current_uid is None:
            return False
        if entry.series_uid == self._current_uid:
            return True
        current = self._current
        return isinstance(entry, WorklistRow) and current is not None and entry.study_uid == current.study_uid

    def row_of_current(self) -> int | None:
        """Return the row of the series in view: its own below an opened study, else its study's; None if not here."""
        if self._position is None or not self.is_current(self.study_at(self._position)):
            return None
        row = self.row_of_place(self._position)
        _, series = self._opened.get(self._position, ("", ()))
        below = next((place for place, item in enumerate(series) if item.series_uid == self._current_uid), None)
        return row if below is None else row + 1 + below

    def neighbour(self, step: int) -> int | None:
        """Return the place of the next study in a direction, None where the list ends; also once this one has left."""
        if not self._total:
            return None
        if self._position is None:
            return 0
        there = self.is_current(self.study_at(self._position))
        place = self._position + step if there or step < 0 else self._position + step - 1
        place = min(max(place, 0), self._total - 1)
        return None if there and place == self._position else place

    def expect_at(self, position: int) -> None:
        """Say where in the list the study is that will be in view next, although its page may not be here yet."""
        self._position = position
        row = self.row_of_place(position)
        self.look_at(row, row)

    def _opened_series(self, uid: str | None) -> SeriesItem | None:
        series = (item for _, items in self._opened.values() for item in items)
        return next((item for item in series if item.series_uid == uid), None)

    def _find_current(self) -> None:
        if self._current_uid is None:
            self._position = None
            return
        for number, rows in self._pages.items():
            for place, row in enumerate(rows):
                if self.is_current(row):
                    self._position = number * PAGE_ROWS + place
                    return

    # -- counts, saved filters, table ---------------------------------------------------------------------------

    @property
    def counts(self) -> Mapping[StudyState, int]:
        """How many studies of the whole store are in each state."""
        return self._counts

    @property
    def n_studies(self) -> int:
        """How many studies there are, whatever the filter."""
        return sum(self._counts.values())

    def set_counts(self, counts: Mapping[StudyState, int]) -> None:
        """Take the counts of the whole store."""
        if dict(counts) != dict(self._counts):
            self._counts = MappingProxyType(dict(counts))
            self.counts_changed.emit()
            self.status_changed.emit()

    @property
    def filters(self) -> tuple[SavedFilter, ...]:
        """The reader's saved filters and everybody's."""
        return self._filters

    def set_filters(self, filters: tuple[SavedFilter, ...]) -> None:
        """Take the saved filters."""
        self._filters = filters
        self.filters_changed.emit()

    @property
    def chosen_filter(self) -> SavedFilter | None:
        """The saved filter that is in force as it was saved."""
        return next((item for item in self._filters if item.query == self._query), None)

    @property
    def as_table(self) -> bool:
        """Whether the list fills the window as a table."""
        return self._as_table

    @as_table.setter
    def as_table(self, as_table: bool) -> None:
        if as_table != self._as_table:
            self._as_table = as_table
            self.table_changed.emit(as_table)
