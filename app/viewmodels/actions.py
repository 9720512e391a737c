"""What the window asks for. Views call these; the composition implements them; none of them blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.viewmodels.findings import Verdict


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


class ReviewActions(Protocol):
    """Every request the window can make. Results arrive through the view-models."""

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

    def submit_verdict(self, key: str, verdict: Verdict, reason: str, comment: str) -> None:
        """Save the reader's verdict on a finding of the current series, durably and at once."""

    def undo_verdict(self) -> None:
        """Withdraw the newest verdict on the current series."""

    def export_formats(self) -> Sequence[ExportFormat]:
        """List the exporters."""

    def export_corrections(self, format_key: str, path: Path) -> None:
        """Write the corrections of all studies to `path`."""

    def plan_retraining(self) -> None:
        """Fill `TrainingModel.plan` with what a retraining would use."""

    def start_retraining(self, options: RetrainOptions) -> None:
        """Retrain the active model from feedback in a process of its own."""

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

    def set_reader(self, name: str) -> None:
        """Keep the reader's name."""

    def set_keys(self, chosen: Mapping[str, str]) -> None:
        """Keep the reader's own keys, by action id; all others have the table's."""
