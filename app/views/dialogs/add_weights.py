"""Adding published weights: backbone, file, licence and origin, then progress until they are stored."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.backbones import FAMILY_END, BackboneActions, BackboneRequest, BackboneRow, BackbonesModel
from app.viewmodels.jobs import JobsModel
from app.views.bindings import bind

WEIGHTS_FILTER = "Checkpoints (*.safetensors *.safetensors.index.json *.pth *.pt *.bin);;All files (*)"
CONFIG_FILTER = "Configuration (*.json);;All files (*)"
POOLINGS = (("own", "what the network does itself"), ("token", "class token"), ("avg", "average over positions"))
ACCEPT = "I have read the licence where these weights are published, and I accept it."
WIDTH_PX = 640


class AddWeightsDialog(QDialog):
    """Asks for everything that a conversion needs. Closing it does not stop one."""

    def __init__(
        self,
        model: BackbonesModel,
        jobs: JobsModel,
        actions: BackboneActions,
        chosen: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._model, self._jobs, self._actions = model, jobs, actions
        self._rows = tuple(row for row in model.rows if row.is_family or FAMILY_END not in row.name)
        self.setWindowTitle("Add weights")
        self._make_fields()
        self._make_buttons()
        self._lay_out()
        self._choose(chosen)
        self.backbone.currentIndexChanged.connect(self._follow_backbone)
        for edit in (self.network, self.file, self.config, self.licence, self.origin):
            edit.textChanged.connect(self._enable)
        self.accepted_terms.toggled.connect(self._enable)
        bind(self, model.conversion_changed, self._follow_conversion)
        bind(self, jobs.changed, self._follow_progress)
        self._follow_backbone()
        self._follow_conversion()

    # -- construction -------------------------------------------------------------------------------------------

    def _make_fields(self) -> None:
        self.backbone = QComboBox()
        for row in self._rows:
            self.backbone.addItem(row.display_name, row.name)
        self.network = QLineEdit(placeholderText="vit_small_patch16_224")
        self.pooled = QComboBox()
        for key, text in POOLINGS:
            self.pooled.addItem(text, key)
        self.file, self.config = QLineEdit(), QLineEdit()
        self.file.setPlaceholderText("safetensors, its index, .pth or .pt")
        self.licence, self.origin = QLineEdit(), QLineEdit()
        self.accepted_terms = QCheckBox(ACCEPT)
        self.message = QLabel(wordWrap=True)
        self.progress = QProgressBar()

    def _make_buttons(self) -> None:
        self.convert = QPushButton("Add")
        self.convert.setDefault(True)
        self.convert.clicked.connect(self._ask)
        self.stop = QPushButton("Stop")
        self.stop.clicked.connect(self._actions.cancel)
        self.close_button = QPushButton("Close")
        self.close_button.clicked.connect(self.reject)

    def _lay_out(self) -> None:
        self.form = QFormLayout()
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.config_row = _with_browse(self.config, self._browse_config)
        for label, field in (
            ("Backbone", self.backbone),
            ("Network of timm", self.network),
            ("Feature", self.pooled),
            ("File", _with_browse(self.file, self._browse_file)),
            ("config.json", self.config_row),
            ("Licence", self.licence),
            ("From", self.origin),
        ):
            self.form.addRow(label, field)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for button in (self.convert, self.stop, self.close_button):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.addLayout(self.form)
        for widget in (self.accepted_terms, self.progress, self.message):
            column.addWidget(widget)
        column.addStretch(1)
        column.addLayout(buttons)
        self.resize(WIDTH_PX, 360)

    # -- what was chosen ----------------------------------------------------------------------------------------

    @property
    def row(self) -> BackboneRow | None:
        """The backbone chosen, or the family of it."""
        place = self.backbone.currentIndex()
        return self._rows[place] if place >= 0 else None

    def request(self) -> BackboneRequest | None:
        """Return what is asked for, or None while something is missing."""
        row = self.row
        texts = [edit.text().strip() for edit in (self.network, self.file, self.config, self.licence, self.origin)]
        network, file, config, licence, origin = texts
        if row is None or not (file and licence and origin and self.accepted_terms.isChecked()):
            return None
        if (row.is_family and not network) or (row.needs_config and not config):
            return None
        name = row.name + network if row.is_family else row.name
        pooled = self.pooled.currentData() if row.is_family else None
        return BackboneRequest(Path(file), name, Path(config) if config else None, licence, origin, pooled)

    def _choose(self, name: str) -> None:
        """Begin with a backbone; a member of a family is the family and the network's name."""
        family, separator, member = name.partition(FAMILY_END)
        names = [row.name for row in self._rows]
        if family + separator in names:
            self.backbone.setCurrentIndex(names.index(family + separator))
            self.network.setText(member)

    def _follow_backbone(self, *_: object) -> None:
        row = self.row
        if row is None:
            return
        for field, wanted in (
            (self.network, row.is_family),
            (self.pooled, row.is_family),
            (self.config_row, row.needs_config or row.is_family),
        ):
            self.form.setRowVisible(field, wanted)
        self.config.setPlaceholderText(
            "published beside the weights" + ("" if row.needs_config else ", if there is one")
        )
        for edit, text in ((self.licence, row.licence), (self.origin, row.origin)):
            edit.setText(text)
            edit.setCursorPosition(0)
            edit.setToolTip(text)
        self.accepted_terms.setChecked(False)
        self._enable()

    def _browse_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Published weights", "", WEIGHTS_FILTER)
        if file:
            self.file.setText(file)

    def _browse_config(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Published configuration", "", CONFIG_FILTER)
        if file:
            self.config.setText(file)

    # -- the conversion -----------------------------------------------------------------------------------------

    def _ask(self) -> None:
        request = self.request()
        if request is not None:
            self._actions.add(request)

    def _enable(self, *_: object) -> None:
        running = self._model.conversion.state == "running"
        self.convert.setEnabled(not running and self.request() is not None)
        self.stop.setEnabled(running)

    def _follow_conversion(self) -> None:
        conversion = self._model.conversion
        self.progress.setVisible(conversion.state == "running")
        self.message.setProperty("role", "warning" if conversion.state == "failed" else "muted")
        self.message.style().unpolish(self.message)
        self.message.style().polish(self.message)
        self.message.setText("\n".join(part for part in (conversion.message, conversion.hint) if part))
        self._follow_progress()
        self._enable()

    def _follow_progress(self) -> None:
        conversion = self._model.conversion
        if conversion.state != "running":
            return
        job = next((row for row in self._jobs.rows if row.id == conversion.job_id), None)
        waits = job is None or job.state == "queued"
        self.progress.setRange(0, 0 if job is None else job.total)
        self.progress.setValue(0 if job is None else job.done)
        self.message.setText("Waits for the model's other work." if waits or job is None else job.text)


def _with_browse(edit: QLineEdit, browse: object) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    button = QPushButton("Browse…")
    button.setAutoDefault(False)
    button.clicked.connect(browse)
    row.addWidget(edit, 1)
    row.addWidget(button)
    return holder
