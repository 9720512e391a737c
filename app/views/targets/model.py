"""What the actions on analysis, models, training do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.views.dialogs.backbones import BackbonesDialog
from app.views.dialogs.models import ModelsDialog
from app.views.dialogs.retrain import RetrainDialog
from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance


class ModelCommands(Target):
    """Implements `ModelTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Another series, another state of it, or a job that began or ended."""
        models = self._models
        return (models.worklist.current_changed, models.queue.changed, models.jobs.changed)

    def can_analyse(self) -> bool:
        """Say whether the current series is a volume that is not being analysed."""
        item = self._models.worklist.current
        return item is not None and item.kind == "volume" and item.state != "analysing"

    def can_cancel(self) -> bool:
        """Say whether a job runs."""
        return self._models.jobs.current is not None

    def analyse_current(self) -> None:
        """Run the model on the current series."""
        uid = self._models.worklist.current_uid
        if uid is not None:
            self._actions.analyse(uid)

    def cancel_current_job(self) -> None:
        """Stop the running job."""
        self._window.job_status.request_cancel()

    def open_retrain(self) -> None:
        """Open the retraining dialog; training goes on when it is closed."""
        self._actions.plan_retraining()
        self._dialogs.show("retrain", RetrainDialog(self._models.training, self._actions, self._window))

    def open_backbones(self) -> None:
        """Open the backbones dialog; a conversion goes on when it is closed."""
        self._actions.backbones.refresh()
        dialog = BackbonesDialog(self._models.backbones, self._models.jobs, self._actions.backbones, self._window)
        self._dialogs.show("backbones", dialog)

    def open_models(self) -> None:
        """Open the models dialog."""
        self._dialogs.show("models", ModelsDialog(self._models.library, self._actions, self._window))
