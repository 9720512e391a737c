"""The findings as a Qt tree: categories, and under each its findings, in one column or in two."""

from __future__ import annotations

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, Qt

from app.viewmodels.findings import FindingRow, FindingsModel
from app.viewmodels.statements import ANSWER_LABELS
from app.views.bindings import bind

AnyIndex = QModelIndex | QPersistentModelIndex
ROW_ROLE = Qt.ItemDataRole.UserRole
VALUE_ROLE = Qt.ItemDataRole.UserRole + 1
Groups = tuple[tuple[str, tuple[FindingRow, ...]], ...]

UNCALIBRATED_SIGN = "*"


class FindingsItems(QAbstractItemModel):
    """`FindingsModel.groups()` as two levels; an index's internal id is 0 for a category, else its number + 1.

    With two columns a category's findings go down the first and on down the second, as in a newspaper.
    """

    def __init__(self, model: FindingsModel) -> None:
        super().__init__()
        self._model = model
        self._columns = 1
        self._groups: Groups = model.groups()
        self._places: dict[str, tuple[int, int]] = {}
        self._index_places()
        bind(self, model.rows_changed, self._reset)
        bind(self, model.row_changed, self._replace)

    def set_columns(self, columns: int) -> bool:
        """Lay the findings out in so many columns; say whether that is a change."""
        if columns == self._columns:
            return False
        self.beginResetModel()
        self._columns = columns
        self.endResetModel()
        return True

    def _reset(self) -> None:
        self.beginResetModel()
        self._groups = self._model.groups()
        self._index_places()
        self.endResetModel()

    def _index_places(self) -> None:
        self._places = {row.key: (g, r) for g, (_, rows) in enumerate(self._groups) for r, row in enumerate(rows)}

    def _replace(self, key: str) -> None:
        place = self.index_of(key)
        if place.isValid():
            self.dataChanged.emit(place, place)
            self.dataChanged.emit(place.parent(), place.parent())

    def _height(self, group: int) -> int:
        """Return how many lines a group takes."""
        return -(-len(self._groups[group][1]) // self._columns)

    def row_at(self, index: AnyIndex) -> FindingRow | None:
        """Return the finding at an index; None for a category, and for the empty place at the end of a group."""
        if not index.isValid() or index.internalId() == 0:
            return None
        group = index.internalId() - 1
        place = index.column() * self._height(group) + index.row()
        rows = self._groups[group][1]
        return self._model.row(rows[place].key) if place < len(rows) else None

    def index_of(self, key: str | None) -> QModelIndex:
        """Return the index of a finding; invalid if the filters hide it."""
        if key is None or key not in self._places:
            return QModelIndex()
        group, place = self._places[key]
        column, row = divmod(place, self._height(group))
        return self.createIndex(row, column, group + 1)

    def index(self, row: int, column: int, parent: AnyIndex = QModelIndex()) -> QModelIndex:
        """Return the index of a category or finding."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        return self.createIndex(row, column, parent.row() + 1 if parent.isValid() else 0)

    def parent(self, index: AnyIndex = QModelIndex()) -> QModelIndex:  # type: ignore[override]
        """Return the category of a finding."""
        if not index.isValid() or index.internalId() == 0:
            return QModelIndex()
        return self.createIndex(index.internalId() - 1, 0, 0)

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return the number of categories, or of lines of findings in one."""
        if not parent.isValid():
            return len(self._groups)
        return self._height(parent.row()) if parent.internalId() == 0 and parent.column() == 0 else 0

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:
        """Return 1 or 2: a finding is painted whole."""
        return self._columns

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        """Findings can be selected; categories only opened and closed."""
        if index.isValid() and index.internalId() == 0:
            return Qt.ItemFlag.ItemIsEnabled
        if self.row_at(index) is None:
            return Qt.ItemFlag.NoItemFlags
        return super().flags(index)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return the finding row, or text."""
        if index.internalId() == 0:
            return self._category_data(index.row(), role) if index.column() == 0 else None
        row = self.row_at(index)
        if row is None:
            return None
        if role == ROW_ROLE:
            return row
        if role == VALUE_ROLE:
            return self._value_text(row)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return accessible_text(row, self._model.hidden)
        return tooltip(row, self._model.measured_text(row.key)) if role == Qt.ItemDataRole.ToolTipRole else None

    def _value_text(self, row: FindingRow) -> str:
        """Return the number; with a sign where it is a raw score among calibrated ones."""
        if row.value is None:
            return ""
        marked = self._model.calibration == "some" and not row.calibrated
        return f"{row.value:.2f}{UNCALIBRATED_SIGN if marked else ''}"

    def _category_data(self, group: int, role: int) -> object:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return None
        title, shown = self._groups[group]
        rows = [self._model.row(row.key) for row in shown]
        covered = [row for row in rows if row.covered]
        positive = sum(row.positive is True for row in rows)
        reviewed = sum(row.feedback is not None for row in rows)
        parts = [f"{positive} positive of {len(covered)}" if covered else f"{len(rows)}"]
        if reviewed:
            parts.append(f"{reviewed} reviewed")
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join((title, *parts))
        return f"{title}|{' · '.join(parts)}"


def accessible_text(row: FindingRow, hidden: bool = False) -> str:
    """Return a finding in one line, as a screen reader speaks it."""
    if row.value is None:
        without = "model output hidden" if hidden else "not analysed"
        state = "not covered by this model" if row.result is not None else without
    else:
        state = f"{row.value_name} {row.value:.2f}, {'positive' if row.positive else 'not positive'}"
        state += ", near the operating point" if row.uncertain else ""
    stated = f", {ANSWER_LABELS[row.feedback.answer]}" if row.feedback else ""
    return f"{row.finding.label}, {row.finding.urgency}, {state}{stated}"


def tooltip(row: FindingRow, measured: str = "") -> str:
    """Return definition, synonyms, numbers and what they were measured on, a line each."""
    lines = [f"{row.finding.label} ({row.finding.urgency})", row.finding.definition]
    if row.finding.synonyms:
        lines.append(f"Also: {', '.join(row.finding.synonyms)}")
    if row.value is not None:
        point = "none" if row.operating_point is None else f"{row.operating_point:.2f}"
        near = row.uncertain_range
        uncertain = f" (uncertain from {near[0]:.2f} to {near[1]:.2f})" if near is not None else ""
        lines.append(f"{row.value_name.capitalize()} {row.value:.3f}, operating point {point}{uncertain}")
        lines.append(measured or "The model package does not say how this was measured.")
    elif row.result is not None:
        lines.append("Not covered by this model: it makes no statement on this finding. You can.")
    if row.feedback is not None:
        said = (ANSWER_LABELS[row.feedback.answer], row.feedback.reader, row.feedback.time_text)
        lines.append(f"Stated: {' · '.join(part for part in said if part)}")
    return "\n".join(lines)
