"""Retraining from feedback: plan, run in the trainer's process, compare, decide."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.controllers.library import LibraryController
from app.controllers.session import Session
from app.viewmodels.actions import RetrainOptions
from app.viewmodels.training import Candidate, ComparisonRow, CurvePoint, KeptOut, TrainingPlan
from engine.errors import HeadCTError, TrainingError
from engine.findings.catalogue import Catalogue
from engine.progress import Context

if TYPE_CHECKING:
    from app.operations.retraining import FeedbackCount, KeptOutSize
    from engine.models.library import LibraryEntry
    from engine.store.repository import Store
    from trainer.protocol import Event, Finished, OwnStudies

NO_FEEDBACK = "No verdict says present or absent yet. Review some findings first."
NO_MODEL = "No model is active."
NOT_COUNTED = "The feedback could not be counted; see the message."
A_MISTAKE = "The program made a mistake; see the message."
# In words of their own: a skipped study's message names its path, which may hold a patient's name.
SKIPPED_WHY = {
    "training.source_missing": "no longer where it was opened",
    "training.source_changed": "changed since the review",
}


class TrainingController:
    """The one retraining that may run."""

    def __init__(self, session: Session, library: LibraryController, change_settings: Callable[..., None]) -> None:
        self._session = session
        self._library = library
        self._change_settings = change_settings
        self._model = session.models.training
        self._job_id: int | None = None
        self._model.set_kept_out(tuple(KeptOut(Path(path)) for path in session.settings.retrain_keep_out))

    def plan(self) -> None:
        """Say what a retraining would use."""
        self._model.await_plan()
        paths = [cohort.path for cohort in self._model.kept_out]
        self._model.set_kept_out(tuple(KeptOut(path) for path in paths))
        self._measure(paths)

        def count(store: Store) -> FeedbackCount:
            from app.operations.retraining import count_feedback

            return count_feedback(store)

        self._session.with_store(count, "Counting the feedback", self._planned, self._not_planned)

    def keep_out(self, path: Path) -> None:
        """Keep the test part of an imported cohort out of every retraining from now on."""
        path = path.expanduser().absolute()
        if all(cohort.path != path for cohort in self._model.kept_out):
            self._keep_only((*self._model.kept_out, KeptOut(path)))
        self._measure([path])

    def let_in(self, path: Path) -> None:
        """Do not look at this cohort any more when retraining."""
        self._keep_only(tuple(cohort for cohort in self._model.kept_out if cohort.path != path))

    def start(self, options: RetrainOptions) -> None:
        """Retrain the active model."""
        session = self._session
        base = session.active_model
        if self._job_id is not None or base is None:
            return
        session.models.training.start()
        store = str(session.settings.store_url or session.paths.store_file)
        cohorts = tuple(cohort.path for cohort in self._model.kept_out)
        job = session.run(
            lambda context: self._run(store, base, options, cohorts, context),
            lane="training",
            title="Retraining from feedback",
            done=self._finished,
            failed=self._failed,
            cancelled=self._cancelled,
        )
        self._job_id = job.id

    def cancel(self) -> None:
        """Ask the trainer to stop."""
        if self._job_id is not None:
            self._session.runner.cancel(self._job_id)

    def activate_candidate(self, path: Path) -> None:
        """Install the candidate and use it from now on."""
        self._library.adopt(path, self._session.models.training.reset)

    def discard(self, path: Path) -> None:
        """Delete a candidate and its run."""
        session = self._session
        runs = session.paths.runs
        session.run(
            lambda context: delete_run(runs, path),
            lane="io",
            title="Discarding the candidate",
            done=lambda _: session.models.training.reset(),
            cancellable=False,
        )

    def _run(
        self, store: str, base: LibraryEntry, options: RetrainOptions, cohorts: tuple[Path, ...], context: Context
    ) -> Candidate:
        """On the training lane: write the request, run the trainer, read what it made."""
        from app.jobs.training_process import run_trainer, trainer_command
        from app.operations.retraining import prepare_retraining, require_cohorts

        require_cohorts(cohorts, context)
        paths = self._session.paths
        places = (base.path.parent, paths.resources, paths.models, paths.runs)
        run = prepare_retraining(
            paths.runs, store, base, places, options.epochs, options.description, paths.backbones, cohorts
        )
        finished = run_trainer(trainer_command(run.request_file), self._post_event, context)
        return read_candidate(finished, self._session.catalogue, paths.backbones)

    def _post_event(self, event: Event) -> None:
        self._session.runner.gui.post(lambda: self._show_event(event))

    def _show_event(self, event: Event) -> None:
        from trainer.protocol import EpochEnded, Progressed

        training = self._session.models.training
        if isinstance(event, Progressed):
            training.set_progress(event.done, event.total, event.text)
        elif isinstance(event, EpochEnded):
            training.set_progress(event.epoch, event.max_epochs, f"Trained epoch {event.epoch} of {event.max_epochs}")
            training.add_epoch(CurvePoint(event.epoch, event.train_loss, event.validation_loss, event.validation_auc))

    def _planned(self, count: FeedbackCount) -> None:
        base = self._session.active_model
        blocked = NO_MODEL if base is None else "" if count.n_statements else NO_FEEDBACK
        self._session.models.training.set_plan(
            TrainingPlan(
                n_reviewed=count.n_statements,
                n_studies=count.n_studies,
                n_disagree=count.n_disagree,
                base_name="" if base is None else f"{base.name} {base.digest[:12]}",
                blocked=blocked,
            )
        )

    def _not_planned(self, error: BaseException) -> None:
        self._session.notify(error, "Counting the feedback")
        self._model.set_plan(TrainingPlan(blocked=NOT_COUNTED))

    def _keep_only(self, cohorts: tuple[KeptOut, ...]) -> None:
        self._model.set_kept_out(cohorts)
        self._change_settings(retrain_keep_out=tuple(str(cohort.path) for cohort in cohorts))

    def _measure(self, paths: list[Path]) -> None:
        """Read what stays out on the io lane: the manifest of a large cohort takes a while."""
        if not paths:
            return

        def measure(context: Context) -> Mapping[Path, KeptOutSize]:
            from app.operations.retraining import measure_test_parts

            return measure_test_parts(paths, context)

        self._session.run(measure, lane="io", title="Reading cohorts", done=self._measured, cancellable=False)

    def _measured(self, sizes: Mapping[Path, KeptOutSize]) -> None:
        self._model.set_kept_out(
            tuple(
                kept_out(cohort.path, sizes[cohort.path]) if cohort.path in sizes else cohort
                for cohort in self._model.kept_out
            )
        )

    def _finished(self, candidate: Candidate) -> None:
        self._job_id = None
        self._session.models.training.finish(candidate)

    def _failed(self, error: BaseException) -> None:
        self._job_id = None
        self._session.notify(error, "The retraining failed")
        self._session.models.training.fail(error.message if isinstance(error, HeadCTError) else A_MISTAKE)

    def _cancelled(self) -> None:
        self._job_id = None
        self._session.models.training.cancel()


def kept_out(path: Path, size: KeptOutSize) -> KeptOut:
    """Say of a cohort what stays out, or why that is not known."""
    if size.problem:
        return KeptOut(path, problem=size.problem)
    studies = "1 study" if size.n_studies == 1 else f"{size.n_studies} studies"
    patients = "1 patient" if size.n_patients == 1 else f"{size.n_patients} patients"
    return KeptOut(path, f"{studies} of {patients} {'stays' if size.n_studies == 1 else 'stay'} out")


def read_candidate(finished: Finished, catalogue: Catalogue, backbones: Path | None = None) -> Candidate:
    """Verify a candidate and put its comparison with the parent in rows.

    Raises
    ------
    PackageError
        If the package is refused.
    TrainingError
        If there is no comparison.
    """
    from engine.models.backbones.registry import open_registry
    from engine.models.package import verify_package
    from trainer.protocol import read_comparison

    path = Path(finished.package_path)
    manifest = verify_package(path, open_registry(backbones), catalogue)
    if finished.comparison_path is None:
        raise TrainingError(
            f"The retraining wrote {path} but no comparison with its parent.",
            hint="Retrain again.",
            code="training.no_comparison",
        )
    comparison = read_comparison(Path(finished.comparison_path))
    rows = tuple(
        ComparisonRow(
            key=key,
            label=catalogue[key].label if key in catalogue else key,
            n_positive=item.n_pos,
            n_total=item.n_pos + item.n_neg,
            parent_auc=item.parent_auc,
            candidate_auc=item.candidate_auc,
            note=item.note,
            change_low=item.difference_low,
            change_high=item.difference_high,
            q=item.q,
        )
        for key, item in comparison.heldout.findings.items()
    )
    summary = f"{comparison.verdict} Measured on {comparison.heldout.n_studies} {comparison.heldout.description}."
    summary = f"{summary} {use_of_studies(comparison.own)}"
    return Candidate(path, manifest.name, manifest.digest, manifest.notice, rows, summary)


def use_of_studies(own: OwnStudies) -> str:
    """Say what became of the reviewed studies: how many were used, and why the others were not."""
    text = f"Trained on {own.n_train} of {own.n_train + own.n_heldout + len(own.skipped)} reviewed studies"
    if own.n_heldout:
        text += f"; {own.n_heldout} set apart for testing"
    if own.skipped:
        reasons = Counter(SKIPPED_WHY.get(item.code, f"refused as {item.code}") for item in own.skipped)
        listed = ", ".join(f"{reason} ({number})" for reason, number in sorted(reasons.items()))
        text += f"; {len(own.skipped)} could not be used: {listed}"
    if own.n_conflicting:
        text += f"; {own.n_conflicting} contradicted answers were left out"
    return f"{text}."


def delete_run(runs: Path, path: Path) -> None:
    """Delete the run that a candidate lies in; one that is gone already is as it should be.

    Raises
    ------
    TrainingError
        If the candidate lies outside the runs folder, or its run cannot be deleted.
    """
    run = candidate_run(runs, path)
    if run is None:
        raise TrainingError(
            f"{path} was left as it is: it does not lie in the folder of runs {runs}.",
            hint="Delete it by hand if it is not needed.",
            code="training.not_a_run",
        )
    try:
        if run.exists():
            shutil.rmtree(run)
    except OSError as error:
        raise TrainingError(
            f"The run {run} cannot be deleted: {error.strerror}.",
            hint="Close what uses the folder, or make it writable, and discard the candidate again.",
            code="training.discard",
            kind="environment",
        ) from error


def candidate_run(runs: Path, path: Path) -> Path | None:
    """Return the run folder that a candidate lies in; None if it lies elsewhere, where nothing is deleted."""
    try:
        return runs / path.resolve().relative_to(runs.resolve()).parts[0]
    except (ValueError, IndexError):
        return None
