"""The worklist: pages of it as they come into view, saved filters, and which study is next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.controllers.rows import series_item
from app.controllers.session import Session
from app.viewmodels.notices import Notice
from app.viewmodels.worklist import PAGE_ROWS, SeriesItem
from engine.errors import HeadCTError
from engine.store.records import SeriesRow
from engine.store.workflow import SavedFilter, StudyState, WorklistOrder, WorklistPage, WorklistQuery, WorklistRow

if TYPE_CHECKING:
    from engine.store.repository import Store

REFRESH_MS = 400
# Apart from the one that writes: a verdict never waits for a list.
LANE = "list"
UNREVIEWED: tuple[StudyState, ...] = ("new", "analysing", "failed", "analysed", "in_review")


class WorklistController:
    """Implements `WorklistActions`.

    Attributes
    ----------
    select_series
        Shows a series; whoever can, sets it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._model = session.models.worklist
        self.select_series: Callable[[str], None] = lambda series_uid: None
        self._ready = False
        self._fetching = False
        self._resting = False
        self._again = False
        self._passed: set[str] = set()
        self._model.rows_wanted.connect(self._fetch)
        self._model.series_wanted.connect(self._fetch_series)
        session.models.reading.changed.connect(self._follow_reading)
        session.models.reading.touched.connect(self._touched)
        self._model.hides = session.models.reading.hides_list
        self._reader = session.models.reading.reader

    def start(self) -> None:
        """Tell the store how urgent findings are, and show the first page."""
        session, reader = self._session, self._reader

        def begin(store: Store) -> tuple[SavedFilter, ...]:
            store.sync_catalogue(session.catalogue)
            return store.saved_filters(reader)

        def ready(filters: tuple[SavedFilter, ...]) -> None:
            self._ready = True
            self._model.set_filters(filters)
            self.refresh()

        session.with_store(begin, "Reading the worklist", ready, self._failed)

    def refresh(self) -> None:
        """Read what is in view, and the counts, again; what is asked for often within a moment is done once."""
        if not self._ready:
            return
        if self._resting:
            self._again = True
            return
        self._resting = True
        self._session.runner.gui.later(REFRESH_MS, self._rested)
        self._read(lambda store: store.worklist_counts(), self._model.set_counts)
        self._model.refresh()

    @property
    def settled(self) -> bool:
        """Whether what is shown is what was read last, and nothing more was asked for."""
        return self._ready and not (self._resting or self._fetching) and self._model.missing_page is None

    def series_changed(self, row: SeriesRow | None) -> None:
        """Show what the store now says of a series."""
        if row is not None:
            self._model.show_current(self._item(row, self._model.hides))
        self.refresh()

    def look_up(self, series_uid: str) -> None:
        """Read what the store knows of the series in view."""
        self._read(lambda store: store.get_series(series_uid), self._tell_current)

    # WorklistActions

    def select_study(self, step: int) -> None:
        """Open the next or previous study of the list."""
        place = self._model.neighbour(step)
        if place is None:
            return
        row = self._model.study_at(place)
        if row is not None:
            self.select_series(row.series_uid)
            return
        self._model.expect_at(place)
        query = replace(self._model.effective_query, offset=place, limit=1)
        self._read(lambda store: store.worklist(query), self._open_first)

    def select_next_unreviewed(self) -> None:
        """Open the most pressing study of the list that nobody has reviewed, and that was not offered before."""
        asked = self._model.effective_query
        states = tuple(state for state in UNREVIEWED if not asked.states or state in asked.states)
        order: WorklistOrder = "date" if self._model.hides else "priority"
        passed = self._passed | self._current_study()
        query = replace(asked, states=states, order=order, descending=True, offset=0, limit=len(passed) + 1)
        if not states:
            self._nothing_left()
            return
        self._read(lambda store: store.worklist(query), lambda page: self._open_unpassed(page, passed))

    def save_filter(self, name: str) -> None:
        """Keep what is asked for under a name."""
        query, reader = self._model.query, self._reader
        self._write_filters(lambda store: store.save_filter(name, query, reader), "Saving the filter")

    def delete_filter(self, saved: SavedFilter) -> None:
        """Forget a saved filter."""
        self._write_filters(lambda store: store.delete_filter(saved.name, saved.reader), "Deleting the filter")

    # Inside

    def _fetch(self) -> None:
        """Read the page that is most wanted now; the next one follows when it has come."""
        model = self._model
        number = model.missing_page
        if not self._ready or self._fetching or number is None:
            return
        self._fetching = True
        query = replace(model.effective_query, offset=number * PAGE_ROWS, limit=PAGE_ROWS)
        generation, hides, reader = model.generation, model.hides, self._reader

        def fetched(page: WorklistPage) -> None:
            self._fetching = False
            model.set_page(generation, page)
            self._fetch()

        self._read(lambda store: _read_page(store, query, reader if hides else None), fetched, self._failed)

    def _fetch_series(self, study_uid: str) -> None:
        hides, reader = self._model.hides, self._reader

        def read(store: Store) -> tuple[SeriesItem, ...]:
            rows = store.study_series(study_uid)
            return tuple(self._item(row, hides and not _revealed(store, row.series_uid, reader)) for row in rows)

        self._read(read, lambda series: self._model.set_series(study_uid, series))

    def _read(
        self,
        operation: Callable[[Store], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        session = self._session
        session.run(
            lambda context: operation(session.store.require()),
            lane=LANE,
            title="Reading the worklist",
            done=done,
            failed=failed,
        )

    def _failed(self, error: BaseException) -> None:
        self._fetching = False
        if isinstance(error, HeadCTError):
            self._model.fail(f"{error.message} {error.hint}")
        else:
            self._session.notify(error, "The worklist cannot be read")

    def _item(self, row: SeriesRow, hidden: bool) -> SeriesItem:
        item = series_item(row, self._session.catalogue)
        return replace(item, n_positive=None, urgency=None) if hidden else item

    def _tell_current(self, row: SeriesRow | None) -> None:
        if row is not None:
            self._model.show_current(self._item(row, self._model.hides))

    def _current_study(self) -> set[str]:
        current = self._model.current
        return set() if current is None else {current.study_uid}

    def _open_first(self, page: WorklistPage) -> None:
        if page.rows:
            self.select_series(page.rows[0].series_uid)

    def _open_unpassed(self, page: WorklistPage, passed: set[str]) -> None:
        left = [row for row in page.rows if row.study_uid not in passed]
        if not left:  # all were offered once: begin again with the most pressing one
            passed = self._current_study()
            left = [row for row in page.rows if row.study_uid not in passed]
        if not left:
            self._nothing_left()
            return
        self._passed = passed | {left[0].study_uid}
        self.select_series(left[0].series_uid)

    def _nothing_left(self) -> None:
        where = " that the filter shows" if self._model.narrowed else ""
        self._session.models.notices.post(Notice("info", "Nothing left", f"Every other study{where} is reviewed."))

    def _write_filters(self, operation: Callable[[Store], object], title: str) -> None:
        reader = self._reader

        def write(store: Store) -> tuple[SavedFilter, ...]:
            operation(store)
            return store.saved_filters(reader)

        self._session.with_store(write, title, self._model.set_filters)

    def _rested(self) -> None:
        self._resting = False
        if self._again:
            self._again = False
            self.refresh()

    def _touched(self, series_uid: str) -> None:
        self.refresh()

    def _follow_reading(self) -> None:
        """Another reader, or another reading mode: what may be shown has changed."""
        reading = self._session.models.reading
        if reading.reader != self._reader:
            self._reader, self._passed = reading.reader, set()
            self._write_filters(lambda store: None, "Reading the saved filters")
            self.refresh()
        if self._model.hides != reading.hides_list:
            self._model.hides = reading.hides_list
            if self._model.current_uid is not None:
                self.look_up(self._model.current_uid)


def _read_page(store: Store, query: WorklistQuery, blind_reader: str | None) -> WorklistPage:
    """Return a page; for a reader who reads blind, without what models found in studies not yet revealed to them."""
    page = store.worklist(query)
    if blind_reader is None:
        return page
    rows = tuple(row if _revealed(store, row.series_uid, blind_reader) else without_findings(row) for row in page.rows)
    return replace(page, rows=rows)


def _revealed(store: Store, series_uid: str, reader: str) -> bool:
    session = store.reading_session(series_uid, reader)
    return session is not None and not session.hidden


def without_findings(row: WorklistRow) -> WorklistRow:
    """Return a study without what a model found in it."""
    return replace(row, priority=0, urgency=None, n_positive=None, positive_keys=())
