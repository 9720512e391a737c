"""The filters of the findings panel as a row of chips."""

from __future__ import annotations

from functools import partial

from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QToolButton, QWidget

from app.viewmodels.finding_filters import FILTERS, FilterKey
from app.viewmodels.findings import FindingsModel
from app.viewmodels.keys import KeysModel
from app.views import theme
from app.views.bindings import bind

COUNTED = frozenset({"positive", "uncertain"})  # the other numbers stand elsewhere, or never change


class FilterChips(QWidget):
    """One chip a filter, some with how many findings they let pass; one that cannot be used says why."""

    def __init__(self, model: FindingsModel, keys: KeysModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._keys = model, keys
        self.chips = {key: self._chip(key) for key in FILTERS}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        for chip in self.chips.values():
            row.addWidget(chip)
        bind(self, model.rows_changed, self._show)
        bind(self, model.row_changed, self._show)
        bind(self, keys.changed, self._show)
        self._show()

    def _chip(self, key: FilterKey) -> QToolButton:
        chip = QToolButton(self)
        chip.setCheckable(True)
        chip.setProperty("role", "chip")
        chip.setFont(theme.small_font(chip))
        chip.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        chip.clicked.connect(partial(self._toggle, key))
        return chip

    def _toggle(self, key: FilterKey) -> None:
        self._model.toggle_filter(key)
        self._show()

    def _show(self, *_: object) -> None:
        for key, chip in self.chips.items():
            problem = self._model.filter_problem(key)
            usable = bool(self._model.rows) and not problem
            counted = usable and key in COUNTED
            chip.setText(f"{FILTERS[key].label} {self._model.n_passing(key)}" if counted else FILTERS[key].label)
            chip.setEnabled(usable)
            chip.setChecked(key in self._model.filters and usable)
            said = problem or f"{FILTERS[key].help}."
            chip.setToolTip(f"{FILTERS[key].label}{self._keys.hint(f'filter_{key}')}\n{said}")
            chip.setAccessibleName(f"Show only: {FILTERS[key].label}")
