"""What narrows the worklist: state, urgency, positive findings, dates, and the reader's saved filters."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import WorklistActions
from app.viewmodels.worklist import WorklistModel
from app.views import theme
from app.views.bindings import bind
from engine.findings.catalogue import Urgency
from engine.store.workflow import SavedFilter, StudyState

STATES: dict[StudyState, str] = {
    "new": "New",
    "analysing": "Analysing",
    "analysed": "Analysed",
    "in_review": "In review",
    "reviewed": "Reviewed",
    "failed": "Failed",
}
URGENCIES: tuple[Urgency, ...] = ("critical", "urgent", "routine")
PERIODS = (("Today", 0), ("Last 7 days", 6), ("Last 30 days", 29), ("Last year", 364))
BAD_DATE = "Write a date as 2026-03-31."
BLIND_TEXT = "Not in a blind first read: it would tell what the model found."


def short_count(count: int) -> str:
    """Return a number in at most four characters."""
    return str(count) if count < 10_000 else f"{count // 1000}k"


def dicom_date(text: str) -> str | None:
    """Turn ``2026-03-31`` (or without dashes) into ``20260331``; empty stays empty, None where it is no date."""
    digits = text.strip().replace("-", "").replace(".", "")
    if not digits:
        return ""
    try:
        return date.fromisoformat(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}").strftime("%Y%m%d")
    except ValueError:
        return None


class StateChips(QWidget):
    """One button a state with how many studies are in it; several may be chosen."""

    def __init__(self, model: WorklistModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.buttons: dict[StudyState, QToolButton] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(6, 0, 6, 4)
        grid.setSpacing(3)
        for place, (state, name) in enumerate(STATES.items()):
            button = QToolButton(checkable=True)
            button.setAccessibleName(name)
            button.setProperty("role", "chip")
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.clicked.connect(self._choose)
            self.buttons[state] = button
            grid.addWidget(button, place // 2, place % 2)
        bind(self, model.counts_changed, self._show)
        bind(self, model.query_changed, self._show)
        self._show()

    def _choose(self) -> None:
        chosen = tuple(state for state, button in self.buttons.items() if button.isChecked())
        self._model.query = replace(self._model.query, states=chosen)

    def _show(self) -> None:
        for state, button in self.buttons.items():
            count = self._model.counts.get(state, 0)
            button.setText(f"{STATES[state]} {short_count(count)}")
            button.setToolTip(f"{count:,} studies. Show only: {STATES[state].lower()}")
            button.setChecked(state in self._model.query.states)


class FilterBox(QWidget):
    """Urgency, positive only, dates, saved filters."""

    def __init__(
        self, model: WorklistModel, actions: WorklistActions, resources: Path, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model = model
        self.urgencies: dict[Urgency, QToolButton] = {}
        urgency_row = QHBoxLayout()
        urgency_row.setSpacing(3)
        for urgency in URGENCIES:
            button = QToolButton(text=f"{theme.URGENCY_SIGNS[urgency]} {urgency.capitalize()}", checkable=True)
            button.setProperty("role", "chip")
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.clicked.connect(self._choose)
            self.urgencies[urgency] = button
            urgency_row.addWidget(button)
        self.positive = QCheckBox("Positive findings only")
        self.positive.clicked.connect(self._choose)
        self.date_from, self.date_to = self._date_field("From date"), self._date_field("To date")
        self.period = QToolButton(text="▾")
        self.period.setToolTip("Choose a period")
        self.period.setAccessibleName("Choose a period")
        self.period.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.period.setMenu(self._period_menu())
        dates = QHBoxLayout()
        dates.setSpacing(3)
        for widget in (self.date_from, QLabel("–"), self.date_to, self.period):
            dates.addWidget(widget)
        self.saved = SavedFilters(model, actions, resources)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 0, 6, 6)
        column.setSpacing(4)
        column.addLayout(urgency_row)
        column.addWidget(self.positive)
        column.addLayout(dates)
        column.addWidget(self.saved)
        bind(self, model.query_changed, self._show)
        self._show()

    def _date_field(self, name: str) -> QLineEdit:
        field = QLineEdit(placeholderText="YYYY-MM-DD")
        field.setAccessibleName(name)
        field.setAcceptDrops(False)
        field.setMinimumWidth(70)
        field.editingFinished.connect(self._choose)
        return field

    def _period_menu(self) -> QMenu:
        menu = QMenu(self)
        for name, days in PERIODS:
            menu.addAction(name, lambda days=days: self._choose_period(days))
        menu.addAction("Any date", lambda: self._choose_period(None))
        return menu

    def _choose_period(self, days: int | None) -> None:
        today = date.today()
        first = "" if days is None else (today - timedelta(days=days)).strftime("%Y%m%d")
        last = "" if days is None else today.strftime("%Y%m%d")
        self._model.query = replace(self._model.query, date_from=first, date_to=last)

    def _choose(self) -> None:
        first, last = (self._checked(field) for field in (self.date_from, self.date_to))
        if first is None or last is None:
            return
        self._model.query = replace(
            self._model.query,
            urgencies=tuple(urgency for urgency, button in self.urgencies.items() if button.isChecked()),
            positive_only=self.positive.isChecked(),
            date_from=first,
            date_to=last,
        )

    def _checked(self, field: QLineEdit) -> str | None:
        found = dicom_date(field.text())
        field.setProperty("wrong", found is None)
        field.setToolTip(BAD_DATE if found is None else "")
        field.style().unpolish(field)
        field.style().polish(field)
        return found

    def _show(self) -> None:
        query, hides = self._model.query, self._model.hides
        for urgency, button in self.urgencies.items():
            button.setChecked(urgency in query.urgencies)
            button.setEnabled(not hides)
            button.setToolTip(BLIND_TEXT if hides else f"Most urgent positive finding: {urgency}")
        self.positive.setChecked(query.positive_only)
        self.positive.setEnabled(not hides)
        self.positive.setToolTip(BLIND_TEXT if hides else "")
        for field, value in ((self.date_from, query.date_from), (self.date_to, query.date_to)):
            shown = f"{value[:4]}-{value[4:6]}-{value[6:]}" if value else ""
            if dicom_date(field.text()) != value:
                field.setText(shown)
                self._checked(field)


class SavedFilters(QWidget):
    """Choose, save and delete filters."""

    saved_as = Signal(str)

    def __init__(
        self, model: WorklistModel, actions: WorklistActions, resources: Path, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self.choose = QToolButton()
        self.choose.setIcon(theme.icon(resources, "bookmark"))
        self.choose.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.choose.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.choose.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.choose.setToolTip("Saved filters")
        self.menu = QMenu(self)
        self.choose.setMenu(self.menu)
        self.save = QToolButton(text="Save…", toolTip="Save search, filter and order under a name")
        self.save.clicked.connect(self.ask_name)
        self.delete = QToolButton(text="Delete", toolTip="Delete this saved filter")
        self.delete.clicked.connect(self._delete)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        row.addWidget(self.choose, 1)
        row.addWidget(self.save)
        row.addWidget(self.delete)
        for button in (self.choose, self.save, self.delete):
            button.setProperty("role", "chip")
        bind(self, model.filters_changed, self._fill)
        bind(self, model.query_changed, self._show)
        self._fill()

    def ask_name(self) -> None:
        """Ask under which name to save, without holding up the window."""
        dialog = QInputDialog(self.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Save filter")
        dialog.setLabelText("Name of the filter:")
        chosen = self._model.chosen_filter
        dialog.setTextValue(chosen.name if chosen is not None else self._model.query.search)
        dialog.textValueSelected.connect(self._save)
        dialog.open()

    def _save(self, name: str) -> None:
        if name.strip():
            self._actions.save_filter(name.strip())

    def _delete(self) -> None:
        chosen = self._model.chosen_filter
        if chosen is not None:
            self._actions.delete_filter(chosen)

    def _fill(self) -> None:
        self.menu.clear()
        for item in self._model.filters:
            self.menu.addAction(item.name, lambda item=item: self._choose(item))
        if not self._model.filters:
            self.menu.addAction("No filter is saved yet").setEnabled(False)
        self._show()

    def _choose(self, item: SavedFilter) -> None:
        self._model.query = item.query

    def _show(self) -> None:
        chosen = self._model.chosen_filter
        self.choose.setText(chosen.name if chosen is not None else "Saved filters")
        self.delete.setEnabled(chosen is not None)
        self.save.setEnabled(self._model.narrowed or chosen is not None)
