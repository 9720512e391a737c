"""What computes: device, precision, CPU runtime, threads and the cache; applied by another compute worker."""

from __future__ import annotations

from typing import Any, cast

from PySide6.QtCore import QSignalBlocker
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from app.viewmodels.computing import ComputingActions, ComputingChoice, ComputingModel
from app.views.bindings import bind
from engine.inference.compute import CPU_RUNTIMES, DEVICES, PRECISIONS

MOST_THREADS, MOST_CACHE_MB = 1024, 1 << 24
EXPLANATION = (
    "Only the backbone goes by this; everything after it is computed in float32 on the CPU. An analysis that runs "
    "finishes as it began; then a new compute worker takes over."
)
DEVICE_WORDS = {"auto": "Automatic", "cpu": "CPU", "cuda": "CUDA GPU", "mps": "Apple GPU"}
PRECISION_WORDS = {"auto": "Automatic", "float32": "float32", "bfloat16": "bfloat16"}
RUNTIME_WORDS = {"auto": "Automatic", "torch": "torch", "openvino": "OpenVINO"}


class ComputingPage(QWidget):
    """Shows `ComputingModel`; what is changed here holds once it is applied."""

    def __init__(self, model: ComputingModel, actions: ComputingActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self._shown = model.choice
        self.device, self.precision, self.cpu_runtime = QComboBox(), QComboBox(), QComboBox()
        self.threads = QSpinBox(minimum=0, maximum=MOST_THREADS, specialValueText="Automatic")
        self.cache_limit = QSpinBox(minimum=0, maximum=MOST_CACHE_MB, singleStep=256, suffix=" MiB")
        self.cache_limit.setSpecialValueText("Keep nothing")
        self.cache_limit.setGroupSeparatorShown(True)
        self.cache_size = QLabel()
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Remove all prepared volumes and slice features; they are computed again when needed")
        self.state = QLabel(wordWrap=True)
        self.apply, self.revert = QPushButton("Apply"), QPushButton("Revert")
        for button in (self.clear, self.apply, self.revert):
            button.setAutoDefault(False)
        self._lay_out()
        self._fill()
        self._wire()
        actions.measure_cache()

    def _lay_out(self) -> None:
        explanation = QLabel(EXPLANATION, wordWrap=True)
        explanation.setProperty("role", "muted")
        cache = QHBoxLayout()
        cache.addWidget(self.cache_size, 1)
        cache.addWidget(self.clear)
        form = QFormLayout()
        for name, field in (
            ("Device", self.device),
            ("Precision", self.precision),
            ("CPU runtime", self.cpu_runtime),
            ("CPU threads", self.threads),
            ("Cache limit", self.cache_limit),
        ):
            field.setAccessibleName(name)
            form.addRow(name, field)
        form.addRow("Cache holds", cache)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.revert)
        buttons.addWidget(self.apply)
        column = QVBoxLayout(self)
        column.addWidget(explanation)
        column.addLayout(form)
        column.addWidget(self.state)
        column.addStretch(1)
        column.addLayout(buttons)

    def _fill(self) -> None:
        for box, values in ((self.device, DEVICES), (self.precision, PRECISIONS), (self.cpu_runtime, CPU_RUNTIMES)):
            for value in values:
                box.addItem(value, value)
        self._put(self._model.choice)
        self._show()

    def _wire(self) -> None:
        for box in (self.device, self.precision, self.cpu_runtime):
            box.currentIndexChanged.connect(self._enable)
        for spin in (self.threads, self.cache_limit):
            spin.valueChanged.connect(self._enable)
        self.apply.clicked.connect(lambda: self._actions.choose(self.choice))
        self.revert.clicked.connect(lambda: self._put(self._model.choice))
        self.clear.clicked.connect(self._actions.clear_cache)
        bind(self, self._model.changed, self._show)

    @property
    def choice(self) -> ComputingChoice:
        """What the fields say."""
        return ComputingChoice(
            self.device.currentData(),
            self.precision.currentData(),
            self.cpu_runtime.currentData(),
            self.threads.value() or None,
            self.cache_limit.value(),
        )

    def _put(self, choice: ComputingChoice) -> None:
        """Let the fields say this."""
        fields: tuple[tuple[QComboBox, str], ...] = (
            (self.device, choice.device),
            (self.precision, choice.precision),
            (self.cpu_runtime, choice.cpu_runtime),
        )
        for box, value in fields:
            with QSignalBlocker(box):
                box.setCurrentIndex(box.findData(value))
        for spin, number in ((self.threads, choice.threads or 0), (self.cache_limit, choice.cache_limit_mb)):
            with QSignalBlocker(spin):
                spin.setValue(number)
        self._shown = choice
        self._enable()

    def _show(self) -> None:
        model, worker = self._model, self._model.worker
        missing = () if worker is None else tuple(name for name in DEVICES[1:] if name not in worker.devices)
        _label(self.device, DEVICE_WORDS, missing, "not available on this computer")
        _label(self.precision, PRECISION_WORDS, (), "")
        no_openvino = ("openvino",) if worker is not None and not worker.openvino else ()
        _label(self.cpu_runtime, RUNTIME_WORDS, no_openvino, "not installed")
        if model.choice != self._shown:
            self._put(model.choice)
        self.cache_size.setText(model.cache_text)
        self.state.setText(model.state_text)
        self.state.setProperty("role", "warning" if model.failed else "muted")
        self.state.style().unpolish(self.state)
        self.state.style().polish(self.state)
        self._enable()

    def _enable(self, *_: Any) -> None:
        changed = self.choice != self._model.choice
        self.apply.setEnabled(changed)
        self.apply.setToolTip("" if changed else "Nothing is changed.")
        self.revert.setEnabled(changed)


def _label(box: QComboBox, words: dict[str, str], missing: tuple[str, ...], reason: str) -> None:
    """Name the entries; what is missing here stays in the list, says so, and cannot be chosen."""
    entries = cast(QStandardItemModel, box.model())
    for row in range(box.count()):
        value = box.itemData(row)
        absent = value in missing
        box.setItemText(row, f"{words[value]} ({reason})" if absent else words[value])
        entries.item(row).setEnabled(not absent)
