"""What the window asks for. Views call these; the composition implements them; none of them blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.viewmodels.backbones import BackboneActions
from app.viewmodels.computing import ComputingActions
from app.viewmodels.statements import Answer
from engine.store.workflow import ReaderRole, SavedFilter


@dataclass(frozen=True)
class ExportFormat:
    """One exporter as the dialog lists it."""

    key: str
    label: str
    suffix: str
    carries_identity: bool = False


@dataclass(frozen=True)
class RetrainOptions:
    """What the reader chose; None leaves the trainer's default."""

    epochs: int | None = None
    description: str = ""


class FeedbackActions(Protocol):
    """Requests about the reader's statements; what is to be saved, `FeedbackModel.given` says."""

    def undo(self) -> None:
        """Withdraw the reader's newest statement on the current series."""


class ReadingActions(Protocol):
    """Requests about readers and the blind first read."""

    def choose_reader(self, name: str) -> None:
        """Let this reader read from now on."""

    def add_reader(self, name: str, role: ReaderRole, initials: str) -> None:
        """Add a reader, who reads from now on."""

    def update_reader(self, name: str, role: ReaderRole, initials: str) -> None:
        """Change a reader's role and initials."""

    def set_reader_active(self, name: str, active: bool) -> None:
        """Deactivate a reader, or take one back."""

    def set_ask_reader(self, ask: bool) -> None:
        """Ask at every start who reads, or not."""

    def commit(self) -> None:
        """Commit the blind read: the model's output is shown from now on."""

    def reveal(self) -> None:
        """Show the model's output without a commit."""

    def read_blind(self) -> None:
        """Read the current series blind, if nothing of a model has been seen of it."""

    def set_blind(self, blind: bool) -> None:
        """Read every series blind first, or not."""

    def set_show_others(self, show: bool) -> None:
        """Show other readers' statements, or not."""

    def finish(self, done: bool) -> None:
        """Say that the current series is read, or not after all."""


class AgreementActions(Protocol):
    """Requests about what several readers state."""

    def load(self, *, blind_only: bool, unsure_counts: bool) -> None:
        """Fill `AgreementModel` with how far readers agree, and where they do not."""

    def adjudicate(self, series_uid: str, key: str, answer: Answer, comment: str) -> None:
        """Save the current reader's decision between readers."""

    def open_item(self, series_uid: str, key: str) -> None:
        """Show a series and select a finding."""


class ExplanationActions(Protocol):
    """Requests of the Why panel."""

    def draw_map(self) -> None:
        """Compute the map that is wanted, unless it is there."""

    def cancel_map(self) -> None:
        """Stop the map that is being computed."""

    def find_similar(self) -> None:
        """Look for the studies nearest to the one in view."""

    def open_similar(self, series_uid: str) -> None:
        """Show a similar study."""


class WorklistActions(Protocol):
    """Requests about the list of studies; search, filter and order are set on the model."""

    def select_study(self, step: int) -> None:
        """Open the next or previous study of the list."""

    def select_next_unreviewed(self) -> None:
        """Open the most pressing study that nobody has reviewed."""

    def save_filter(self, name: str) -> None:
        """Keep search, filter and order under a name."""

    def delete_filter(self, saved: SavedFilter) -> None:
        """Forget a saved filter."""


class QueueActions(Protocol):
    """Requests about the queue of analyses."""

    def add(self, series_uids: Sequence[str]) -> None:
        """Put series at the end of the queue."""

    def add_listed(self) -> None:
        """Put every new study that the list shows at the end of the queue."""

    def cancel(self, series_uid: str) -> None:
        """Take a series out of the queue; what runs is stopped."""

    def retry(self, series_uid: str) -> None:
        """Let a failed series wait again."""

    def move(self, series_uid: str, before: str | None) -> None:
        """Put a waiting series before another one; None: to the end."""

    def pause(self, paused: bool) -> None:
        """Begin nothing new, or go on."""


class WatchActions(Protocol):
    """Requests about the watched folder."""

    def choose(self, folder: str, on: bool, analyse: bool) -> None:
        """Watch a folder, or not; queue what arrives for analysis, or not."""

    def toggle(self) -> None:
        """Stop watching, or go on."""


class ImpressionActions(Protocol):
    """Requests about the draft impression."""

    def formats(self) -> Sequence[ExportFormat]:
        """List the formats that it can be saved in."""

    def export(self, format_key: str, path: Path, text: str) -> None:
        """Write a draft impression to `path`."""


class ReviewActions(Protocol):
    """Every request the window can make. Results arrive through the view-models."""

    explanations: ExplanationActions
    feedback: FeedbackActions
    reading: ReadingActions
    agreement: AgreementActions
    impression: ImpressionActions
    worklist: WorklistActions
    queue: QueueActions
    watch: WatchActions

    backbones: BackboneActions
    computing: ComputingActions

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Scan folders, files or ZIPs and list what they hold."""

    def open_demo(self) -> None:
        """Open the demo studies."""

    def select_series(self, series_uid: str) -> None:
        """Read a series and show it with its newest analysis and verdicts."""

    def analyse(self, series_uid: str) -> None:
        """Run the active model on a series."""

    def cancel_job(self, job_id: int) -> None:
        """Ask a job to stop."""

    def export_formats(self) -> Sequence[ExportFormat]:
        """List the exporters."""

    def export_corrections(self, format_key: str, path: Path) -> None:
        """Write the corrections of all studies to `path`."""

    def plan_retraining(self) -> None:
        """Fill `TrainingModel.plan` with what a retraining would use."""

    def start_retraining(self, options: RetrainOptions) -> None:
        """Retrain the active model from feedback in a process of its own."""

    def keep_out_cohort(self, path: Path) -> None:
        """Keep the test part of an imported cohort out of every retraining from now on."""

    def let_in_cohort(self, path: Path) -> None:
        """Do not look at this cohort any more when retraining."""

    def cancel_retraining(self) -> None:
        """Stop the retraining."""

    def activate_model(self, digest: str) -> None:
        """Use this model from now on; a candidate is installed first."""

    def discard_candidate(self, path: Path) -> None:
        """Delete a candidate package."""

    def install_model(self, path: Path) -> None:
        """Verify a package (folder or ZIP) and add it to the library."""

    def rollback_model(self) -> None:
        """Go back to the model that was active before."""

    def set_keys(self, chosen: Mapping[str, str]) -> None:
        """Keep the reader's own keys, by action id; all others have the table's."""
