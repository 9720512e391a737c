"""Analyse series with the active model, in the compute worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.controllers.rows import feedback_views, study_row
from app.controllers.session import Session
from app.jobs.compute_process import AnalysisInput
from app.operations.load_series import LoadedSeries, load_series, warning_texts
from app.viewmodels.status import AnalysisStatus
from engine.analysis import Analysis
from engine.dicom.series import require_analysable
from engine.errors import HeadCTError
from engine.progress import Context
from engine.store.records import SeriesRow, SeriesState

if TYPE_CHECKING:
    from engine.store.repository import Store

NO_MODEL = "No model is active. Install a model package (Models) and activate it."
A_MISTAKE = "The program made a mistake; see the message."
STOPPED = "Stopped."
WORKER_LOST = frozenset({"compute.crashed", "compute.stuck"})


class AnalysisController:
    """Starts analyses, keeps their results, shows those of the series in view."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._jobs: dict[str, int] = {}
        self.on_worker_lost: Callable[[], None] = lambda: None

    def analyse(self, series_uid: str) -> None:
        """Run the active model on a series, unless it is being analysed already."""
        session = self._session
        if series_uid in self._jobs or not session.library_known:
            return
        if session.active_model is None:
            self._say(series_uid, AnalysisStatus("failed", NO_MODEL))
            return
        digest, package = session.active_model.digest, str(session.active_model.path)
        in_view = session.current.loaded if session.current is not None and session.is_current(series_uid) else None
        job = session.run(
            lambda context: self._compute(series_uid, in_view, package, context),
            lane="compute",
            title="Analysing",
            done=lambda analysis: self._analysed(series_uid, digest, analysis),
            failed=lambda error: self._failed(series_uid, error),
            cancelled=lambda: self._cancelled(series_uid),
        )
        self._jobs[series_uid] = job.id
        self._say(series_uid, AnalysisStatus("analysing"))
        self._set_state(series_uid, "analysing", "")

    def analyse_unless_done(self, series_uid: str) -> None:
        """Run the active model on a series that it has not analysed yet."""
        session = self._session
        if session.active_model is None:
            return
        digest = session.active_model.digest

        def start_if_new(analysis: Analysis | None) -> None:
            if analysis is None:
                self.analyse(series_uid)

        session.with_store(
            lambda store: store.latest_analysis(series_uid, digest), "Recalling the analysis", start_if_new
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

    def _compute(self, series_uid: str, loaded: LoadedSeries | None, package: str, context: Context) -> Analysis:
        """On the compute lane: read the series if it is not in view, and have it analysed."""
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

    def _analysed(self, series_uid: str, digest: str, analysis: Analysis) -> None:
        """Show and keep a result of the model that was asked, `digest`; keep it only, if another is active by now."""
        session = self._session
        self._jobs.pop(series_uid, None)
        # By the model that was asked, not the one that answered: a package changed on disk must not be asked for ever.
        outdated = session.active_model is not None and session.active_model.digest != digest
        if not outdated:
            # Shown before it is saved: a full disk must not hide a result that is there.
            self.show(analysis)

        def save(store: Store) -> SeriesRow | None:
            store.save_analysis(analysis)
            return store.get_series(series_uid)

        session.with_store(save, "Saving the analysis", self._show_row)
        if outdated and session.is_current(series_uid):
            self.analyse(series_uid)

    def _failed(self, series_uid: str, error: BaseException) -> None:
        self._jobs.pop(series_uid, None)
        reason = error.message if isinstance(error, HeadCTError) else A_MISTAKE
        refused = isinstance(error, HeadCTError) and error.kind == "scope"
        self._say(series_uid, AnalysisStatus("refused" if refused else "failed", reason))
        self._set_state(series_uid, "failed", reason)
        self._session.notify(error, "The analysis failed")
        if isinstance(error, HeadCTError) and error.code in WORKER_LOST:
            self.on_worker_lost()

    def _cancelled(self, series_uid: str) -> None:
        self._jobs.pop(series_uid, None)
        self._say(series_uid, AnalysisStatus("new", STOPPED))
        self._set_state(series_uid, "new", "")

    def _say(self, series_uid: str, status: AnalysisStatus) -> None:
        session = self._session
        if session.current is not None and session.is_current(series_uid) and session.current.analysis is None:
            session.models.show_status(status)

    def _set_state(self, series_uid: str, state: SeriesState, message: str) -> None:
        def write(store: Store) -> SeriesRow | None:
            store.set_series_state(series_uid, state, message)
            return store.get_series(series_uid)

        self._session.with_store(write, "Noting how far the analysis is", self._show_row)

    def _show_row(self, row: SeriesRow | None) -> None:
        if row is not None:
            self._session.models.studies.update_row(study_row(row, self._session.catalogue))
