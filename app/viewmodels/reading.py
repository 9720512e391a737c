"""Who reads, and whether the model's output is hidden from that reader: the blind first read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psygnal import Signal

ReadingMode = Literal["blind", "ai_seen"]
HIDDEN_TEXT = "Hidden: blind first read. What the model says is shown once you commit."


@dataclass(frozen=True)
class ReaderRow:
    """One reader as the window lists it; who has left is not active."""

    name: str
    role: str = "radiologist"
    initials: str = ""
    active: bool = True


@dataclass(frozen=True)
class SessionView:
    """The reader's session on the series in view.

    Attributes
    ----------
    revealed_utc
        Since when the model's output may have been seen; None while it is hidden.
    committed_utc
        When a blind reading was committed; None where it was not, or was switched off.
    finished_utc
        When the reader said that the series is read.
    """

    id: int
    mode: ReadingMode
    started_utc: datetime
    revealed_utc: datetime | None = None
    committed_utc: datetime | None = None
    finished_utc: datetime | None = None


class ReadingModel:
    """Reader, readers, and the session on the series in view.

    `hidden` is what every panel must obey: while it is True, nothing that a model said of the series in view, or that
    follows from it (values, calls, reasons, explanations, similar cases), may be drawn, listed or exported.
    `hides_list` says the same of the worklist: with blind first reads switched on, no study's findings are listed.
    `touched` names a series whose statements or session have changed in the store.
    """

    changed = Signal()
    hidden_changed = Signal(bool)
    readers_changed = Signal()
    reader_wanted = Signal()
    touched = Signal(str)

    def __init__(self, reader: str = "", *, blind: bool = False) -> None:
        self._reader = reader.strip()
        self._blind = blind
        self._series_uid: str | None = None
        self._session: SessionView | None = None
        self._blind_here: bool | None = None
        self._readers: tuple[ReaderRow, ...] = ()
        self._told = False
        self.show_others = False
        self.ask_at_start = True

    def configure(self, blind: bool, show_others: bool, ask_at_start: bool) -> None:
        """Take over the settings."""
        self.show_others, self.ask_at_start = show_others, ask_at_start
        self.blind = blind

    # -- what is hidden -----------------------------------------------------------------------------------------

    @property
    def hidden(self) -> bool:
        """Whether the model's output on the series in view must not be shown."""
        if self._series_uid is None:
            return False
        if self._session is not None:
            return self._session.revealed_utc is None
        return self._blind if self._blind_here is None else self._blind_here

    @property
    def hides_list(self) -> bool:
        """Whether the worklist must not show what models found."""
        return self._blind or self.hidden

    @property
    def mode(self) -> ReadingMode:
        """How a statement given now is stored."""
        return "blind" if self.hidden else "ai_seen"

    @property
    def blind(self) -> bool:
        """Whether every series is first read blind."""
        return self._blind

    @blind.setter
    def blind(self, blind: bool) -> None:
        self._change(lambda: setattr(self, "_blind", blind))

    # -- reader -------------------------------------------------------------------------------------------------

    @property
    def reader(self) -> str:
        """Who reads; empty until somebody was chosen."""
        return self._reader

    @reader.setter
    def reader(self, name: str) -> None:
        def change() -> None:
            # Whoever looked before anybody was named is who is named now: what was seen stays seen.
            self._blind_here = self._blind_here if not self._reader else None
            self._reader, self._session = name.strip(), None

        if name.strip() != self._reader:
            self._change(change)

    @property
    def readers(self) -> tuple[ReaderRow, ...]:
        """Everybody who reads here, by name; those who have left too."""
        return self._readers

    def set_readers(self, readers: tuple[ReaderRow, ...]) -> None:
        """Replace the list of readers."""
        self._readers = readers
        self.readers_changed.emit()

    def want_reader(self) -> None:
        """Ask the window to ask who reads."""
        self.reader_wanted.emit()

    # -- session ------------------------------------------------------------------------------------------------

    @property
    def series_uid(self) -> str | None:
        """The series in view."""
        return self._series_uid

    @property
    def session(self) -> SessionView | None:
        """The reader's session on it; None before it began."""
        return self._session

    def state_text(self, key_of: Callable[[str], str]) -> str:
        """Say how the series in view is read, with the keys of what can be done; times are local."""
        session = self._session
        if self.hidden:
            began = "" if session is None else f" since {_clock(session.started_utc)}"
            return f"BLIND FIRST READ{began}: model output hidden, {key_of('commit_blind') or 'menu'} commits"
        if session is None:
            return ""
        if session.finished_utc is not None:
            return f"reading finished {_clock(session.finished_utc)}"
        if session.committed_utc is not None:
            return f"read blind, committed {_clock(session.committed_utc)}"
        if session.mode == "blind" and session.revealed_utc is not None:
            return f"blind read switched off {_clock(session.revealed_utc)}"
        return ""

    def open(self, series_uid: str | None) -> None:
        """Take a series into view; its session, if there is one, follows through `set_session`."""

        def change() -> None:
            self._series_uid, self._session, self._blind_here = series_uid, None, None

        self._change(change)

    def set_session(self, session: SessionView | None) -> None:
        """Show the reader's session on the series in view."""
        self._change(lambda: setattr(self, "_session", session))

    def read_blind_here(self, blind: bool) -> None:
        """Let this series be read blind, or not, whatever the setting says; a session that has begun decides alone."""
        self._change(lambda: setattr(self, "_blind_here", blind))

    def _change(self, change: Callable[[], None]) -> None:
        change()
        hidden = self.hidden
        if hidden != self._told:
            self._told = hidden
            self.hidden_changed.emit(hidden)
        self.changed.emit()


def _clock(utc: datetime) -> str:
    return utc.astimezone().strftime("%H:%M")
