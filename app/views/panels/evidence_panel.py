"""Why this finding: the panel under the viewer. One tab a question, one plain sentence above each answer."""

from __future__ import annotations

from html import escape
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedWidget, QTabBar, QToolButton, QVBoxLayout, QWidget

from app.viewmodels.evidence import TABS, Tab
from app.viewmodels.review import ReviewModels
from app.views import theme
from app.views.bindings import bind
from app.views.evidence_strip import EvidenceStrip
from app.views.why.experts_chart import ExpertsChart, usage_text
from app.views.why.map_page import MapPage
from app.views.why.similar_page import SimilarPage
from app.views.why.waterfall_chart import WaterfallChart
from app.views.why.what_if_chart import WhatIfChart

HELP = (
    "The ledger splits this finding's logit exactly over slices, frozen path and experts. Attention is one "
    "distribution shared by all findings, so it is not evidence for one finding. The classifier makes no statement "
    "on left or right."
)
EXACT = "Computed, not approximated."
EXACT_HELP = (
    "Without a slice its attention is shared out among the others. Without an expert the other gates stay as they were "
    "routed, and attention follows. It is not what a scan without that anatomy would give."
)
NAMES: tuple[Tab, ...] = tuple(TABS)


class EvidencePanel(QWidget):
    """Shows `EvidenceModel`, `ExplanationModel` and the controls of `OverlayModel`."""

    def __init__(self, models: ReviewModels, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models, self._model, self._keys = models, models.evidence, models.keys
        self.tabs = QTabBar()
        self.tabs.setExpanding(False)
        self.tabs.setDrawBase(False)
        self.tabs.setAccessibleName("Reasons")
        for name in NAMES:
            self.tabs.addTab(TABS[name])
        self.text = QLabel(wordWrap=True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setProperty("role", "muted")
        self._make_buttons(resources)
        self._make_pages()
        self._lay_out()
        self.setToolTip(HELP)
        self.what_if.setToolTip(EXACT_HELP)
        self._wire()
        self._show_tab()

    def _make_buttons(self, resources: Path) -> None:
        self.split = QToolButton(text="Split", checkable=True)
        self.split.toggled.connect(self._set_split)
        self.axis = QToolButton(text="Experts", checkable=True)
        self.axis.toggled.connect(self._set_axis)
        self.order = QToolButton(text="Largest first", checkable=True, checked=True)
        self.order.toggled.connect(self._set_order)
        self.jump = QToolButton(text="Jump")
        self.jump.setIcon(theme.icon(resources, "jump"))
        self.jump.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.jump.clicked.connect(lambda: self._model.jump_to_strongest())

    def _make_pages(self) -> None:
        models = self._models
        self.strip = EvidenceStrip(models.evidence)
        self.waterfall = WaterfallChart(models.evidence)
        self.experts = ExpertsChart(models.evidence)
        self.what_if = WhatIfChart(models.evidence)
        self.maps = MapPage(models.evidence, models.explanation, models.overlay, models.keys)
        self.similar = SimilarPage(models.explanation)
        self.pages = QStackedWidget()
        for page in (self.strip, self.waterfall, self.experts, self.what_if, self.maps, self.similar):
            self.pages.addWidget(page)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setContentsMargins(8, 0, 8, 0)
        row.setSpacing(6)
        row.addWidget(self.text, 1)
        for button in (self.split, self.axis, self.order, self.jump):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.tabs)
        layout.addLayout(row)
        layout.addWidget(self.pages, 1)

    def _wire(self) -> None:
        model = self._model
        self.tabs.currentChanged.connect(self._choose_tab)
        bind(self, model.view_changed, self._show)
        bind(self, model.split_changed, self._show_buttons)
        bind(self, model.order_changed, self._show)
        bind(self, model.tab_changed, self._show_tab)
        bind(self, self._models.explanation.changed, self._show_maps)
        bind(self, self._models.explanation.similar_changed, self._show_similar)
        bind(self, self._keys.changed, self._show_buttons)

    def tab_order(self) -> tuple[QWidget, ...]:
        """Return what Tab walks over, in order."""
        maps = self.maps
        buttons = (self.tabs, self.split, self.axis, self.order, self.jump)
        controls = (maps.method, maps.path, maps.compute, maps.cancel, maps.shown, maps.opacity)
        return (*buttons, self.strip, self.waterfall, self.experts, self.what_if, *controls, self.similar.table)

    def showEvent(self, event: QShowEvent) -> None:
        """Ask for what is only looked for once it can be seen."""
        super().showEvent(event)
        self._show_similar()

    # -- requests -----------------------------------------------------------------------------------------------

    def _choose_tab(self, place: int) -> None:
        self._model.tab = NAMES[place]

    def _set_split(self, split: bool) -> None:
        self._model.split = split

    def _set_axis(self, paths: bool) -> None:
        self._model.axis = "paths" if paths else "slices"

    def _set_order(self, largest: bool) -> None:
        self._model.order = "largest" if largest else "place"

    # -- from the models ----------------------------------------------------------------------------------------

    def _show_tab(self, *_: object) -> None:
        place = NAMES.index(self._model.tab)
        self.tabs.setCurrentIndex(place)
        self.pages.setCurrentIndex(place)
        self._show()
        self._show_similar()

    def _show_maps(self) -> None:
        if self._model.tab == "maps":
            self._show()

    def _show_similar(self) -> None:
        if self._model.tab == "similar":
            self._show()
            if self.isVisible():
                self.similar.ask()

    def _sentence(self) -> str:
        view, tab = self._model.view, self._model.tab
        if tab == "similar":
            return self.similar.sentence()
        if view is None:
            return ""
        if tab == "waterfall":
            waterfall = self._model.waterfall()
            return "" if waterfall is None else waterfall.sentence
        if tab == "experts":
            return "" if self._model.usage is None else usage_text(self._model.usage)
        if tab == "what_if":
            shown = self.what_if.shown
            return "" if shown is None else f"{shown.note or shown.sentence} {EXACT}"
        return self.maps.sentence() if tab == "maps" else view.sentence

    def _show(self, *_: object) -> None:
        view = self._model.view
        title = "Similar studies" if self._model.tab == "similar" else "Why" if view is None else view.label
        bold = f"<b style='color:{theme.TEXT.name()}'>{escape(title)}</b>"
        self.text.setText(f"{bold}&nbsp;&nbsp; {escape(self._sentence())}")  # one text, so that it wraps as one
        self._show_buttons()

    def _show_buttons(self, *_: object) -> None:
        view, tab, keys = self._model.view, self._model.tab, self._keys
        self.split.setVisible(tab == "slices")
        self.axis.setVisible(tab == "waterfall")
        self.order.setVisible(tab == "waterfall")
        self.jump.setVisible(tab in ("slices", "waterfall"))
        for button in (self.split, self.axis, self.order):
            button.setEnabled(view is not None)
        slices = view is not None and view.unit == "slice"
        self.jump.setEnabled(slices and view is not None and view.strongest_for is not None)
        for button, on in (
            (self.split, self._model.split),
            (self.axis, self._model.axis == "paths"),
            (self.order, self._model.order == "largest"),
        ):
            button.blockSignals(True)
            button.setChecked(on)
            button.blockSignals(False)
        self.split.setToolTip(f"Split every bar into the frozen path and the sum of the experts{keys.hint('split')}")
        self.axis.setToolTip(f"Over frozen path and experts instead of slices{keys.hint('waterfall_axis')}")
        self.order.setToolTip(f"Largest contributions first, or in order{keys.hint('waterfall_order')}")
        up, down = keys.hint("jump"), keys.first("jump_against")
        self.jump.setToolTip(f"Show the slice that pushed this finding up most{up}; down most: {down}")
        for place, name in enumerate(NAMES):
            self.tabs.setTabToolTip(place, f"{TABS[name]}{keys.hint(f'why_{name}')}")
