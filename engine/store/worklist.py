"""The worklist: studies by state and priority, searched and paged by the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, delete, func, select
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


class Worklist(StoreBase):
    """The studies that wait, are read, or were read."""

    def worklist(self, query: WorklistQuery) -> WorklistPage:
        """Return a page of the studies that match, and how many match in all."""
        with self._reading() as session:
            ids, total = _chosen(session, query)
            found = select(WorklistTable, StudyTable).join(StudyTable, StudyTable.id == WorklistTable.id)
            rows = {
                line.id: _row(line, study) for line, study in session.execute(found.where(WorklistTable.id.in_(ids)))
            }
            return WorklistPage(tuple(rows[number] for number in ids), total, query.offset)

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


def _chosen(session: Session, query: WorklistQuery) -> tuple[list[int], int]:
    """Return the lines of the page in order, and how many match."""
    conditions = _conditions(query)
    every = select(func.count()).select_from(WorklistTable).where(*conditions)
    if _may_match_most(query):
        total = session.scalar(every) or 0
        if 2 * total > (session.scalar(select(func.count()).select_from(WorklistTable)) or 0):
            # The index that has the order gives the page after few lines.
            page = _paged(select(WorklistTable.id).where(*conditions), _ORDERS[query.order], query)
            return list(session.scalars(page)), total
    # One pass over all lines finds and counts; an index on the order would look each line up where it lies.
    found = select(*dict.fromkeys((WorklistTable.id, *_ORDERS[query.order]))).where(*conditions)
    hits = found.cte("hits")
    n_hits = select(func.count()).select_from(hits).scalar_subquery()
    columns = tuple(hits.c[column.key] for column in _ORDERS[query.order])
    rows = session.execute(_paged(select(hits.c.id, n_hits), columns, query)).all()
    if not rows and query.offset:
        return [], session.scalar(every) or 0
    return [row[0] for row in rows], rows[0][1] if rows else 0


def _may_match_most(query: WorklistQuery) -> bool:
    """Whether nothing narrows the list, or only single letters, which most lines may have."""
    narrowed = query.states or query.urgencies or query.positive_only or query.date_from or query.date_to
    return not narrowed and all(len(word) == 1 for word in search_form(query.search).split())


def _paged(found: Select[Any], columns: Sequence[SQLColumnExpression[Any]], query: WorklistQuery) -> Select[Any]:
    order = [column.desc() if query.descending else column.asc() for column in columns]
    return found.order_by(*order).limit(query.limit).offset(query.offset)


def _conditions(query: WorklistQuery) -> list[ColumnElement[bool]]:
    """Adding 0 keeps the planner from an index that would find half of all lines one by one."""
    words = search_form(query.search).split()
    conditions: list[ColumnElement[bool]] = [
        WorklistTable.search_text.contains(word, autoescape=True) for word in words
    ]
    if query.states:
        conditions.append((WorklistTable.state_rank + 0).in_([STUDY_STATES.index(state) for state in query.states]))
    if query.urgencies:
        conditions.append(WorklistTable.urgency.in_([URGENCY_ORDER[urgency] for urgency in query.urgencies]))
    if query.positive_only:
        conditions.append(WorklistTable.priority + 0 > 0)
    if query.date_from:
        conditions.append(WorklistTable.study_date >= query.date_from)
    if query.date_to:
        conditions.append(WorklistTable.study_date <= query.date_to)
    return conditions


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
