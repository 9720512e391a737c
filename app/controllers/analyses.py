"""Analyse series in the compute worker, keep the results, show those of the series in view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.controllers.rows import feedback_views
from app.controllers.session import Session
from app.controllers.worklist import WorklistController
from app.jobs.compute_process import AnalysisInput
from app.operations.load_series import LoadedSeries, load_series, warning_texts
from app.operations.models import open_library
from app.viewmodels.status import AnalysisStatus
from engine.analysis import Analysis
from engine.dicom.series import require_analysable
from engine.errors import HeadCTError, PackageError
from engine.progress import Context
from engine.store.records import SeriesRow

if TYPE_CHECKING:
    from app.jobs.runner import Job
    from engine.store.repository import Store

NO_MODEL = "No model is active. Install a model package (Models) and activate it."
A_MISTAKE = "The program made a mistake; see the message."
STOPPED = "Stopped."
WORKER_LOST = frozenset({"compute.crashed", "compute.stuck"})


@dataclass(frozen=True)
class Ending:
    """How an analysis ended: `error` None and not `cancelled` where it succeeded."""

    series_uid: str
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def worker_lost(self) -> bool:
        """Whether the compute worker died in it."""
        return isinstance(self.error, HeadCTError) and self.error.code in WORKER_LOST


class AnalysisController:
    """Runs one analysis at a time, and shows those of the series in view."""

    def __init__(self, session: Session, worklist: WorklistController) -> None:
        self._session = session
        self._worklist = worklist
        self.on_worker_lost: Callable[[], None] = lambda: None

    def start(self, series_uid: str, digest: str | None, ended: Callable[[Ending], None]) -> Job:
        """Run a model on a series; what comes of it is saved, and shown if the series is in view and the model active.

        Parameters
        ----------
        digest
            The model; None for the active one, which there must be.
        ended
            Called after the outcome was put down in the store's queue of work.
        """
        session = self._session
        active = session.active_model
        asked = digest or (active.digest if active is not None else "")
        package = str(active.path) if active is not None and active.digest == asked else None
        in_view = session.current.loaded if session.current is not None and session.is_current(series_uid) else None
        self.say(series_uid, AnalysisStatus("analysing"))
        return session.run(
            lambda context: self._compute(series_uid, in_view, package, asked, context),
            lane="compute",
            title="Analysing",
            done=lambda analysis: self._analysed(series_uid, asked, analysis, ended),
            failed=lambda error: self._failed(series_uid, error, ended),
            cancelled=lambda: self._cancelled(series_uid, ended),
        )

    def show(self, analysis: Analysis) -> None:
        """Show an analysis of the series in view, with the verdicts that stand on it."""
        session = self._session
        if session.current is None or not session.is_current(analysis.series_instance_uid):
            return
        session.current.analysis = analysis
        session.models.show_analysis(session.catalogue, analysis)
        session.models.findings.set_feedback(feedback_views(session.current.feedback))
        session.models.show_status(AnalysisStatus("analysed"))

    def say(self, series_uid: str, status: AnalysisStatus) -> None:
        """Tell how far the analysis of the series in view is, as long as there is none."""
        session = self._session
        if session.current is not None and session.is_current(series_uid) and session.current.analysis is None:
            session.models.show_status(status)

    def _compute(
        self, series_uid: str, loaded: LoadedSeries | None, package: str | None, digest: str, context: Context
    ) -> Analysis:
        """On the compute lane: read the series if it is not in view, and have it analysed."""
        if package is None:
            package = self._package_of(digest)
        if loaded is None:
            from app.controllers.studies import find_series

            loaded = load_series(find_series(self._session, series_uid, context), context)
        require_analysable(loaded.series)
        item = AnalysisInput(
            volume=loaded.volume,
            study_instance_uid=loaded.series.study.instance_uid,
            series_instance_uid=loaded.series.instance_uid,
            read_s=loaded.read_s,
            warnings=warning_texts(loaded.series),
        )
        return self._session.compute.analyse(item, package, context)

    def _package_of(self, digest: str) -> str:
        entries = open_library(self._session.paths).list()
        path = next((entry.path for entry in entries if entry.digest == digest), None)
        if path is None:
            raise PackageError(
                f"The model {digest[:12]}, which was asked for this series, is not installed; nothing was analysed.",
                hint="Install it again, or analyse the series with the active model.",
                code="package.not_installed",
            )
        return str(path)

    def _analysed(self, series_uid: str, digest: str, analysis: Analysis, ended: Callable[[Ending], None]) -> None:
        """Show and keep a result of the model that was asked, `digest`; keep it only, if another is active by now."""
        session = self._session
        session.models.computing.note(analysis.device)
        # By the model that was asked, not the one that answered: a package changed on disk must not be asked for ever.
        outdated = session.active_model is not None and session.active_model.digest != digest
        if not outdated:
            # Shown before it is saved: a full disk must not hide a result that is there.
            self.show(analysis)

        def save(store: Store) -> SeriesRow | None:
            try:
                store.save_analysis(analysis)
            finally:
                store.finish_queued(series_uid)
            return store.get_series(series_uid)

        session.with_store(save, "Saving the analysis", self._worklist.series_changed)
        ended(Ending(series_uid))

    def _failed(self, series_uid: str, error: BaseException, ended: Callable[[Ending], None]) -> None:
        reason = error.message if isinstance(error, HeadCTError) else A_MISTAKE
        refused = isinstance(error, HeadCTError) and error.kind == "scope"
        ending = Ending(series_uid, error)
        self.say(series_uid, AnalysisStatus("refused" if refused else "failed", reason))
        # In the background a failure stands in the list and in the queue; a mistake of ours is told in any case.
        if self._session.is_current(series_uid) or not isinstance(error, HeadCTError):
            self._session.notify(error, "The analysis failed")

        def note(store: Store) -> SeriesRow | None:
            store.set_series_state(series_uid, "failed", reason)
            store.fail_queued(series_uid, reason)
            return store.get_series(series_uid)

        self._session.with_store(note, "Noting how far the analysis is", self._worklist.series_changed)
        if ending.worker_lost:
            self.on_worker_lost()
        ended(ending)

    def _cancelled(self, series_uid: str, ended: Callable[[Ending], None]) -> None:
        self.say(series_uid, AnalysisStatus("new", STOPPED))

        def note(store: Store) -> SeriesRow | None:
            store.set_series_state(series_uid, "new", "")
            store.cancel_queued(series_uid)
            return store.get_series(series_uid)

        self._session.with_store(note, "Noting how far the analysis is", self._worklist.series_changed)
        ended(Ending(series_uid, cancelled=True))
