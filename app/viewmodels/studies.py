"""The study list: one row per series, the selected one, and what it says when it is empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psygnal import Signal

from engine.findings.catalogue import Urgency

SeriesKind = Literal["volume", "stack", "refused"]
SeriesState = Literal["new", "analysing", "analysed", "failed"]

EMPTY_TEXT = "Open a folder, file or ZIP…,\nor drop it here."


@dataclass(frozen=True)
class StudyRow:
    """One series as the list shows it.

    Attributes
    ----------
    patient_label
        Name or pseudonym, as the reader knows the patient.
    n_slices
        Acquired slices or pictures.
    kind
        Whether the series is a volume, a 2D stack, or refused.
    state, state_text
        How far the analysis is, and the reason in words where there is one (out of scope, failed).
    n_positive
        Findings at or above their operating point; None without an analysis.
    most_urgent
        The urgency of the most urgent positive finding; None without one.
    """

    series_uid: str
    patient_label: str
    patient_id: str
    study_date: str
    study_description: str
    description: str
    n_slices: int
    kind: SeriesKind
    state: SeriesState
    state_text: str = ""
    n_positive: int | None = None
    most_urgent: Urgency | None = None


class StudyListModel:
    """Rows in the order given, keyed by series; at most one is current."""

    rows_changed = Signal()
    row_changed = Signal(str)
    current_changed = Signal(object)

    def __init__(self) -> None:
        self._rows: dict[str, StudyRow] = {}
        self._current: str | None = None

    @property
    def rows(self) -> tuple[StudyRow, ...]:
        """All rows, in order."""
        return tuple(self._rows.values())

    @property
    def current_uid(self) -> str | None:
        """Series UID of the selected row."""
        return self._current

    @current_uid.setter
    def current_uid(self, uid: str | None) -> None:
        if uid == self._current:
            return
        self._current = uid
        self.current_changed.emit(uid)

    @property
    def current(self) -> StudyRow | None:
        """The selected row."""
        return None if self._current is None else self._rows.get(self._current)

    def row(self, series_uid: str) -> StudyRow | None:
        """Return the row of one series, or None."""
        return self._rows.get(series_uid)

    def set_rows(self, rows: tuple[StudyRow, ...]) -> None:
        """Replace all rows; the selection stays if its series is still there."""
        self._rows = {row.series_uid: row for row in rows}
        self.rows_changed.emit()
        if self._current not in self._rows:
            self.current_uid = None

    def update_row(self, row: StudyRow) -> None:
        """Replace one row, or append it if its series is new."""
        known = row.series_uid in self._rows
        self._rows[row.series_uid] = row
        if known:
            self.row_changed.emit(row.series_uid)
        else:
            self.rows_changed.emit()
