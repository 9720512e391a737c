"""How far readers agree, and where they do not."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import AgreementActions
from app.viewmodels.agreement import AgreementReport, Disagreement, items_text, number_text
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import ANSWER_LABELS
from app.views.bindings import bind

ONE_READER = "Fewer than two readers have stated anything on the same findings: there is nothing to compare."
COUNTING = "Comparing…"
PAIR_HEADS = ("Reader", "Reader", "Common items", "Agree", "Cohen's kappa")
ITEM_HEADS = ("Finding", "Study", "Answers", "Decided")


class AgreementDialog(QDialog):
    """Coefficients over a table of disagreements; a row jumps to its study and finding."""

    def __init__(self, models: ReviewModels, actions: AgreementActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = models.agreement, actions
        self.setWindowTitle("Agreement of readers")
        self.blind = QCheckBox("Only what was stated blind")
        self.unsure = QCheckBox("Unsure counts as an answer of its own")
        self.summary = QLabel(COUNTING, wordWrap=True)
        self.pairs = table(PAIR_HEADS, "Pairs of readers")
        self.items = table(ITEM_HEADS, "Disagreements")
        self.open = QPushButton("Go to it (Return)")
        self.open.setAutoDefault(False)
        self._lay_out()
        self.blind.toggled.connect(self._ask)
        self.unsure.toggled.connect(self._ask)
        self.items.itemActivated.connect(lambda: self._go())
        self.open.clicked.connect(self._go)
        bind(self, models.agreement.changed, self._show)
        self._ask()

    def _lay_out(self) -> None:
        choice = QHBoxLayout()
        choice.addWidget(self.blind)
        choice.addWidget(self.unsure)
        choice.addStretch(1)
        column = QVBoxLayout(self)
        column.addLayout(choice)
        column.addWidget(self.summary)
        column.addWidget(self.pairs, 1)
        column.addWidget(QLabel("Where they differ"))
        column.addWidget(self.items, 2)
        column.addWidget(self.open, 0, Qt.AlignmentFlag.AlignRight)
        self.resize(860, 600)

    def _ask(self, *_: object) -> None:
        self._actions.load(blind_only=self.blind.isChecked(), unsure_counts=self.unsure.isChecked())

    def _show(self) -> None:
        report = self._model.report
        if report is None:
            return
        self.summary.setText(summary(report))
        fill(self.pairs, [_pair_cells(report, place) for place in range(len(report.agreement.pairs))])
        fill(self.items, [_item_cells(item) for item in report.disagreements])
        self.open.setEnabled(bool(report.disagreements))

    def _go(self) -> None:
        report, row = self._model.report, self.items.currentRow()
        if report is not None and 0 <= row < len(report.disagreements):
            item = report.disagreements[row]
            self._actions.open_item(item.series_uid, item.finding_key)


def summary(report: AgreementReport) -> str:
    """Say what was counted, and the coefficients of all readers together."""
    found = report.agreement
    if len(found.readers) < 2 or not any(pair.n_items for pair in found.pairs):
        return ONE_READER + _hidden(report)
    unsure = "unsure is an answer" if report.unsure_counts else "unsure is left out"
    basis = "stated blind" if report.blind_only else "that stand"
    return "\n".join(
        (
            f"{len(found.readers)} readers, {report.n_items} findings with statements {basis}; {unsure}."
            + _hidden(report),
            f"Fleiss' kappa {number_text(found.fleiss_kappa, found.n_fleiss)} "
            f"({items_text(found.n_fleiss)} that all readers answered)",
            f"Krippendorff's alpha {number_text(found.krippendorff_alpha, found.n_alpha)} "
            f"({items_text(found.n_alpha)} that two or more answered)",
        )
    )


def _hidden(report: AgreementReport) -> str:
    return f" {report.n_hidden} series that you still read blind are left out." if report.n_hidden else ""


def _pair_cells(report: AgreementReport, place: int) -> tuple[str, ...]:
    pair = report.agreement.pairs[place]
    observed = "–" if pair.observed is None else f"{pair.observed * 100:.0f} %"
    return pair.reader_a, pair.reader_b, str(pair.n_items), observed, number_text(pair.kappa, pair.n_items)


def _item_cells(item: Disagreement) -> tuple[str, ...]:
    decided = "" if item.consensus is None else f"{ANSWER_LABELS[item.consensus.answer]} ({item.consensus.reader})"
    return item.finding_label, item.study_text, item.answers_text, decided


def table(heads: tuple[str, ...], name: str) -> QTableWidget:
    """Return an empty table of whole rows that nobody edits."""
    made = QTableWidget(0, len(heads))
    made.setHorizontalHeaderLabels(heads)
    made.setAccessibleName(name)
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    made.verticalHeader().hide()
    header = made.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    return made


def fill(made: QTableWidget, rows: list[tuple[str, ...]]) -> None:
    """Replace the rows; the current row stays where it is, as far as there is one."""
    current = max(made.currentRow(), 0)
    made.setRowCount(len(rows))
    for row, cells in enumerate(rows):
        for column, text in enumerate(cells):
            cell = QTableWidgetItem(text)
            cell.setToolTip(text)
            made.setItem(row, column, cell)
    if rows:
        made.setCurrentCell(min(current, len(rows) - 1), 0)
    made.resizeRowsToContents()
