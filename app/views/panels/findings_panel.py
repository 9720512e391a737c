"""The findings panel on the right: model and notice, progress, search, filters, order, the list, and what follows."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.findings import Calibration, FindingsModel, SortOrder
from app.viewmodels.keys import KeysModel
from app.views import theme
from app.views.bindings import bind
from app.views.panels.findings_filters import FilterChips
from app.views.panels.findings_items import UNCALIBRATED_SIGN
from app.views.panels.findings_tree import FindingsTree

SEARCH_DELAY_MS = 80
VALUE_LEGENDS: dict[Calibration, str] = {
    "all": "calibrated probability",
    "some": f"calibrated probability (hatched&nbsp;{UNCALIBRATED_SIGN}&nbsp;uncalibrated score)",
    "none": "hatched, uncalibrated score",
}
URGENCY_LEGEND = " ".join(
    f"<span style='color:{theme.URGENCY[urgency].name()}'>{sign}</span>&nbsp;{urgency}"
    for urgency, sign in theme.URGENCY_SIGNS.items()
)
SORTS: tuple[tuple[str, tuple[SortOrder, bool]], ...] = (
    ("By category", ("catalogue", True)),
    ("By category, urgency", ("urgency", True)),
    ("By category, value", ("value", True)),
    ("By urgency", ("urgency", False)),
    ("By value", ("value", False)),
)


class FindingsPanel(QWidget):
    """Shows `FindingsModel`; `rest_requested` and `impression_requested` ask for their dialogs."""

    rest_requested = Signal()
    impression_requested = Signal()

    def __init__(self, model: FindingsModel, keys: KeysModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._keys = model, keys
        self.identity = _label("muted")
        self.notice = _label("warning", wrap=True)
        self.warnings = _label("warning", wrap=True)
        self.legend = _label("muted", wrap=True)
        self.progress = _label("muted")
        self.progress_bar = QProgressBar(textVisible=False)
        self.progress_bar.setStyleSheet("min-height: 4px; max-height: 4px; border: none;")
        self.progress_bar.setAccessibleName("Findings reviewed")
        self.count = _label("muted")
        self.search = self._make_search(resources)
        self.sort = self._make_sort()
        self.density = self._make_density()
        self.filters = FilterChips(model, keys)
        self.tree = FindingsTree(model, resources)
        self.status = _label("muted", wrap=True)
        self.rest = QPushButton("Rest absent…")
        self.impression = QPushButton("Impression…")
        self._lay_out()
        self._search_timer = QTimer(self, singleShot=True, interval=SEARCH_DELAY_MS)
        self._wire()
        self._show_rows()
        self._show_density()

    def _make_search(self, resources: Path) -> QLineEdit:
        search = QLineEdit()
        search.setClearButtonEnabled(True)
        search.setAccessibleName("Search findings and synonyms")
        search.addAction(theme.icon(resources, "search"), QLineEdit.ActionPosition.LeadingPosition)
        return search

    def _make_sort(self) -> QComboBox:
        sort = QComboBox()
        sort.addItems([text for text, _ in SORTS])
        sort.setAccessibleName("Order of the findings")
        return sort

    def _make_density(self) -> QToolButton:
        density = QToolButton(text="≣")
        density.setCheckable(True)
        density.setProperty("role", "chip")
        density.setAccessibleName("Compact list")
        return density

    def _lay_out(self) -> None:
        header = QWidget()
        top = QVBoxLayout(header)
        top.setContentsMargins(10, 5, 10, 4)
        top.setSpacing(3)
        caption = QLabel("FINDINGS")
        caption.setProperty("role", "heading")
        caption.setStyleSheet("color: #99a3ae;")
        top.addLayout(_row((caption, 0), (self.identity, 1), (self.progress, 0), spacing=8))
        top.addWidget(self.progress_bar)
        top.addWidget(self.notice)
        top.addWidget(self.warnings)
        top.addLayout(_row((self.search, 1), (self.sort, 0), (self.density, 0), spacing=5))
        top.addWidget(self.filters)
        top.addWidget(self.legend)
        top.addWidget(self.status)
        below = _row((self.count, 1), (self.rest, 0), (self.impression, 0), spacing=5)
        below.setContentsMargins(10, 3, 10, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(header)
        layout.addWidget(self.tree, 1)
        layout.addLayout(below)

    def _wire(self) -> None:
        model = self._model
        bind(self, model.rows_changed, self._show_rows)
        bind(self, model.row_changed, self._show_progress)
        bind(self, model.status_changed, self._show_status)
        bind(self, model.density_changed, self._show_density)
        bind(self, self._keys.changed, self._name_keys)
        self._search_timer.timeout.connect(self._apply_search)
        self.search.textChanged.connect(lambda: self._search_timer.start())
        self.search.returnPressed.connect(self._finish_search)
        self.sort.currentIndexChanged.connect(lambda place: self._model.order_by(*SORTS[place][1]))
        self.density.clicked.connect(self.toggle_density)
        self.rest.clicked.connect(self.rest_requested)
        self.impression.clicked.connect(self.impression_requested)
        self._name_keys()

    def controls(self) -> tuple[QWidget, ...]:
        """Return what Tab walks over, in order."""
        chips = tuple(self.filters.chips.values())
        return (self.search, self.sort, self.density, *chips, self.tree, self.rest, self.impression)

    # -- from the model -----------------------------------------------------------------------------------------

    def _show_rows(self) -> None:
        if self.search.text() != self._model.filter_text and not self._search_timer.isActive():
            self.search.setText(self._model.filter_text)
        orders = [order for _, order in SORTS]
        shown = (self._model.sort_order, self._model.grouped)
        self.sort.blockSignals(True)
        self.sort.setCurrentIndex(orders.index(shown) if shown in orders else -1)
        self.sort.blockSignals(False)
        self._show_header()
        self._show_progress()

    def _show_header(self) -> None:
        identity = self._model.identity
        self.identity.setText("" if identity is None else f"{identity.name} · {identity.digest[:8]}")
        self.identity.setToolTip("" if identity is None else f"Model {identity.name}, {identity.digest}")
        self.notice.setText("" if identity is None or self._model.hidden else identity.notice)
        self.notice.setVisible(bool(self.notice.text()))
        self.warnings.setText("\n".join(f"⚠ {warning}" for warning in self._model.warnings))
        self.warnings.setVisible(bool(self._model.warnings))
        bar = f" · bar: {VALUE_LEGENDS[self._model.calibration]}, tick: operating point"
        self.legend.setText(URGENCY_LEGEND + (bar if self._model.n_covered else ""))
        self.legend.setVisible(bool(self._model.rows))
        self._show_status()

    def _show_status(self, *_: object) -> None:
        text = self._model.status_text
        nothing = "" if self._model.visible_rows() or not self._model.rows else "No finding passes search and filters."
        self.status.setText("\n".join(part for part in (text, nothing) if part))
        self.status.setVisible(bool(self.status.text()))

    def _show_progress(self, *_: object) -> None:
        model = self._model
        self.progress.setText(model.progress_text)
        self.progress_bar.setRange(0, max(len(model.rows), 1))
        self.progress_bar.setValue(model.n_reviewed)
        self.count.setText(model.count_text)
        self.rest.setEnabled(model.n_reviewed < len(model.rows))

    def _show_density(self, *_: object) -> None:
        compact = self._model.density == "compact"
        self.density.setChecked(compact)
        self.legend.setFont(theme.small_font(self.legend) if compact else self.font())

    def _name_keys(self) -> None:
        keys = self._keys
        self.search.setPlaceholderText(f"Search{keys.hint('search')}")
        self.search.setToolTip(f"Labels and synonyms{keys.hint('search')}; Return goes to the first match")
        self.sort.setToolTip(f"Order of the list{keys.hint('order')}; by value, uncovered findings come last")
        self.density.setToolTip(f"Compact list{keys.hint('density')}: as many findings at once as fit")
        self.rest.setToolTip(
            f"State absent what is not reviewed yet{keys.hint('rest_absent')}; asks first, and "
            f"undo{keys.hint('undo')} takes it back as one"
        )
        self.impression.setToolTip(f"Draft impression from what was stated{keys.hint('impression')}")

    # -- from the reader ----------------------------------------------------------------------------------------

    def focus_search(self) -> None:
        """Put the caret into the search box, its text selected."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def toggle_density(self) -> None:
        """Go from comfortable to compact and back."""
        self._model.density = "comfortable" if self._model.density == "compact" else "compact"

    def next_order(self) -> None:
        """Take the next order of the list."""
        self.sort.setCurrentIndex((self.sort.currentIndex() + 1) % self.sort.count())

    def _apply_search(self) -> None:
        self._model.filter_text = self.search.text()

    def _finish_search(self) -> None:
        """Select the first match and go to the tree."""
        self._search_timer.stop()
        self._apply_search()
        rows = self._model.visible_rows()
        if rows:
            self._model.selected_key = rows[0].key
        self.tree.setFocus(Qt.FocusReason.OtherFocusReason)


def _label(role: str, wrap: bool = False) -> QLabel:
    label = QLabel()
    label.setProperty("role", role)
    label.setWordWrap(wrap)
    return label


def _row(*parts: tuple[QWidget, int], spacing: int) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(spacing)
    for widget, stretch in parts:
        row.addWidget(widget, stretch)
    return row
