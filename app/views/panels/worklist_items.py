"""The worklist as a Qt table: a row is a study, or a series below an opened study; what is not here yet is a blank."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from app.viewmodels.queue import QueueModel
from app.viewmodels.worklist import Entry, SeriesItem, WorklistModel
from app.views import theme
from app.views.bindings import bind
from engine.store.workflow import StudyState, WorklistOrder, WorklistRow

AnyIndex = QModelIndex | QPersistentModelIndex
Cells = tuple[tuple[str, QColor], ...]
KEPT_CELLS = 400
ENTRY_ROLE = Qt.ItemDataRole.UserRole
BLANK = "…"
COLUMNS = ("Patient", "ID", "Date", "Description", "State", "Positive", "Series", "Added")
PATIENT, ID, DATE, DESCRIPTION, STATE, POSITIVE, SERIES, ADDED = range(len(COLUMNS))
ORDER_OF_COLUMN: dict[int, WorklistOrder] = {
    PATIENT: "patient",
    DATE: "date",
    DESCRIPTION: "description",
    STATE: "state",
    POSITIVE: "priority",
    ADDED: "added",
}
STATE_TEXT: dict[StudyState, str] = {
    "new": "new",
    "analysing": "analysing",
    "failed": "failed",
    "analysed": "analysed",
    "in_review": "in review",
    "reviewed": "✓ reviewed",
}
STATE_COLOR: dict[StudyState, QColor] = {
    "new": theme.MUTED,
    "analysing": theme.ACCENT,
    "failed": theme.DANGER,
    "analysed": theme.GOOD,
    "in_review": theme.WARNING,
    "reviewed": theme.FAINT,
}
KIND_TEXT = {"volume": "slices", "stack": "images, 2D stack", "refused": "files, refused"}
HIDDEN_HINT = "What the model found is hidden until your blind read is committed."
NO_NAME = "(no name)"


def patient_text(row: WorklistRow) -> str:
    """Return the patient as the reader knows him."""
    return row.patient_name or row.patient_id or NO_NAME


def date_text(dicom_date: str) -> str:
    """Turn ``YYYYMMDD`` into ``YYYY-MM-DD``; anything else stays as it is."""
    if len(dicom_date) == 8 and dicom_date.isdigit():
        return f"{dicom_date[:4]}-{dicom_date[4:6]}-{dicom_date[6:]}"
    return dicom_date


def positive_text(entry: Entry) -> tuple[str, QColor]:
    """Return the sign of the greatest urgency with the number of positive findings, and its colour; empty without."""
    if entry.n_positive is None:
        return "", theme.MUTED
    if entry.urgency is None:
        return str(entry.n_positive), theme.FAINT
    return f"{theme.URGENCY_SIGNS[entry.urgency]} {entry.n_positive}", theme.URGENCY[entry.urgency]


def state_text(entry: Entry, queue: QueueModel) -> tuple[str, QColor]:
    """Return the state in a word or two, and its colour."""
    if queue.waits(entry.series_uid) and entry.state in ("new", "failed", "analysed"):
        return "queued", theme.ACCENT
    if isinstance(entry, SeriesItem):
        if entry.kind == "refused":
            return "refused", theme.DANGER
        if entry.state == "new" and (entry.kind == "stack" or entry.state_text):
            return "view only", theme.WARNING
    return STATE_TEXT[entry.state], STATE_COLOR[entry.state]


def series_text(item: SeriesItem) -> str:
    """Return what a series is called."""
    number = "Series" if item.number is None else f"Series {item.number}"
    return f"{number}: {item.description}" if item.description else number


def count_text(item: SeriesItem) -> str:
    """Return how much there is of a series."""
    return f"{item.n_slices} {KIND_TEXT[item.kind]}"


def tooltip(entry: Entry, hides: bool) -> str:
    """Return everything that is known, a line each."""
    if isinstance(entry, SeriesItem):
        state = f"{STATE_TEXT[entry.state]}: {entry.state_text}" if entry.state_text else STATE_TEXT[entry.state]
        return "\n".join((series_text(entry), count_text(entry), state))
    state = f"{STATE_TEXT[entry.state]}: {entry.state_message}" if entry.state_message else STATE_TEXT[entry.state]
    found = "" if entry.n_positive is None else f"{entry.n_positive} findings positive by the model"
    if entry.urgency is not None:
        found += f", the most urgent one {entry.urgency}"
    if hides and entry.n_positive is None:
        found = HIDDEN_HINT
    parts = (
        patient_text(entry),
        f"ID {entry.patient_id}" if entry.patient_id else "",
        date_text(entry.study_date),
        entry.study_description,
        f"Accession {entry.accession_number}" if entry.accession_number else "",
        f"{entry.n_series} series" if entry.n_series > 1 else "",
        state,
        found,
        f"Added {_local(entry.added_utc)}",
    )
    return "\n".join(part for part in parts if part)


def spoken(entry: Entry, queue: QueueModel) -> str:
    """Return a row as one line for screen readers."""
    state = state_text(entry, queue)[0]
    if isinstance(entry, SeriesItem):
        return f"{series_text(entry)}, {count_text(entry)}, {state}"
    found = "" if entry.n_positive is None else f", {entry.n_positive} positive"
    return f"{patient_text(entry)}, {date_text(entry.study_date)}, {entry.study_description}, {state}{found}"


def _local(utc: datetime) -> str:
    return utc.astimezone().strftime("%Y-%m-%d %H:%M")


class WorklistItems(QAbstractTableModel):
    """`WorklistModel` as a Qt table. It holds no rows: it asks for those that are painted."""

    def __init__(self, model: WorklistModel, queue: QueueModel) -> None:
        super().__init__()
        self.worklist, self.queue = model, queue
        self._n_rows = model.n_rows
        self._cells: dict[int, Cells] = {}
        bind(self, model.reset, self._reset)
        bind(self, model.rows_inserted, self._insert)
        bind(self, model.rows_removed, self._remove)
        bind(self, model.rows_changed, self._change)
        bind(self, queue.changed, self._change_all)

    def cells(self, row: int) -> Cells:
        """Return text and colour of every cell of a row; kept until something changes, since painting asks often."""
        found = self._cells.get(row)
        if found is None:
            if len(self._cells) > KEPT_CELLS:
                self._cells.clear()
            found = self._cells[row] = self._make_cells(row)
        return found

    def _make_cells(self, row: int) -> Cells:
        entry = self.worklist.entry(row)
        if entry is None:
            return ((BLANK, theme.FAINT),) * len(COLUMNS)
        faint = (ID, SERIES, ADDED)
        inks = [
            theme.MUTED if isinstance(entry, SeriesItem) or at in faint else theme.TEXT for at in range(len(COLUMNS))
        ]
        cells = [(self._text(entry, row, column), ink) for column, ink in enumerate(inks)]
        cells[STATE], cells[POSITIVE] = state_text(entry, self.queue), positive_text(entry)
        return tuple(cells)

    def _reset(self) -> None:
        self._cells.clear()
        self.beginResetModel()
        self._n_rows = self.worklist.n_rows
        self.endResetModel()

    def _insert(self, first: int, count: int) -> None:
        self._cells.clear()
        self.beginInsertRows(QModelIndex(), first, first + count - 1)
        self._n_rows += count
        self.endInsertRows()

    def _remove(self, first: int, count: int) -> None:
        self._cells.clear()
        self.beginRemoveRows(QModelIndex(), first, first + count - 1)
        self._n_rows -= count
        self.endRemoveRows()

    def _change(self, first: int, last: int) -> None:
        self._cells.clear()
        self.dataChanged.emit(self.index(first, 0), self.index(last, len(COLUMNS) - 1))

    def _change_all(self) -> None:
        if self._n_rows:
            self._change(0, self._n_rows - 1)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return the number of rows."""
        return 0 if parent.isValid() else self._n_rows

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return the number of columns of the table; the list shows the first."""
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a cell's text, colour, tooltip, or the row itself."""
        if role == Qt.ItemDataRole.DisplayRole:
            return self.cells(index.row())[index.column()][0]
        if role == ENTRY_ROLE:
            return self.worklist.entry(index.row())
        if role == Qt.ItemDataRole.ForegroundRole:
            return self.cells(index.row())[index.column()][1]
        if role not in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return None
        entry = self.worklist.entry(index.row())
        if entry is None:
            return None
        is_tip = role == Qt.ItemDataRole.ToolTipRole
        return tooltip(entry, self.worklist.hides) if is_tip else spoken(entry, self.queue)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a column's title, and what a click on it does."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return "Click to sort; again to turn the order round" if section in ORDER_OF_COLUMN else COLUMNS[section]
        return None

    def _text(self, entry: Entry, row: int, column: int) -> str:
        if isinstance(entry, SeriesItem):
            texts = {PATIENT: f"        {series_text(entry)}", SERIES: count_text(entry)}
            if column in texts:
                return texts[column]
        elif column == PATIENT:
            sign = "" if entry.n_series < 2 else "▾ " if self.worklist.is_open(row) else "▸ "
            return f"{sign or '    '}{patient_text(entry)}"
        elif column in (ID, DATE, DESCRIPTION, SERIES, ADDED):
            return _study_text(entry, column)
        return ""


def _study_text(row: WorklistRow, column: int) -> str:
    if column == ID:
        return row.patient_id
    if column == DATE:
        return date_text(row.study_date)
    if column == SERIES:
        return str(row.n_series)
    if column == ADDED:
        return _local(row.added_utc)
    return row.state_message if row.state == "failed" and row.state_message else row.study_description
