"""The Similar page: the studies that the model sees as most alike; a click opens one."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.explanation import ExplanationModel, SimilarRow
from app.views import theme
from app.views.bindings import bind

COLUMNS = ("Cosine", "Patient", "Date", "Description", "By the model", "By readers")
UID_ROLE = Qt.ItemDataRole.UserRole


class SimilarPage(QWidget):
    """Shows `ExplanationModel.similar`."""

    chosen = Signal(str)
    wanted = Signal()

    def __init__(self, model: ExplanationModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.empty = QLabel(wordWrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setProperty("role", "muted")
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setAccessibleName("Similar studies")
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setWordWrap(False)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(theme.line_height(self.font()) + 9)
        self.table.horizontalHeaderItem(4).setToolTip("Findings that this model calls positive there")
        self.table.horizontalHeaderItem(5).setToolTip("Findings that readers have stated as present there")
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for column in (3, 4, 5):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.table.cellClicked.connect(self._open)
        self.table.cellActivated.connect(self._open)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 4, 2)
        column.addWidget(self.table, 1)
        column.addWidget(self.empty, 1)
        bind(self, model.similar_changed, self._show)
        self._show()

    def sentence(self) -> str:
        """What was compared."""
        return self._model.similar_text if self._model.similar else ""

    def ask(self) -> None:
        """Ask for similar studies, if they can be looked for and have not been."""
        if self._model.wants_similar:
            self.wanted.emit()

    def _open(self, row: int, _column: int) -> None:
        item = self.table.item(row, 0)
        if item is not None:
            self.chosen.emit(item.data(UID_ROLE))

    def _show(self) -> None:
        rows = self._model.similar
        self.table.setVisible(bool(rows))
        self.empty.setVisible(not rows)
        self.empty.setText(self._model.similar_text)
        self.table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            self._fill(place, row)

    def _fill(self, place: int, row: SimilarRow) -> None:
        texts = (
            f"{row.similarity:.3f}",
            row.patient,
            row.study_date,
            row.description,
            ", ".join(row.positive),
            ", ".join(row.stated),
        )
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            item.setData(UID_ROLE, row.series_uid)
            self.table.setItem(place, column, item)
