"""The worklist: studies by state and priority, searched and paged by the database."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from engine.findings.catalogue import URGENCY_ORDER, Catalogue, Urgency
from engine.store.base import StoreBase
from engine.store.mapping import series_query, series_row
from engine.store.records import SeriesRow
from engine.store.tables import SavedFilterTable, SeriesTable, StudyTable, WorklistTable
from engine.store.text import search_form, storable
from engine.store.workflow import (
    STUDY_STATES,
    SavedFilter,
    StudyState,
    WorklistOrder,
    WorklistPage,
    WorklistQuery,
    WorklistRow,
)
from engine.store.worklist_rows import set_ranks

_URGENCIES: dict[int, Urgency] = {rank: urgency for urgency, rank in URGENCY_ORDER.items()}
_ORDERS: dict[WorklistOrder, tuple[InstrumentedAttribute[Any], ...]] = {
    "priority": (WorklistTable.priority, WorklistTable.study_date, WorklistTable.id),
    "date": (WorklistTable.study_date, WorklistTable.id),
    "patient": (WorklistTable.patient_order, WorklistTable.id),
    "description": (WorklistTable.description_order, WorklistTable.id),
    "state": (WorklistTable.state_rank, WorklistTable.priority, WorklistTable.study_date, WorklistTable.id),
    "added": (WorklistTable.id,),
}


# A plain search for bytes: folded text needs none of LIKE's rules, and this is several times as fast.
_FIND = {"sqlite": func.instr, "postgresql": func.strpos}


class Worklist(StoreBase):
    """The studies that wait, are read, or were read."""

    def worklist(self, query: WorklistQuery) -> WorklistPage:
        """Return a page of the studies that match, and how many match in all."""
        with self._reading() as session:
            conditions = _conditions(query, session)
            total = session.scalar(select(func.count()).select_from(WorklistTable).where(*conditions)) or 0
            rows = session.execute(_page(query, conditions)).all() if total > query.offset else []
            return WorklistPage(tuple(_row(*row) for row in rows), total, query.offset)

    def worklist_counts(self) -> dict[StudyState, int]:
        """Return how many studies are in each state."""
        with self._reading() as session:
            counted = session.execute(select(WorklistTable.state_rank, func.count()).group_by(WorklistTable.state_rank))
            numbers = {row[0]: row[1] for row in counted}
        return {state: numbers.get(rank, 0) for rank, state in enumerate(STUDY_STATES)}

    def study_series(self, study_uid: str) -> tuple[SeriesRow, ...]:
        """Return the listed series of a study, by number."""
        conditions = [SeriesTable.study_uid == study_uid, SeriesTable.removed_utc.is_(None)]
        with self._reading() as session:
            return tuple(series_row(row) for row in session.execute(series_query(conditions)))

    def sync_catalogue(self, catalogue: Catalogue) -> None:
        """Tell the store how urgent findings are; if that is news, the priority of every study is made anew.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        with self._writing() as session:
            set_ranks(session, {key: URGENCY_ORDER[finding.urgency] for key, finding in catalogue.items()})

    def save_filter(self, name: str, query: WorklistQuery, reader: str = "") -> SavedFilter:
        """Keep a query under a name, in the place of the reader's earlier one of that name; page and size stay out.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        kept = SavedFilter(storable(name).strip(), storable(reader), replace(query, offset=0, limit=100))
        with self._writing() as session:
            session.merge(SavedFilterTable(reader=kept.reader, name=kept.name, query=_storable_query(kept.query)))
        return kept

    def saved_filters(self, reader: str = "") -> tuple[SavedFilter, ...]:
        """Return a reader's filters and everybody's, by name."""
        readers = {"", storable(reader)}
        query = select(SavedFilterTable).where(SavedFilterTable.reader.in_(readers))
        with self._reading() as session:
            kept = [SavedFilter(row.name, row.reader, _query(row.query)) for row in session.scalars(query)]
        return tuple(sorted(kept, key=lambda item: (search_form(item.name), item.reader)))

    def delete_filter(self, name: str, reader: str = "") -> bool:
        """Forget a filter; False if there was none."""
        mine = (SavedFilterTable.reader == storable(reader), SavedFilterTable.name == storable(name))
        with self._writing() as session:
            return (
                session.execute(delete(SavedFilterTable).where(*mine).returning(SavedFilterTable.name)).first()
                is not None
            )


def _conditions(query: WorklistQuery, session: Session) -> list[ColumnElement[bool]]:
    find = _FIND[session.get_bind().dialect.name]
    conditions: list[ColumnElement[bool]] = [
        find(WorklistTable.search_text, word) > 0 for word in search_form(query.search).split()
    ]
    if query.states:
        conditions.append(WorklistTable.state_rank.in_([STUDY_STATES.index(state) for state in query.states]))
    if query.urgencies:
        conditions.append(WorklistTable.urgency.in_([URGENCY_ORDER[urgency] for urgency in query.urgencies]))
    if query.positive_only:
        conditions.append(WorklistTable.n_positive > 0)
    if query.date_from:
        conditions.append(WorklistTable.study_date >= query.date_from)
    if query.date_to:
        conditions.append(WorklistTable.study_date <= query.date_to)
    return conditions


def _page(query: WorklistQuery, conditions: list[ColumnElement[bool]]) -> Select[WorklistTable, StudyTable]:
    """Choose the page by the worklist's own indexes first, and fetch the studies' details for it alone."""
    columns = _ORDERS[query.order]
    order = [column.desc() if query.descending else column.asc() for column in columns]
    chosen = select(WorklistTable.id).where(*conditions).order_by(*order).limit(query.limit).offset(query.offset)
    return (
        select(WorklistTable, StudyTable)
        .join(StudyTable, StudyTable.id == WorklistTable.id)
        .where(WorklistTable.id.in_(chosen))
        .order_by(*order)
    )


def _row(line: WorklistTable, study: StudyTable) -> WorklistRow:
    return WorklistRow(
        study_uid=study.study_uid,
        series_uid=line.series_uid,
        patient_name=study.patient_name,
        patient_id=study.patient_id,
        study_date=study.study_date,
        study_description=study.study_description,
        accession_number=study.accession_number,
        n_series=line.n_series,
        state=cast(StudyState, line.state),
        state_message=line.state_message,
        priority=line.priority,
        urgency=None if line.urgency is None else _URGENCIES[line.urgency],
        n_positive=line.n_positive,
        positive_keys=tuple(line.positive_keys),
        added_utc=study.added_utc,
    )


def _storable_query(query: WorklistQuery) -> dict[str, Any]:
    document = asdict(query)
    return {**document, "search": storable(query.search)}


def _query(document: dict[str, Any]) -> WorklistQuery:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    return WorklistQuery(**values)
