"""The queue of background analyses: kept in the store, so that it outlives the window and two windows share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from engine.store.base import StoreBase
from engine.store.tables import QueueTable
from engine.store.text import storable
from engine.store.workflow import QueueItem, QueueState

_ORDER = (QueueTable.position, QueueTable.requested_utc, QueueTable.series_uid)


class AnalysisQueue(StoreBase):
    """Which series wait for their analysis, and in which order."""

    def enqueue(self, series_uids: Iterable[str], package_digest: str | None = None, *, front: bool = False) -> None:
        """Put series into the queue, in this order; one that waits or runs stays where it is, a failed one waits again.

        Parameters
        ----------
        package_digest
            The model; None for the one that is active when the turn comes.
        front
            Before all others instead of after them.

        Raises
        ------
        StoreError
            If a series is not in the store; then none is put in.
        """
        uids = list(dict.fromkeys(series_uids))
        with self._writing() as session:
            first, last = _ends(session)
            start = first - len(uids) if front else last + 1
            for offset, uid in enumerate(uids):
                self._series(session, uid)
                self._put(session, uid, start + offset, package_digest)

    def queue(self) -> tuple[QueueItem, ...]:
        """Return what runs, waits or failed, in order."""
        with self._reading() as session:
            return tuple(self._item(row) for row in session.scalars(select(QueueTable).order_by(*_ORDER)))

    def claim_next(self) -> QueueItem | None:
        """Take the next that waits and mark it as running here; no two windows get the same. None if nothing waits."""
        query = select(QueueTable).where(QueueTable.state == "waiting").order_by(*_ORDER).limit(1)
        with self._writing() as session:
            row = session.scalar(query.with_for_update(skip_locked=True))
            if row is None:
                return None
            row.state, row.owner, row.attempts, row.message = "running", self._owner, row.attempts + 1, ""
            return self._item(row)

    def finish_queued(self, series_uid: str) -> None:
        """Take a series that was analysed out of the queue."""
        self.cancel_queued(series_uid)

    def fail_queued(self, series_uid: str, message: str) -> None:
        """Leave a series in the queue as failed, and say why. Nothing happens if it was taken out meanwhile.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        with self._writing() as session:
            row = session.get(QueueTable, series_uid)
            if row is not None:
                row.state, row.owner, row.message = "failed", None, storable(message)

    def retry_queued(self, series_uid: str) -> bool:
        """Let a failed series wait again, or one that another window left as running; False if it is not queued."""
        with self._writing() as session:
            row = session.get(QueueTable, series_uid)
            if row is not None:
                row.state, row.owner, row.message = "waiting", None, ""
            return row is not None

    def cancel_queued(self, series_uid: str) -> bool:
        """Take a series out of the queue; False if it was not there. A run that has begun is stopped by its window."""
        with self._writing() as session:
            gone = delete(QueueTable).where(QueueTable.series_uid == series_uid).returning(QueueTable.series_uid)
            return session.execute(gone).first() is not None

    def move_queued(self, series_uid: str, before: str | None) -> None:
        """Put a series before another one, or with None at the end. Nothing happens if either is not queued."""
        with self._writing() as session:
            uids = list(session.scalars(select(QueueTable.series_uid).order_by(*_ORDER)))
            if series_uid not in uids or before == series_uid or (before is not None and before not in uids):
                return
            uids.remove(series_uid)
            uids.insert(len(uids) if before is None else uids.index(before), series_uid)
            rows = {row.series_uid: row for row in session.scalars(select(QueueTable))}
            for position, uid in enumerate(uids):
                rows[uid].position = float(position)

    def _put(self, session: Session, series_uid: str, position: float, package_digest: str | None) -> None:
        row = session.get(QueueTable, series_uid)
        if row is None:
            row = QueueTable(series_uid=series_uid, position=position, attempts=0, requested_utc=self._clock())
            session.add(row)
        elif row.state != "failed":
            return
        row.state, row.message, row.owner, row.package_digest = "waiting", "", None, package_digest

    def _item(self, row: QueueTable) -> QueueItem:
        return QueueItem(
            series_uid=row.series_uid,
            state=cast(QueueState, row.state),
            message=row.message,
            attempts=row.attempts,
            package_digest=row.package_digest,
            requested_utc=row.requested_utc,
            mine=row.owner == self._owner,
        )


def _ends(session: Session) -> tuple[float, float]:
    first, last = session.execute(select(func.min(QueueTable.position), func.max(QueueTable.position))).one()
    return (first, last) if first is not None else (0.0, -1.0)
