"""The one place that constructs the window's objects and wires them together."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.controllers.agreement import AgreementController
from app.controllers.analyses import AnalysisController
from app.controllers.backbones import BackboneController
from app.controllers.computing import ComputingController, worker_settings
from app.controllers.explanations import ExplanationController
from app.controllers.feedback import FeedbackController
from app.controllers.impression import ImpressionController
from app.controllers.library import LibraryController
from app.controllers.queue import QueueController
from app.controllers.reading import ReadingController
from app.controllers.session import LANES, STORE_BUSY_TIMEOUT_S, Session
from app.controllers.studies import StudyController
from app.controllers.training import TrainingController
from app.controllers.watch import WatchController
from app.controllers.worklist import WorklistController
from app.errors import install_exception_hooks
from app.jobs.compute_process import ComputeProcess, Target
from app.jobs.runner import JobRunner, JobStatus
from app.logs import close_log, open_log
from app.operations.export_corrections import export_formats
from app.settings import AppPaths, Settings, save_settings
from app.viewmodels.actions import ExportFormat, RetrainOptions
from app.viewmodels.jobs import JobRow
from app.viewmodels.notices import Notice
from app.viewmodels.review import ReviewModels
from engine.errors import HeadCTError
from engine.findings.catalogue import load_catalogue
from engine.inference.worker import serve
from engine.progress import Context
from engine.store.workflow import WorklistRow

MAX_DEATHS = 3
DEATHS_WITHIN_S = 120.0
# Another program may hold the store for as long as the store waits for it; what follows is quick.
SHUTDOWN_WAIT_S = STORE_BUSY_TIMEOUT_S + 2.0


class Application:
    """The program behind the window: implements `ReviewActions` by handing each request to its controller.

    Parameters
    ----------
    paths, settings
        Where things are, and what the user has chosen.
    problems
        What in the settings could not be used.
    worker
        The compute worker's main function.
    """

    def __init__(
        self, paths: AppPaths, settings: Settings, problems: Sequence[str] = (), worker: Target = serve
    ) -> None:
        self.paths = paths
        self.models = ReviewModels(settings.reader)
        self.models.reading.configure(settings.blind_first_read, settings.show_other_readers, settings.ask_reader)
        self.models.keys.choose(settings.keys)
        self.models.findings.density = settings.findings_density
        self.runner = JobRunner(LANES)
        self.compute = ComputeProcess(
            worker_settings(paths, settings),
            worker,
            on_died=lambda: self.runner.gui.post(self._worker_died),
            on_started=lambda started: self.runner.gui.post(lambda: self.computing.started(started)),
        )
        catalogue = load_catalogue(paths.catalogue_file)
        self.session = Session(paths, settings, catalogue, self.models, self.runner, self.compute)
        self.library = LibraryController(self.session)
        self.worklist = WorklistController(self.session)
        self.analyses = AnalysisController(self.session, self.worklist)
        self.queue = QueueController(self.session, self.analyses, self.worklist, self.change_settings)
        self.studies = StudyController(self.session, self.analyses, self.queue, self.worklist)
        self.watch = WatchController(self.session, self.queue, self.worklist, self.change_settings)
        self.feedback = FeedbackController(self.session)
        self.models.feedback.given.connect(self.feedback.submit)
        self.reading = ReadingController(self.session, self.feedback, self.change_settings)
        self.agreement = AgreementController(self.session, self.studies.select_series)
        self.impression = ImpressionController(self.session)
        self.explanations = ExplanationController(self.session, self.studies.select_series)
        self.training = TrainingController(self.session, self.library, self.change_settings)
        self.backbones = BackboneController(self.session, self.library.reread)
        self.computing = ComputingController(self.session, self.change_settings, self.library.warm_up)
        self.worklist.select_series = self.studies.select_series
        self.queue.on_done_elsewhere = self.studies.recall
        self.library.on_activated = self._model_known
        self.models.findings.density_changed.connect(lambda density: self.change_settings(findings_density=density))
        self.analyses.on_worker_lost = self._worker_died
        self.runner.job_changed.connect(self._show_job)
        self.models.show_analysis(catalogue, None)
        self._problems = tuple(problems)
        self._deaths_s: list[float] = []
        self._log = open_log(paths.logs)
        self._restore_hooks = install_exception_hooks(self._post_notice)
        self._closed = False

    def start(self) -> None:
        """Begin the work that does not wait for the user: the worker loads torch, the store opens, the lists fill."""
        for problem in self._problems:
            self.models.notices.post(Notice("warning", "A setting cannot be used", problem))
        self.computing.start()
        self.session.run(
            lambda context: self.session.store.open(), lane="store", title="Opening the store", cancellable=False
        )
        self.reading.start()
        self.worklist.start()
        self.library.refresh()
        self.watch.start()

    def close(self) -> None:
        """Stop all work, end the worker, close the store; what was asked to be saved is saved, or stderr says not."""
        if self._closed:
            return
        self._closed = True
        self.models.feedback.leave()
        self.feedback.submit_unnamed()
        self.queue.release()
        self.compute.abort()
        self.runner.submit(lambda context: self.session.store.close(), lane="store", title="Closing", cancellable=False)
        if not self.runner.shutdown(SHUTDOWN_WAIT_S) and sys.stderr is not None:
            sys.stderr.write(
                f"closing: some work did not end within {SHUTDOWN_WAIT_S:.0f} s and may not have been saved\n"
            )
        self.compute.stop()
        self._restore_hooks()
        close_log(self._log)

    # ReviewActions

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Scan folders, files or ZIPs and list what they hold."""
        self.studies.open_paths(paths)

    def open_demo(self) -> None:
        """Open the demo studies."""
        self.studies.open_demo()

    def select_series(self, series_uid: str) -> None:
        """Read a series and show it with its newest analysis and verdicts."""
        self.studies.select_series(series_uid)

    def analyse(self, series_uid: str) -> None:
        """Run the active model on a series."""
        self.queue.analyse(series_uid)

    def cancel_job(self, job_id: int) -> None:
        """Ask a job to stop."""
        self.runner.cancel(job_id)

    def export_formats(self) -> Sequence[ExportFormat]:
        """List the exporters."""
        return tuple(ExportFormat(*item) for item in export_formats())

    def export_corrections(self, format_key: str, path: Path) -> None:
        """Write the corrections of all studies to `path`."""
        self.feedback.export(format_key, path)

    def plan_retraining(self) -> None:
        """Fill `TrainingModel.plan` with what a retraining would use."""
        self.training.plan()

    def start_retraining(self, options: RetrainOptions) -> None:
        """Retrain the active model from feedback in a process of its own."""
        self.training.start(options)

    def keep_out_cohort(self, path: Path) -> None:
        """Keep the test part of an imported cohort out of every retraining from now on."""
        self.training.keep_out(path)

    def let_in_cohort(self, path: Path) -> None:
        """Do not look at this cohort any more when retraining."""
        self.training.let_in(path)

    def cancel_retraining(self) -> None:
        """Stop the retraining."""
        self.training.cancel()

    def activate_model(self, digest: str) -> None:
        """Use this model from now on; a candidate is installed first."""
        candidate = self.models.training.candidate
        if candidate is not None and candidate.digest == digest:
            self.training.activate_candidate(candidate.path)
        else:
            self.library.activate(digest)

    def discard_candidate(self, path: Path) -> None:
        """Delete a candidate package."""
        self.training.discard(path)

    def install_model(self, path: Path) -> None:
        """Verify a package (folder or ZIP) and add it to the library."""
        self.library.install(path)

    def rollback_model(self) -> None:
        """Go back to the model that was active before."""
        self.library.rollback()

    def set_keys(self, chosen: Mapping[str, str]) -> None:
        """Keep the reader's own keys."""
        self.models.keys.choose(chosen)
        self.change_settings(keys=dict(chosen))

    @property
    def demo_settled(self) -> bool:
        """Whether nothing waits for its analysis, the series in view is shown, and nothing runs."""
        models = self.models
        waiting = any(row.state != "failed" for row in models.queue.rows)
        shown = models.findings.status.kind in ("analysed", "refused", "failed")
        settled = self.worklist.settled and not self.runner.running
        return bool(models.worklist.rows) and shown and not waiting and settled

    def require_demo_analysed(self) -> None:
        """Refuse to go on where a demo series has no analysis, once `demo_settled` or its patience is over.

        Raises
        ------
        HeadCTError
            Of kind ``environment``; the message names each such series and why.
        """
        rows = self.models.worklist.rows
        missing = [row for row in rows if row.state not in ("analysed", "in_review", "reviewed")]
        problems = [f"{self.demo_name(row)}: {self._unfinished(row)}" for row in missing]
        if rows and not problems:
            return
        notices = [item.message for item in self.models.notices.notices if item.severity == "error"]
        said = "; ".join(problems) or " ".join(notices) or "none was opened in time"
        raise HeadCTError(
            f"The demo studies were not all analysed, so no pictures were taken: {said}.",
            hint="See the messages above; check the active model and the device (models list), then try again.",
            code="demo.not_analysed",
            kind="environment",
        )

    def demo_name(self, row: WorklistRow) -> str:
        """Return the folder that a listed demo study was opened from."""
        series = self.session.scanned.get(row.series_uid)
        return row.series_uid if series is None else str(series.source)

    def _unfinished(self, row: WorklistRow) -> str:
        """Say how far the analysis of a study came, and why no further where that is known."""
        status = self.models.findings.status
        in_view = status.reason if self.session.is_current(row.series_uid) and status.kind == "failed" else ""
        stages = {"new": "not analysed", "analysing": "not finished in time"}
        return (row.state_message or in_view or stages.get(row.state, row.state)).rstrip(".")

    # Inside

    def _model_known(self) -> None:
        """The models were read, or another one is active: show what it said, and go on with the queue."""
        self.studies.recall()
        self.queue.start()

    def change_settings(self, **changes: object) -> None:
        """Change settings and save them."""
        settings = self.session.settings.model_copy(update=changes)
        self.session.settings = settings
        self.session.run(
            _saving(self.paths.settings_file, settings), lane="store", title="Saving the settings", cancellable=False
        )

    def _show_job(self, status: JobStatus) -> None:
        self.models.jobs.update(
            JobRow(
                id=status.id,
                title=status.title,
                text=status.text,
                done=status.done,
                total=status.total,
                state=status.state,
                cancellable=status.cancellable,
            )
        )

    def _worker_died(self) -> None:
        """Have a new worker ready for the next request; one that keeps dying is left alone until then."""
        now_s = time.monotonic()
        self._deaths_s = [*(at for at in self._deaths_s if now_s - at < DEATHS_WITHIN_S), now_s]
        if len(self._deaths_s) <= MAX_DEATHS:
            self.library.warm_up()

    def _post_notice(self, notice: Notice) -> None:
        self.runner.gui.post(lambda: self.models.notices.post(notice))


def _saving(path: Path, settings: Settings) -> Callable[[Context], None]:
    return lambda context: save_settings(path, settings)
