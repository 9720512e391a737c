"""The status bar's right half: what runs, how far it is, and a button to stop it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QToolButton, QWidget

from app.viewmodels.jobs import JobsModel
from app.views import theme
from app.views.bindings import bind

SHOW_AFTER_MS = 600


class JobStatus(QWidget):
    """Shows the current job of `JobsModel` once it has run for 600 ms; `cancel_requested(job_id)` on the button."""

    cancel_requested = Signal(int)

    def __init__(self, model: JobsModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._shown_id: int | None = None
        self.text = QLabel(alignment=Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.bar = QProgressBar()
        self.bar.setFixedWidth(170)
        self.bar.setTextVisible(False)
        self.cancel = QToolButton(toolTip="Cancel this job")
        self.cancel.setIcon(theme.icon(resources, "close"))
        self.cancel.setText("Cancel")
        self.cancel.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.cancel.clicked.connect(self.request_cancel)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 4, 0)
        for widget in (self.text, self.bar, self.cancel):
            row.addWidget(widget)
        self._delay = QTimer(self, singleShot=True, interval=SHOW_AFTER_MS)
        self._delay.timeout.connect(lambda: self.setVisible(self._model.current is not None))
        self.setVisible(False)
        bind(self, model.changed, self._show)
        self._show()

    def request_cancel(self) -> None:
        """Ask for the current job to stop."""
        job = self._model.current
        if job is not None and job.cancellable:
            self.cancel_requested.emit(job.id)

    def _show(self) -> None:
        job = self._model.current
        if job is None:
            self._delay.stop()
            self.setVisible(False)
            return
        others = len(self._model.rows) - 1
        waiting = f"  (+{others} more)" if others else ""
        self.text.setText(f"{job.title}: {job.text}{waiting}" if job.text else f"{job.title}{waiting}")
        self.bar.setRange(0, job.total)
        self.bar.setValue(job.done)
        self.cancel.setVisible(job.cancellable)
        if self.isHidden() and not self._delay.isActive():
            self._delay.start()
