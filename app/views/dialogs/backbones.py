"""The backbones that models stand on: which weights are here, and adding published ones."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QTableWidgetItem, QVBoxLayout, QWidget

from app.viewmodels.backbones import BackboneActions, BackboneRow, BackbonesModel, WeightsRow
from app.viewmodels.jobs import JobsModel
from app.views.bindings import bind
from app.views.dialogs.add_weights import AddWeightsDialog
from app.views.dialogs.models import make_table

COLUMNS = ("Backbone", "Kind", "State", "Digest", "Size", "File")
KINDS = {2: "slices", 3: "volumes"}
EXPLANATION = (
    "A model stands on a frozen network that was trained elsewhere. Only one such network ships along; the weights of "
    "the others you get from their publishers, under their licences, and add here. They stay on this computer."
)


class BackbonesDialog(QDialog):
    """Shows `BackbonesModel`. Closing it does not stop a conversion."""

    def __init__(
        self, model: BackbonesModel, jobs: JobsModel, actions: BackboneActions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._model, self._jobs, self._actions = model, jobs, actions
        self._lines: list[tuple[BackboneRow, WeightsRow | None]] = []
        self.adding: AddWeightsDialog | None = None
        self.setWindowTitle("Backbones")
        explanation = QLabel(EXPLANATION, wordWrap=True)
        explanation.setProperty("role", "muted")
        self.table = make_table(COLUMNS)
        self.details = QLabel(wordWrap=True)
        self.broken = QLabel(wordWrap=True)
        self.broken.setProperty("role", "warning")
        self.add = QPushButton("Add weights…")
        self.add.clicked.connect(self._open_adding)
        close = QPushButton("Close")
        close.clicked.connect(self.reject)
        row = QHBoxLayout()
        row.addWidget(self.add)
        row.addStretch(1)
        row.addWidget(close)
        layout = QVBoxLayout(self)
        for widget in (explanation, self.table, self.details, self.broken):
            layout.addWidget(widget)
        layout.addLayout(row)
        self.resize(960, 520)
        self.table.itemSelectionChanged.connect(self._describe)
        bind(self, model.changed, self._show)
        self._show()

    @property
    def selected(self) -> BackboneRow | None:
        """The backbone of the line selected in the table."""
        place = self.table.currentRow()
        return self._lines[place][0] if 0 <= place < len(self._lines) else None

    def _show(self) -> None:
        place = max(self.table.currentRow(), 0)
        self._lines = [(row, weights) for row in self._model.rows for weights in (row.weights or (None,))]
        self.table.setRowCount(len(self._lines))
        for line, (row, weights) in enumerate(self._lines):
            for column, text in enumerate((row.display_name, KINDS[row.dimensions], *_state(row, weights))):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{row.name}\n{row.licence}")
                self.table.setItem(line, column, item)
        self.table.selectRow(min(place, len(self._lines) - 1))
        self.broken.setText("\n".join(self._model.broken))
        self.broken.setVisible(bool(self._model.broken))
        self._describe()

    def _describe(self) -> None:
        place = self.table.currentRow()
        if not 0 <= place < len(self._lines):
            self.details.setText("The backbones are being read.")
            return
        row, weights = self._lines[place]
        self.details.setText(describe(row, weights))

    def _open_adding(self) -> None:
        if self.adding is not None:
            self.adding.raise_()
            return
        chosen = self.selected
        self.adding = AddWeightsDialog(self._model, self._jobs, self._actions, chosen.name if chosen else "", self)
        self.adding.finished.connect(self._forget_adding)
        self.adding.show()

    def _forget_adding(self) -> None:
        if self.adding is not None:
            self.adding.deleteLater()
            self.adding = None


def _state(row: BackboneRow, weights: WeightsRow | None) -> tuple[str, str, str, str]:
    if weights is not None:
        return "weights here", weights.digest[:12], f"{weights.n_bytes / 2**20:,.1f} MiB", weights.source_name
    if row.bundled:
        return "ships along", row.bundled[:12], "", ""
    return ("needed by a model" if row.needed_by else "no weights"), "", "", ""


def describe(row: BackboneRow, weights: WeightsRow | None) -> str:
    """Say of one line where the weights are from, under which licence, and what waits for them."""
    licence, origin = (weights.licence, weights.origin) if weights else (row.licence, row.origin)
    lines = [f"Licence: {licence}", f"{'From' if weights or row.bundled else 'To be had from'}: {origin}"]
    if weights is not None:
        lines.append(f"Licence accepted on {weights.accepted}; {weights.n_parameters:,} parameters.")
    if row.needed_by:
        lines.append(f"Needed by: {', '.join(row.needed_by)}, which cannot be used until the right weights are here.")
    return "\n".join(lines)
