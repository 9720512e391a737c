"""The strip under the viewer: its title with the plain sentence, the jump buttons and the painted rows."""

from __future__ import annotations

from html import escape
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from app.viewmodels.evidence import EvidenceModel
from app.views import theme
from app.views.bindings import bind
from app.views.evidence_strip import EvidenceStrip

HELP = (
    "The ledger splits this finding's logit exactly over slices, frozen path and experts. Attention is one "
    "distribution shared by all findings, so it is not evidence for one finding. The classifier makes no statement "
    "on left or right."
)


class EvidencePanel(QWidget):
    """Shows `EvidenceModel`."""

    def __init__(self, model: EvidenceModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.text = QLabel(wordWrap=True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setProperty("role", "muted")
        self.split = QToolButton(text="Split (B)", checkable=True)
        self.split.setToolTip("Split every bar into the frozen path and the sum of the experts (B)")
        self.split.toggled.connect(self._set_split)
        self.jump = QToolButton(text="Jump (J)")
        self.jump.setIcon(theme.icon(resources, "jump"))
        self.jump.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.jump.setToolTip("Show the slice that pushed this finding up most (J); down most: Shift+J")
        self.jump.clicked.connect(lambda: self._model.jump_to_strongest())
        self.strip = EvidenceStrip(model)
        row = QHBoxLayout()
        row.setContentsMargins(8, 2, 8, 0)
        row.setSpacing(10)
        row.addWidget(self.text, 1)
        row.addWidget(self.split)
        row.addWidget(self.jump)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(row)
        layout.addWidget(self.strip, 1)
        self.setToolTip(HELP)
        bind(self, model.view_changed, self._show)
        bind(self, model.split_changed, self._show_split)
        self._show()

    def _show(self) -> None:
        view = self._model.view
        title, sentence = ("Evidence", "") if view is None else (view.label, view.sentence)
        bold = f"<b style='color:{theme.TEXT.name()}'>{escape(title)}</b>"
        self.text.setText(f"{bold}&nbsp;&nbsp; {escape(sentence)}")  # one text, so that it wraps as one
        self.jump.setEnabled(view is not None and view.strongest_for is not None)
        self.split.setEnabled(view is not None)

    def _set_split(self, split: bool) -> None:
        self._model.split = split

    def _show_split(self, split: bool) -> None:
        self.split.setChecked(split)
