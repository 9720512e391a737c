"""Retraining from feedback: what is used, progress with a live curve, then parent against candidate."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import RetrainOptions, ReviewActions
from app.viewmodels.training import ComparisonRow, TrainingModel, TrainingPlan
from app.views import theme
from app.views.bindings import bind
from app.views.dialogs.kept_out import KeptOutList
from app.views.dialogs.models import make_table
from app.views.loss_curve import LossCurve

COLUMNS = ("Finding", "Positive / n", "In use, AUC", "Candidate, AUC", "Difference [95 % CI]", "q", "Note")
Q_TOOLTIP = (
    "The share of false alarms to expect among findings with a q this small or smaller (paired DeLong test, "
    "Benjamini and Hochberg). A difference is coloured where q is at most 0.05."
)
Q_CLEAR = 0.05
EXPLANATION = (
    "Retraining writes a candidate beside the model in use. Nothing changes until you compare the two on the held-out "
    "set and activate the candidate; one step back stays possible. Findings without a verdict are left out of the "
    "loss: silence is not agreement."
)
COUNTING = "The feedback is being counted…"
NOTHING_YET = "Progress, the losses, and the comparison of the candidate with the model in use come here."


class RetrainDialog(QDialog):
    """Shows `TrainingModel`. Closing it does not stop a training."""

    def __init__(self, model: TrainingModel, actions: ReviewActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self.setWindowTitle("Retrain from feedback")
        self.plan = QLabel(wordWrap=True)
        self.description = QLineEdit(placeholderText="Why (kept in the candidate's record)")
        self.description.setAccessibleName("Why")
        self.kept_out = KeptOutList(model, actions)
        self.progress = QProgressBar()
        self.progress_text = QLabel(wordWrap=True)
        self.message = QLabel(wordWrap=True)
        self.message.setProperty("role", "warning")
        self.curve = LossCurve()
        self.summary = QLabel(wordWrap=True)
        self.table = make_table(COLUMNS)
        self.table.horizontalHeaderItem(COLUMNS.index("q")).setToolTip(Q_TOOLTIP)
        self.pages = QStackedWidget()
        self._make_buttons()
        self._lay_out()
        bind(self, model.changed, self._show)
        bind(self, model.curve_changed, self._show_curve)
        self._show()
        self._show_curve()
        self.resize(920, 680)

    def _make_buttons(self) -> None:
        self.start = QPushButton("Start retraining")
        self.start.clicked.connect(self._start)
        self.cancel = QPushButton("Stop")
        self.cancel.clicked.connect(self._actions.cancel_retraining)
        self.activate = QPushButton("Activate candidate")
        self.activate.clicked.connect(self._activate)
        self.discard = QPushButton("Discard candidate")
        self.discard.clicked.connect(self._discard)
        self.close_button = QPushButton("Close")
        self.close_button.clicked.connect(self.reject)

    def _lay_out(self) -> None:
        explanation = QLabel(EXPLANATION, wordWrap=True)
        explanation.setProperty("role", "muted")
        running = _page(self.progress_text, self.progress, self.curve)
        empty = QLabel(NOTHING_YET, alignment=Qt.AlignmentFlag.AlignCenter, wordWrap=True)
        empty.setProperty("role", "muted")
        compared = _page(self.summary, self.table)
        for page in (_page(empty), running, compared):
            self.pages.addWidget(page)
        buttons = QHBoxLayout()
        for button in (self.start, self.cancel, self.activate, self.discard):
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        for widget in (self.plan, explanation, self.description, self.kept_out, self.message):
            layout.addWidget(widget)
        layout.addWidget(self.pages, 1)
        layout.addLayout(buttons)

    # -- from the model -----------------------------------------------------------------------------------------

    def _show(self) -> None:
        model = self._model
        running, finished = model.state == "running", model.state == "finished"
        self.plan.setText(plan_text(model.plan) if model.planned else COUNTING)
        reasons = (model.message, "" if running or finished else model.blocked)
        self.message.setText("\n".join(dict.fromkeys(reason for reason in reasons if reason)))
        self.message.setVisible(bool(self.message.text()))
        for widget in (self.description, self.kept_out):
            widget.setVisible(not running and not finished)
        self.progress.setRange(0, model.total)
        self.progress.setValue(model.done)
        self.progress_text.setText(model.progress_text)
        self.pages.setCurrentIndex(2 if finished else (1 if running or model.curve else 0))
        self.start.setVisible(not running and not finished)
        self.start.setEnabled(model.can_start)
        self.cancel.setVisible(running)
        for button in (self.activate, self.discard):
            button.setVisible(finished)
        self._show_candidate()

    def _show_candidate(self) -> None:
        candidate = self._model.candidate
        if candidate is None:
            return
        head = f"Candidate {candidate.name} · {candidate.digest[:8]}. {candidate.notice}"
        self.summary.setText(f"{head}\n{candidate.summary}" if candidate.summary else head)
        self.table.setRowCount(len(candidate.rows))
        for place, row in enumerate(candidate.rows):
            for column, (text, color) in enumerate(comparison_cells(row)):
                item = QTableWidgetItem(text)
                item.setForeground(color)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(place, column, item)

    def _show_curve(self) -> None:
        self.curve.set_points(self._model.curve)
        self.progress_text.setText(self._model.progress_text)

    # -- from the reader ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._actions.start_retraining(RetrainOptions(description=self.description.text().strip()))

    def _activate(self) -> None:
        if self._model.candidate is not None:
            self._actions.activate_model(self._model.candidate.digest)

    def _discard(self) -> None:
        if self._model.candidate is not None:
            self._actions.discard_candidate(self._model.candidate.path)


def plan_text(plan: TrainingPlan) -> str:
    """Say what will be used."""
    if plan.n_reviewed == 0:
        return "No verdict that states presence or absence is in the store yet."
    base = f" Base: {plan.base_name}." if plan.base_name else ""
    findings = "1 reviewed finding" if plan.n_reviewed == 1 else f"{plan.n_reviewed} reviewed findings"
    studies = "1 study" if plan.n_studies == 1 else f"{plan.n_studies} studies"
    return f"Will use {findings} of {studies}; the model was disagreed with {plan.n_disagree} ×.{base}"


def comparison_cells(row: ComparisonRow) -> tuple[tuple[str, QColor], ...]:
    """Return the cells of one finding with their colours."""
    count = f"{row.n_positive} / {row.n_total}"
    if row.parent_auc is None or row.candidate_auc is None:
        note = row.note or "too few"
        texts = (row.label, count, "–", "–", "–", "–", note)
        return tuple((text, theme.MUTED) for text in texts)
    change = round(row.candidate_auc - row.parent_auc, 3) + 0.0
    clear = row.q is None or row.q <= Q_CLEAR
    color = theme.TEXT if not clear or change == 0 else (theme.GOOD if change > 0 else theme.DANGER)
    numbers = (f"{row.parent_auc:.3f}", f"{row.candidate_auc:.3f}")
    plain = tuple((text, theme.TEXT) for text in (row.label, count, *numbers))
    q = "–" if row.q is None else "< 0.001" if row.q < 0.001 else f"{row.q:.3f}"
    return (*plain, (f"{change:+.3f}{_interval(row)}", color), (q, theme.TEXT), (row.note, theme.MUTED))


def _interval(row: ComparisonRow) -> str:
    if row.change_low is None or row.change_high is None:
        return ""
    return f" [{row.change_low:+.3f}, {row.change_high:+.3f}]"


def _page(*widgets: QWidget) -> QWidget:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, 1 if widget is widgets[-1] else 0)
    return page
