"""The findings panel on the right: model and notice, search, order, the tree, and the selected finding's definition."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, QTimer
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QTreeView, QVBoxLayout, QWidget

from app.viewmodels.findings import Calibration, FindingRow, FindingsModel
from app.viewmodels.status import AnalysisStatus
from app.views import theme
from app.views.bindings import bind
from app.views.panels.findings_items import ROW_ROLE, UNCALIBRATED_SIGN, FindingDelegate, FindingsItems

SEARCH_DELAY_MS = 80
VALUE_LEGENDS: dict[Calibration, str] = {
    "all": "calibrated probability",
    "some": f"calibrated probability ({UNCALIBRATED_SIGN}&nbsp;uncalibrated score)",
    "none": "uncalibrated score",
}
URGENCY_LEGEND = " ".join(
    f"<span style='color:{theme.URGENCY[urgency].name()}'>{sign}</span>&nbsp;{urgency}"
    for urgency, sign in theme.URGENCY_SIGNS.items()
)
SORTS = (
    ("By category, urgency", ("urgency", True)),
    ("By category, value", ("value", True)),
    ("All, urgency", ("urgency", False)),
    ("All, value", ("value", False)),
)


class FindingsPanel(QWidget):
    """Shows `FindingsModel`; selection goes both ways."""

    def __init__(self, model: FindingsModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._items = FindingsItems(model)
        self._collapsed: set[str] = set()
        self.identity = _label("muted")
        self.notice = _label("warning", wrap=True)
        self.warnings = _label("warning", wrap=True)
        self.legend = _label("muted", wrap=True)
        self.progress = _label("muted")
        self.search = self._make_search(resources)
        self.sort = QComboBox()
        for text, order in SORTS:
            self.sort.addItem(text, order)
        self.sort.setAccessibleName("Order of the findings")
        self.sort.setToolTip("Order of the list; findings that the model does not cover come last")
        self.tree = self._make_tree(resources)
        self.status = _label("muted", wrap=True)
        self._lay_out()
        self._search_timer = QTimer(self, singleShot=True, interval=SEARCH_DELAY_MS)
        self._wire()
        self._show_header()
        self._show_rows()

    def _make_search(self, resources: Path) -> QLineEdit:
        search = QLineEdit(placeholderText="Search findings (Ctrl+F)")
        search.setClearButtonEnabled(True)
        search.setAccessibleName("Search findings and synonyms")
        search.setToolTip("Labels and synonyms (Ctrl+F); Return goes to the first match")
        search.addAction(theme.icon(resources, "search"), QLineEdit.ActionPosition.LeadingPosition)
        return search

    def _make_tree(self, resources: Path) -> QTreeView:
        tree = QTreeView()
        tree.setModel(self._items)
        icons = {answer: theme.icon(resources, answer) for answer in ("present", "absent", "unsure")}
        tree.setItemDelegate(FindingDelegate(icons, tree))
        tree.setHeaderHidden(True)
        tree.setIndentation(0)
        tree.setRootIsDecorated(False)
        tree.setUniformRowHeights(True)
        tree.setMouseTracking(True)
        tree.setExpandsOnDoubleClick(False)
        tree.setAccessibleName("Findings")
        tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return tree

    def _lay_out(self) -> None:
        header = QWidget()
        top = QVBoxLayout(header)
        top.setContentsMargins(10, 6, 10, 4)
        top.setSpacing(3)
        title = QHBoxLayout()
        caption = QLabel("FINDINGS")
        caption.setProperty("role", "heading")
        caption.setStyleSheet("color: #99a3ae;")
        title.setSpacing(8)
        title.addWidget(caption)
        title.addWidget(self.identity, 1)
        title.addWidget(self.progress)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.search, 1)
        row.addWidget(self.sort)
        top.addLayout(title)
        top.addWidget(self.notice)
        top.addWidget(self.warnings)
        top.addLayout(row)
        top.addWidget(self.legend)
        top.addWidget(self.status)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(header)
        layout.addWidget(self.tree, 1)

    def _wire(self) -> None:
        model = self._model
        bind(self, model.rows_changed, self._show_rows)
        bind(self, model.row_changed, self._show_progress)
        bind(self, model.selected_changed, self._show_selected)
        bind(self, model.status_changed, self._show_status)
        self._search_timer.timeout.connect(self._apply_search)
        self.search.textChanged.connect(lambda: self._search_timer.start())
        self.search.returnPressed.connect(self._finish_search)
        self.sort.currentIndexChanged.connect(self._apply_sort)
        self.tree.selectionModel().currentChanged.connect(self._choose)
        self.tree.collapsed.connect(lambda index: self._collapsed.add(_category(index)))
        self.tree.expanded.connect(lambda index: self._collapsed.discard(_category(index)))
        self.tree.clicked.connect(self._toggle_category)

    # -- from the model -----------------------------------------------------------------------------------------

    def _show_rows(self) -> None:
        for place in range(self._items.rowCount()):
            index = self._items.index(place, 0)
            self.tree.setExpanded(index, bool(self._model.filter_text) or _category(index) not in self._collapsed)
        self._show_header()
        self._show_progress()
        self._mark_selected(self._model.selected_key)
        self.tree.scrollToTop()

    def _show_header(self) -> None:
        identity = self._model.identity
        self.identity.setText("" if identity is None else f"{identity.name} · {identity.digest[:8]}")
        self.identity.setToolTip("" if identity is None else f"Model {identity.name}, {identity.digest}")
        self.notice.setText("" if identity is None else identity.notice)
        self.notice.setVisible(bool(self.notice.text()))
        self.warnings.setText("\n".join(f"⚠ {warning}" for warning in self._model.warnings))
        self.warnings.setVisible(bool(self._model.warnings))
        bar = f" · bar: {VALUE_LEGENDS[self._model.calibration]}, tick: operating point"
        self.legend.setText(URGENCY_LEGEND + (bar if self._model.n_covered else ""))
        self.legend.setVisible(bool(self._model.rows))
        self._show_status(self._model.status)

    def _show_status(self, status: AnalysisStatus) -> None:
        self.status.setText(status.text)
        self.status.setVisible(bool(status.text))

    def _show_progress(self, *_: object) -> None:
        total = len(self._model.rows)
        self.progress.setText(f"{self._model.n_reviewed} of {total} reviewed" if total else "")

    def _show_selected(self, key: str | None) -> None:
        index = self._mark_selected(key)
        if index.isValid():
            self.tree.scrollTo(index, QTreeView.ScrollHint.EnsureVisible)

    def _mark_selected(self, key: str | None) -> QModelIndex:
        index = self._items.index_of(key)
        selection = self.tree.selectionModel()
        if not index.isValid():
            selection.clearSelection()
        elif selection.currentIndex() != index or not selection.isSelected(index):
            selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        return index

    # -- from the reader ----------------------------------------------------------------------------------------

    def focus_search(self) -> None:
        """Put the caret into the search box, its text selected."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

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

    def _apply_sort(self) -> None:
        order, grouped = self.sort.currentData()
        self._model.grouped = grouped
        self._model.sort_order = order

    def _choose(self, current: QModelIndex) -> None:
        row: FindingRow | None = current.data(ROW_ROLE) if current.isValid() else None
        if row is not None:
            self._model.selected_key = row.key

    def _toggle_category(self, index: QModelIndex) -> None:
        if index.isValid() and index.internalId() == 0:
            self.tree.setExpanded(index, not self.tree.isExpanded(index))


def _label(role: str, wrap: bool = False) -> QLabel:
    label = QLabel()
    label.setProperty("role", role)
    label.setWordWrap(wrap)
    return label


def _category(index: QModelIndex) -> str:
    return str(index.data()).split("|")[0]
