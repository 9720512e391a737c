"""Who reads, and the reader's session on the series in view: blind until committed, or with the model's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.controllers.feedback import FeedbackController
from app.controllers.session import Session
from app.viewmodels.notices import Notice
from app.viewmodels.reading import ReaderRow, SessionView
from engine.store.workflow import Reader, ReaderRole, ReadSession

if TYPE_CHECKING:
    from engine.store.repository import Store

COMMIT_FIRST = "Commit the blind read first; then the reading can be finished."
SEEN = "The model's output of this series has been in view, so it cannot be read blind by this reader any more."


class ReadingController:
    """Implements `ReadingActions`."""

    def __init__(self, session: Session, feedback: FeedbackController, change_settings: Callable[..., None]) -> None:
        self._session, self._feedback, self._change_settings = session, feedback, change_settings
        self._known: tuple[str, str] | None = None
        self._starting = False
        models = session.models
        session.on_current.append(self._opened)
        models.viewer.volume_changed.connect(self._begin)
        models.findings.rows_changed.connect(self._begin)

    def start(self) -> None:
        """List the readers."""
        self._session.with_store(lambda store: _listed(store), "Listing the readers", self._show_readers)

    # Readers

    def choose_reader(self, name: str) -> None:
        """Let this reader read from now on; what waited for a reader is saved in this name."""
        session, name = self._session, name.strip()
        models = session.models
        if name and name == models.reading.reader:
            self._feedback.submit_waiting()
            return
        models.feedback.leave()
        models.feedback.adopt(name)
        models.reading.reader = name
        self._change_settings(reader=name)
        if session.current is not None:
            self._look_up(session.current.uid)
            self._feedback.reload()
        elif name:
            self._feedback.submit_waiting()

    def add_reader(self, name: str, role: ReaderRole, initials: str) -> None:
        """Add a reader, who reads from now on."""

        def add(store: Store) -> tuple[ReaderRow, ...]:
            store.add_reader(name, role, initials)
            return _listed(store)

        def added(rows: tuple[ReaderRow, ...]) -> None:
            self._show_readers(rows)
            self.choose_reader(name)

        self._session.with_store(add, "Adding the reader", added)

    def update_reader(self, name: str, role: ReaderRole, initials: str) -> None:
        """Change a reader's role and initials."""

        def update(store: Store) -> tuple[ReaderRow, ...]:
            store.update_reader(name, role=role, initials=initials)
            return _listed(store)

        self._session.with_store(update, "Changing the reader", self._show_readers)

    def set_reader_active(self, name: str, active: bool) -> None:
        """Deactivate a reader, or take one back; statements stay in either case."""

        def change(store: Store) -> tuple[ReaderRow, ...]:
            (store.reactivate_reader if active else store.deactivate_reader)(name)
            return _listed(store)

        def changed(rows: tuple[ReaderRow, ...]) -> None:
            self._show_readers(rows)
            if not active and name == self._session.models.reading.reader:
                self.choose_reader("")

        self._session.with_store(change, "Changing the reader", changed)

    def set_ask_reader(self, ask: bool) -> None:
        """Ask at every start who reads, or not."""
        self._session.models.reading.ask_at_start = ask
        self._change_settings(ask_reader=ask)

    # The session

    def commit(self) -> None:
        """Commit the blind read: the model's output is shown from now on."""
        self._session.models.feedback.leave()
        self._end_blind(lambda store, session_id: store.commit_reading(session_id), "Committing the blind read")

    def reveal(self) -> None:
        """Show the model's output without a commit; logged as that."""
        self._session.models.feedback.leave()
        self._end_blind(lambda store, session_id: store.reveal_reading(session_id), "Showing the model's output")

    def read_blind(self) -> None:
        """Read the series in view blind, if nothing of a model has been seen of it."""
        models = self._session.models
        if models.reading.hidden or models.reading.series_uid is None:
            return
        if models.reading.session is not None or models.findings.identity is not None:
            models.notices.post(Notice("info", "Not blind", SEEN))
            return
        models.reading.read_blind_here(True)
        self._begin()

    def set_blind(self, blind: bool) -> None:
        """Read every series blind first, or not; what has been seen stays seen."""
        models = self._session.models
        if models.findings.identity is not None and models.reading.session is None and not models.reading.hidden:
            models.reading.read_blind_here(False)
        models.reading.blind = blind
        self._change_settings(blind_first_read=blind)
        self._begin()

    def set_show_others(self, show: bool) -> None:
        """Show other readers' statements on a sheet where the reader has none."""
        self._session.models.reading.show_others = show
        self._change_settings(show_other_readers=show)
        self._feedback.reload()

    def finish(self, done: bool) -> None:
        """Say that the series is read, or not after all."""
        session = self._session
        reading = session.models.reading
        uid, reader = reading.series_uid, reading.reader
        if uid is None:
            return
        if not reader:
            reading.want_reader()
            return
        if reading.hidden:
            session.models.notices.post(Notice("info", "Still blind", COMMIT_FIRST))
            return
        session.models.feedback.leave()

        def end(store: Store) -> ReadSession:
            begun = store.start_reading(uid, reader, "ai_seen")
            return store.finish_reading(begun.id) if done else store.reopen_reading(begun.id)

        session.with_store(end, "Noting the end of the reading", self._show_session)

    def _end_blind(self, end: Callable[[Store, int], ReadSession], title: str) -> None:
        session = self._session
        reading = session.models.reading
        if not reading.hidden:
            return
        if reading.session is None:
            if not reading.reader:
                reading.want_reader()
            return
        session_id = reading.session.id
        session.with_store(lambda store: end(store, session_id), title, self._revealed)

    def _revealed(self, read: ReadSession) -> None:
        self._show_session(read)
        self._feedback.reload()

    # Following what is in view

    def _opened(self, series_uid: str | None) -> None:
        models = self._session.models
        models.feedback.leave()
        models.reading.open(series_uid)
        if series_uid is not None:
            self._look_up(series_uid)

    def _look_up(self, series_uid: str) -> None:
        """Ask for the reader's session on a series."""
        reader = self._session.models.reading.reader
        self._known = None
        if not reader:
            return

        def found(read: ReadSession | None) -> None:
            reading = self._session.models.reading
            if (reading.series_uid, reading.reader) != (series_uid, reader):
                return
            self._known = (series_uid, reader)
            if read is not None:
                self._show_session(read)
            self._begin()
            if reading.session is not None or reading.mode == "ai_seen":
                self._feedback.submit_waiting()

        self._session.with_store(lambda store: store.reading_session(series_uid, reader), "Reading the session", found)

    def _begin(self) -> None:
        """Log the reader's session once it begins: blind with the picture, else with the model's output in view."""
        models = self._session.models
        reading = models.reading
        uid, reader = reading.series_uid, reading.reader
        known = uid is not None and self._known == (uid, reader) and reading.session is None
        begins = models.viewer.volume is not None and (reading.hidden or models.findings.identity is not None)
        if uid is None or not known or not begins or self._starting:
            return
        mode = reading.mode
        self._starting = True

        def started(read: ReadSession) -> None:
            self._starting = False
            self._show_session(read)
            self._feedback.submit_waiting()

        def failed(error: BaseException) -> None:
            self._starting = False
            self._known = None
            self._session.notify(error, "The reading was not logged")

        self._session.with_store(
            lambda store: store.start_reading(uid, reader, mode), "Beginning the reading", started, failed
        )

    def _show_session(self, read: ReadSession) -> None:
        reading = self._session.models.reading
        if (reading.series_uid, reading.reader) == (read.series_uid, read.reader):
            reading.set_session(session_view(read))
        reading.touched.emit(read.series_uid)

    def _show_readers(self, rows: tuple[ReaderRow, ...]) -> None:
        reading = self._session.models.reading
        listed = {row.name for row in rows}
        new = () if not reading.reader or reading.reader in listed else (ReaderRow(reading.reader, "other"),)
        reading.set_readers((*new, *rows))
        gone = {row.name for row in rows if not row.active}
        if reading.reader in gone:
            self.choose_reader("")


def session_view(read: ReadSession) -> SessionView:
    """Return what the window shows of a session."""
    return SessionView(read.id, read.mode, read.started_utc, read.revealed_utc, read.committed_utc, read.finished_utc)


def _listed(store: Store) -> tuple[ReaderRow, ...]:
    return tuple(_reader_row(reader) for reader in store.readers(include_inactive=True))


def _reader_row(reader: Reader) -> ReaderRow:
    return ReaderRow(reader.name, reader.role, reader.initials, reader.deactivated_utc is None)
