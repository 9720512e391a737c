"""The confirmation before all that is not reviewed is stated absent."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from app.viewmodels.finding_row import UNCERTAIN_RULE, FindingRow
from app.viewmodels.review import ReviewModels
from app.views import theme
from app.views.bindings import bind
from engine.findings.catalogue import Urgency

HIDDEN = "The model's output is hidden from you, so what it calls present is not left out here: you state all of it."
WIDTH_PX, LIST_PX = 560, 240


class RestAbsentDialog(QDialog):
    """Counts what would be stated absent by urgency and names it; what the model calls present is left out.

    Whatever is called present can only be stated absent by a tick at its own name. If anything changes while the
    dialog is open, it is made anew, with no ticks: what is done is what is shown.
    """

    def __init__(self, models: ReviewModels, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = models
        self._series_uid = models.reading.series_uid
        self.setWindowTitle("State the rest absent")
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self.counts = QLabel(wordWrap=True, textFormat=Qt.TextFormat.RichText)
        self.note = QLabel(wordWrap=True)
        self.note.setProperty("role", "warning")
        self.named: dict[str, QCheckBox] = {}
        self._area = QScrollArea(widgetResizable=True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setMinimumHeight(LIST_PX)
        self._area.setAccessibleName("What is stated absent")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        for widget in (self.counts, self.note, self._area, self.buttons):
            layout.addWidget(widget)
        self.setMinimumWidth(WIDTH_PX)
        bind(self, models.findings.rows_changed, self._renew)
        bind(self, models.findings.row_changed, self._renew)
        self.plan = models.findings.plan_rest()
        self._renew()
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setFocus()

    def _renew(self, *_: object) -> None:
        if self._models.reading.series_uid != self._series_uid:
            self.reject()
            return
        self.plan = self._models.findings.plan_rest()
        self._area.setWidget(self._list())
        notes = [HIDDEN] if self.plan.hidden else []
        if self.plan.uncertain:
            notes.append(
                f"{len(self.plan.uncertain)} of them (marked ≈) are uncertain: the value lies {UNCERTAIN_RULE}."
            )
        self.note.setText("\n".join(notes))
        self.note.setVisible(bool(notes))
        self._count()

    def _list(self) -> QWidget:
        holder = QWidget()
        layout = QVBoxLayout(holder)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(2)
        self.named = {}
        if self.plan.called_present:
            layout.addWidget(_heading("Called present by the model: not stated, unless you tick it"))
            for row in self.plan.called_present:
                tick = QCheckBox(f"{_sign(row)} {row.finding.label} ({row.value_name} {row.value:.2f}): absent")
                tick.toggled.connect(self._count)
                self.named[row.key] = tick
                layout.addWidget(tick)
        if self.plan.rest:
            layout.addWidget(_heading("Stated absent"))
        for row in self.plan.rest:
            layout.addWidget(QLabel(f"{_sign(row)} {row.finding.label}{' ≈' if row.uncertain else ''}"))
        layout.addStretch(1)
        return holder

    def _ticked(self) -> set[str]:
        return {key for key, tick in self.named.items() if tick.isChecked()}

    def _count(self, *_: object) -> None:
        ticked = self._ticked()
        chosen, counts = self.plan.chosen(ticked), self.plan.counts(ticked)
        by_urgency = ", ".join(f"{_colored(urgency)} {count} {urgency}" for urgency, count in counts.items())
        left_out = len(self.plan.called_present) - len(ticked)
        others = f" {left_out} that the model calls present stay unreviewed." if left_out else ""
        total = len(self._models.findings.rows)
        text = f"You state <b>{len(chosen)}</b> of {total} findings absent: {by_urgency}.{others}"
        undo = f"undo{self._models.keys.hint('undo')}"
        self.counts.setText(f"{text} Each becomes a statement of yours; {undo} takes them back together.")
        accept = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        accept.setText(f"State {len(chosen)} absent")
        accept.setEnabled(bool(chosen))

    def accept(self) -> None:
        """Ask for the statements to be saved."""
        keys = self.plan.keys(self._ticked())
        super().accept()
        self._models.feedback.absent(keys)


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setProperty("role", "panel-title")
    return label


def _sign(row: FindingRow) -> str:
    return theme.URGENCY_SIGNS[row.finding.urgency]


def _colored(urgency: Urgency) -> str:
    return f"<span style='color:{theme.URGENCY[urgency].name()}'>{theme.URGENCY_SIGNS[urgency]}</span>"
