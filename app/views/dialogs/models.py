"""Installed models: verify state, activate, roll back, install."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReviewActions
from app.viewmodels.library import ModelRow, ModelsModel
from app.views.bindings import bind

COLUMNS = ("In use", "Name", "Digest", "Findings", "Backbone", "Created", "State", "Notice")
ADD_WEIGHTS = "Its backbone's weights are added under Model, Backbones."
STATES = {"verified": "verified", "failed": "damaged", "unknown": "not checked yet"}


class ModelsDialog(QDialog):
    """Shows `ModelsModel`."""

    def __init__(self, model: ModelsModel, actions: ReviewActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self.setWindowTitle("Models")
        self.table = make_table(COLUMNS)
        self.message = QLabel(wordWrap=True)
        self.message.setProperty("role", "warning")
        self.activate = QPushButton("Use this model")
        self.activate.clicked.connect(self._activate)
        self.roll_back = QPushButton("Roll back")
        self.roll_back.setToolTip("Use the model that was in use before")
        self.roll_back.clicked.connect(actions.rollback_model)
        install_folder, install_zip = QPushButton("Install folder…"), QPushButton("Install ZIP…")
        install_folder.clicked.connect(self._install_folder)
        install_zip.clicked.connect(self._install_zip)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.reject)
        row = QHBoxLayout()
        for button in (self.activate, self.roll_back, install_folder, install_zip):
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(self.message)
        layout.addLayout(row)
        self.resize(1000, 380)
        self.table.itemSelectionChanged.connect(self._enable)
        bind(self, model.changed, self._show)
        self._show()

    @property
    def selected(self) -> ModelRow | None:
        """The row selected in the table."""
        place = self.table.currentRow()
        return self._model.rows[place] if 0 <= place < len(self._model.rows) else None

    def _show(self) -> None:
        rows = self._model.rows
        self.table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            origin = f"{row.name} (bundled)" if row.bundled else row.name
            count = "" if row.n_findings is None else str(row.n_findings)
            backbone = row.backbone if row.weights_here else f"{row.backbone}: weights missing"
            texts = ("●" if row.active else "", origin, row.digest[:12], count, backbone, row.created)
            for column, text in enumerate((*texts, _state(row), row.notice)):
                item = QTableWidgetItem(text)
                item.setToolTip(row.message or text)
                self.table.setItem(place, column, item)
        if rows and self.table.currentRow() < 0:
            self.table.selectRow(next((place for place, row in enumerate(rows) if row.active), 0))
        self.roll_back.setEnabled(self._model.can_roll_back)
        self._enable()

    def _enable(self) -> None:
        row = self.selected
        self.activate.setEnabled(row is not None and not row.active and row.verify_state != "failed")
        self.message.setText(_message(row))
        self.message.setVisible(bool(self.message.text()))

    def _activate(self) -> None:
        if self.selected is not None:
            self._actions.activate_model(self.selected.digest)

    def _install_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Install a model package folder")
        if folder:
            self._actions.install_model(Path(folder))

    def _install_zip(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Install a model package", "", "Model package (*.zip)")
        if file:
            self._actions.install_model(Path(file))


def _state(row: ModelRow) -> str:
    return STATES[row.verify_state] if row.weights_here else "waits for weights"


def _message(row: ModelRow | None) -> str:
    if row is None:
        return "No model is installed."
    return row.message if row.weights_here else f"{row.message}\n{ADD_WEIGHTS}"


def make_table(columns: tuple[str, ...]) -> QTableWidget:
    """Return an empty table whose rows are selected whole and never edited."""
    table = QTableWidget(0, len(columns))
    table.setHorizontalHeaderLabels(columns)
    table.setTabKeyNavigation(False)
    table.verticalHeader().setVisible(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setStretchLastSection(True)
    return table
