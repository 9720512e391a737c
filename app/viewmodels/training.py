"""Retraining from feedback: what will be used, how it goes, and how the candidate compares with its parent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psygnal import Signal

TrainingState = Literal["idle", "running", "finished", "failed", "cancelled"]


@dataclass(frozen=True)
class TrainingPlan:
    """What a retraining would use.

    Attributes
    ----------
    n_reviewed
        Findings with a standing verdict that states presence or absence, over all studies.
    n_studies
        Studies that they come from.
    base_name
        The model that would be retrained.
    blocked
        Why retraining cannot start, in words; empty if it can.
    """

    n_reviewed: int = 0
    n_studies: int = 0
    n_disagree: int = 0
    base_name: str = ""
    blocked: str = ""


@dataclass(frozen=True)
class KeptOut:
    """An imported cohort whose test part stays out of a retraining.

    Attributes
    ----------
    path
        Its folder, or ``cohort.json``.
    text
        What of it stays out; empty until it has been read.
    problem
        Why it cannot be read, in words; empty if it can.
    """

    path: Path
    text: str = ""
    problem: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """One epoch; a value that was not measured is None."""

    epoch: int
    train_loss: float
    validation_loss: float | None = None
    validation_auc: float | None = None


@dataclass(frozen=True)
class ComparisonRow:
    """Parent against candidate for one finding on the held-out set; an AUC is None where positives are too few.

    `change_low`, `change_high` and `q` (over all findings) are of the paired difference; None where it has none.
    """

    key: str
    label: str
    n_positive: int
    n_total: int
    parent_auc: float | None
    candidate_auc: float | None
    note: str = ""
    change_low: float | None = None
    change_high: float | None = None
    q: float | None = None


@dataclass(frozen=True)
class Candidate:
    """The package that a retraining wrote."""

    path: Path
    name: str
    digest: str
    notice: str
    rows: tuple[ComparisonRow, ...] = ()
    summary: str = ""


class TrainingModel:
    """State of the one retraining that may run.

    Attributes
    ----------
    planned
        Whether `plan` is what would be used now; while it is being counted it is not.
    kept_out
        Cohorts whose test parts stay out, in the order in which they were added.
    """

    changed = Signal()
    curve_changed = Signal()
    kept_out_changed = Signal()

    def __init__(self) -> None:
        self.state: TrainingState = "idle"
        self.plan = TrainingPlan()
        self.planned = False
        self.kept_out: tuple[KeptOut, ...] = ()
        self.done, self.total, self.text = 0, 0, ""
        self.curve: tuple[CurvePoint, ...] = ()
        self.candidate: Candidate | None = None
        self.message = ""

    def set_plan(self, plan: TrainingPlan) -> None:
        """Say what a retraining would use."""
        self.plan, self.planned = plan, True
        self.changed.emit()

    def await_plan(self) -> None:
        """Say that what would be used is being counted anew."""
        self.planned = False
        self.changed.emit()

    def set_kept_out(self, cohorts: tuple[KeptOut, ...]) -> None:
        """Say whose test parts stay out."""
        self.kept_out = cohorts
        self.kept_out_changed.emit()
        self.changed.emit()

    @property
    def blocked(self) -> str:
        """Why retraining cannot start as it is planned, in words; empty if it can, or if that is not known yet."""
        if self.planned and self.plan.blocked:
            return self.plan.blocked
        return " ".join(cohort.problem for cohort in self.kept_out if cohort.problem)

    @property
    def can_start(self) -> bool:
        """Whether all that a retraining would use is known, and it may start."""
        return self.planned and not self.blocked and all(cohort.text for cohort in self.kept_out)

    def start(self) -> None:
        """Enter the running state, with an empty curve."""
        self.state, self.curve, self.candidate, self.message = "running", (), None, ""
        self.done, self.total, self.text = 0, 0, "Starting…"
        self.changed.emit()
        self.curve_changed.emit()

    def set_progress(self, done: int, total: int, text: str) -> None:
        """Report `done` of `total` steps."""
        self.done, self.total, self.text = done, total, text
        self.changed.emit()

    @property
    def progress_text(self) -> str:
        """The step, with the newest validation AUC: a mean over findings, on phantoms that are not trained on."""
        measured = [point for point in self.curve if point.validation_auc is not None]
        if not measured:
            return self.text
        last = measured[-1]
        auc = f"validation AUC {last.validation_auc:.2f} in epoch {last.epoch}, on phantoms not trained on"
        return f"{self.text} · {auc}" if self.text else auc

    def add_epoch(self, point: CurvePoint) -> None:
        """Append an epoch to the live curve."""
        self.curve = (*self.curve, point)
        self.curve_changed.emit()

    def finish(self, candidate: Candidate) -> None:
        """Offer the candidate for comparison."""
        self.state, self.candidate, self.text = "finished", candidate, "Finished."
        self.changed.emit()

    def fail(self, message: str) -> None:
        """Say why the training ended without a candidate."""
        self.state, self.message = "failed", message
        self.changed.emit()

    def cancel(self) -> None:
        """Say that the training was stopped; nothing was changed."""
        self.state, self.message = "cancelled", "Stopped. The model in use has not changed."
        self.changed.emit()

    def reset(self) -> None:
        """Go back to idle, after the candidate was activated or discarded."""
        self.state, self.candidate, self.message = "idle", None, ""
        self.changed.emit()
