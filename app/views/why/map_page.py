"""The Maps page: which map, of which slice; compute, stop, lay it over the image; and how faithful it is."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.evidence import EvidenceModel
from app.viewmodels.explanation import CHOICES, EXPERTS, SENSITIVITY, ExplanationModel
from app.viewmodels.keys import KeysModel
from app.viewmodels.overlay import OverlayModel
from app.views.bindings import bind
from app.views.why.map_charts import FaithfulnessChart, MapChart

CONTROLS_PX = 212


class MapPage(QWidget):
    """Shows `ExplanationModel` and `OverlayModel`."""

    compute_requested = Signal()
    cancel_requested = Signal()

    def __init__(
        self,
        evidence: EvidenceModel,
        explanation: ExplanationModel,
        overlay: OverlayModel,
        keys: KeysModel,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._evidence, self._explanation, self._overlay, self._keys = evidence, explanation, overlay, keys
        self.map = MapChart(explanation)
        self.faithfulness = FaithfulnessChart(explanation)
        self._make_controls()
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 0, 4, 2)
        row.setSpacing(6)
        row.addWidget(self._controls())
        row.addWidget(self.map, 2)
        row.addWidget(self.faithfulness, 3)
        for signal in (explanation.changed, overlay.changed, evidence.view_changed, keys.changed):
            bind(self, signal, self._show)
        self._show()

    def _make_controls(self) -> None:
        self.method = QComboBox()
        self.method.setAccessibleName("Method")
        for place, choice in enumerate(CHOICES.values()):
            self.method.addItem(choice.label, choice.key)
            self.method.setItemData(place, choice.meaning, Qt.ItemDataRole.ToolTipRole)
        self.method.activated.connect(self._choose_method)
        self.path = QComboBox()
        self.path.setAccessibleName("Path")
        self.path.activated.connect(self._choose_path)
        self.place = QLabel(wordWrap=True)
        self.place.setProperty("role", "muted")
        self.compute = QToolButton()
        self.compute.clicked.connect(self.compute_requested)
        self.cancel = QToolButton(text="Stop")
        self.cancel.clicked.connect(self.cancel_requested)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.shown = QCheckBox()
        self.shown.toggled.connect(self._set_shown)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(10, 100)
        self.opacity.setPageStep(10)
        self.opacity.setAccessibleName("Opacity of the map over the image")
        self.opacity.setToolTip("Opacity of the strongest values; weaker ones are more transparent")
        self.opacity.valueChanged.connect(self._set_opacity)

    def _controls(self) -> QWidget:
        holder = QWidget()
        holder.setFixedWidth(CONTROLS_PX)
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addLayout(_row(self.method, self.path))
        column.addWidget(self.place)
        column.addLayout(_row(self.compute, self.cancel, self.progress))
        column.addLayout(_row(self.shown, self.opacity))
        column.addStretch(1)
        return holder

    # -- requests -----------------------------------------------------------------------------------------------

    def _choose_method(self) -> None:
        self._explanation.method = self.method.currentData()

    def _choose_path(self) -> None:
        self._explanation.path = self.path.currentIndex()

    def _set_shown(self, shown: bool) -> None:
        self._overlay.on = shown

    def _set_opacity(self, percent: int) -> None:
        self._overlay.opacity = percent / 100

    # -- from the models ----------------------------------------------------------------------------------------

    def sentence(self) -> str:
        """What the chosen map says, and what it must not be taken for."""
        drawn = self._explanation.current
        note = f" {drawn.note}" if drawn is not None and drawn.note else ""
        return f"{CHOICES[self._explanation.method].meaning} {SENSITIVITY}{note}"

    def _show(self, *_: object) -> None:
        model, keys = self._explanation, self._keys
        self.method.setCurrentIndex(self.method.findData(model.method))
        self._show_paths()
        view = self._evidence.view
        index = model.slice_index
        named = view.slice_name(index) if view is not None and index is not None and view.unit == "slice" else ""
        volume = f"prepared slice {index + 1} of the volume" if index is not None else "no prepared slice in view"
        self.place.setText(named or volume)
        self.compute.setText(f"Compute{keys.hint('map_compute')}")
        self.compute.setEnabled(model.can_compute)
        self.shown.setText(f"On the image{keys.hint('map_overlay')}")
        self.cancel.setToolTip(f"Stop computing{keys.hint('map_cancel')}")
        self._show_progress()
        for widget, value in ((self.shown, self._overlay.on), (self.opacity, round(self._overlay.opacity * 100))):
            widget.blockSignals(True)
            widget.setChecked(value) if isinstance(widget, QCheckBox) else widget.setValue(value)
            widget.blockSignals(False)
        self.opacity.setEnabled(self._overlay.on)

    def _show_paths(self) -> None:
        names = ["Frozen path", *(f"Expert {index + 1}" for index in range(self._explanation.n_experts))]
        if self.path.count() != len(names):
            self.path.clear()
            self.path.addItems(names)
        self.path.setCurrentIndex(self._explanation.path)
        self.path.setVisible(self._explanation.method == EXPERTS)

    def _show_progress(self) -> None:
        running, progress = self._explanation.running, self._explanation.progress
        self.cancel.setVisible(running is not None)
        self.progress.setVisible(running is not None)
        total = 0 if progress is None else progress.total
        self.progress.setRange(0, total)
        self.progress.setValue(0 if progress is None else progress.done)
        self.progress.setToolTip("" if progress is None else progress.text)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return row
