"""Actions on analysis, models, training."""

from __future__ import annotations

from typing import Protocol

from app.views.commands.base import Command

ORDER = 80


class ModelTarget(Protocol):
    """What the window offers to this area."""

    def can_analyse(self) -> bool:
        """Say whether the current series is a volume that is not being analysed."""

    def can_cancel(self) -> bool:
        """Say whether a job runs."""

    def analyse_current(self) -> None:
        """Run the model on the current series."""

    def cancel_current_job(self) -> None:
        """Stop the running job."""

    def open_retrain(self) -> None:
        """Open the retraining dialog."""

    def open_backbones(self) -> None:
        """Open the backbones dialog."""

    def open_models(self) -> None:
        """Open the models dialog."""


def commands(target: ModelTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (
        Command(
            "analyse",
            "Analyse",
            ("Ctrl+Return",),
            "Run the active model on this series",
            "Model",
            target.analyse_current,
            "analyse",
            toolbar=True,
            enabled=target.can_analyse,
        ),
        Command(
            "cancel",
            "Cancel job",
            ("Ctrl+.",),
            "Stop what the status bar shows",
            "Model",
            target.cancel_current_job,
            enabled=target.can_cancel,
        ),
        Command(
            "retrain",
            "Retrain…",
            ("Ctrl+T",),
            "Make a candidate model from the feedback",
            "Model",
            target.open_retrain,
            "retrain",
            toolbar=True,
        ),
        Command(
            "models",
            "Models…",
            ("Ctrl+M",),
            "Installed models, install, activate, roll back",
            "Model",
            target.open_models,
            "models",
            toolbar=True,
        ),
        Command(
            "backbones",
            "Backbones…",
            ("Ctrl+Shift+M",),
            "The networks that models stand on; add their published weights",
            "Model",
            target.open_backbones,
        ),
    )
