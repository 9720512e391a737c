"""Statements: saved at once and in order, withdrawn one by one, exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.controllers.rows import feedback_views
from app.controllers.session import Session
from app.operations.export_corrections import export_corrections
from app.operations.feedback import Sheet, read_sheet, save_statements, undo_feedback
from app.viewmodels.notices import Notice
from app.viewmodels.statements import Statement
from engine.store.records import FeedbackRecord

if TYPE_CHECKING:
    from engine.store.repository import Store

UNNAMED_READER = "unnamed reader"


class FeedbackController:
    """Implements `FeedbackActions`: the reader's statements on the series in view."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: dict[tuple[str, str], Statement] = {}

    def submit(self, statements: Sequence[Statement]) -> None:
        """Save statements durably; without a reader they wait until the window has asked who reads."""
        reading = self._session.models.reading
        if not reading.reader:
            self._waiting |= {(item.series_uid, item.finding_key): item for item in statements}
            text = f"{len(self._waiting)} statement(s) will be saved as soon as a reader is chosen; nothing is lost."
            self._session.models.notices.post(Notice("info", "Who reads?", text))
            reading.want_reader()
            return
        reader, kept = reading.reader, tuple(statements)
        for uid in dict.fromkeys(statement.series_uid for statement in kept):
            mine = tuple(statement for statement in kept if statement.series_uid == uid)
            self._save(uid, reader, mine)

    def submit_waiting(self) -> None:
        """Save what waited for a reader, marked blind only if nothing of a model has been seen by now."""
        waiting, self._waiting = tuple(self._waiting.values()), {}
        reading = self._session.models.reading
        seen = reading.session is not None and not reading.hidden
        here = reading.series_uid
        self.submit([replace(item, mode="ai_seen") if seen and item.series_uid == here else item for item in waiting])

    def submit_unnamed(self) -> None:
        """Save what still waits in nobody's name: losing it would be worse."""
        if self._waiting:
            self._session.models.reading.reader = UNNAMED_READER
            self.submit_waiting()

    @property
    def n_waiting(self) -> int:
        """How many statements wait for a reader."""
        return len(self._waiting)

    def undo(self) -> None:
        """Withdraw the reader's newest statement on the series in view, with those that were saved at once with it."""
        session = self._session
        if session.current is None:
            return
        uid, reader = session.current.uid, session.models.reading.reader

        def undone(result: tuple[tuple[FeedbackRecord, ...], Sheet]) -> None:
            withdrawals, sheet = result
            if not withdrawals:
                session.models.notices.post(Notice("info", "Nothing to undo", "No statement of yours stands here."))
                return
            for withdrawal in withdrawals:
                session.models.feedback.forget(withdrawal.finding_key)
            self._show(uid, reader, sheet)
            if len(withdrawals) == 1:
                session.models.findings.selected_key = withdrawals[0].finding_key
                return
            text = f"{len(withdrawals)} statements that were saved together were withdrawn together."
            session.models.notices.post(Notice("info", "Undone", text))

        def withdraw(store: Store) -> tuple[tuple[FeedbackRecord, ...], Sheet]:
            return undo_feedback(store, uid, reader), read_sheet(store, uid, session.sheet_reader)

        session.with_store(withdraw, "Undoing the statement", undone)

    def reload(self) -> None:
        """Read the sheet of the series in view again: another reader reads, or what may be seen has changed."""
        session = self._session
        if session.current is None:
            return
        uid, reader, sheet_of = session.current.uid, session.models.reading.reader, session.sheet_reader
        session.with_store(
            lambda store: read_sheet(store, uid, sheet_of),
            "Reading the statements",
            lambda sheet: self._show(uid, reader, sheet),
        )

    def export(self, format_key: str, path: Path) -> None:
        """Write the corrections of all studies, but for those that the reader still reads blind."""
        session = self._session
        reader = session.models.reading.reader

        def told(counts: tuple[int, int]) -> None:
            written, left_out = counts
            without = f" {left_out} of studies that you still read blind were left out." if left_out else ""
            session.models.notices.post(
                Notice("info", "Corrections exported", f"{written} statements: {path}.{without}")
            )

        session.with_store(
            lambda store: export_corrections(store, session.catalogue, format_key, path, hidden_from=reader),
            "Exporting corrections",
            told,
        )

    def _save(self, uid: str, reader: str, statements: tuple[Statement, ...]) -> None:
        session = self._session
        sheet_of = session.sheet_reader

        def save(store: Store) -> Sheet:
            save_statements(store, statements, reader)
            return read_sheet(store, uid, sheet_of)

        def failed(error: BaseException) -> None:
            session.models.feedback.not_saved(statements)
            session.notify(error, "The statement was not saved")

        session.with_store(save, "Saving the statement", lambda sheet: self._show(uid, reader, sheet), failed)

    def _show(self, series_uid: str, reader: str, sheet: Sheet) -> None:
        session = self._session
        session.models.reading.touched.emit(series_uid)
        if session.current is not None and session.is_current(series_uid) and session.models.reading.reader == reader:
            session.current.feedback = sheet
            session.models.findings.set_feedback(feedback_views(sheet))
