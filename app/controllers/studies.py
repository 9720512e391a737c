"""Open paths, list series, show one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.controllers.analyses import AnalysisController
from app.controllers.queue import QueueController
from app.controllers.rows import feedback_views, series_info
from app.controllers.session import OpenSeries, Session
from app.controllers.worklist import WorklistController
from app.operations.feedback import Sheet, read_sheet
from app.operations.load_series import LoadedSeries, load_series
from app.operations.open_paths import choose_series, open_paths, refusal_reasons, register_series
from app.viewmodels.notices import Notice, Severity
from app.viewmodels.status import AnalysisStatus
from engine.analysis import Analysis
from engine.dicom.series import Series
from engine.errors import DicomError
from engine.progress import Context

if TYPE_CHECKING:
    from engine.dicom.scan import ScanReport
    from engine.store.repository import Store

READING = "Reading the series…"


class StudyController:
    """What is opened, and what is in view."""

    def __init__(
        self, session: Session, analyses: AnalysisController, queue: QueueController, worklist: WorklistController
    ) -> None:
        self._session, self._analyses, self._queue, self._worklist = session, analyses, queue, worklist
        self._told: Notice | None = None

    # Opening

    def open_demo(self) -> None:
        """Open the demo studies, the real one in view, and analyse them all."""
        folders = sorted(path for path in self._session.paths.demo.iterdir() if path.is_dir())
        self.open_paths(folders, demo=True)

    def open_paths(self, paths: Sequence[Path], demo: bool = False) -> None:
        """Scan, list, and show the series that fits the classifier best; of the demo the first, and analyse all."""
        names = ", ".join(path.name or str(path) for path in paths)
        self._session.run(
            lambda context: open_paths(paths, context),
            lane="io",
            title=f"Opening {names}",
            done=lambda report: self._scanned(report, paths, demo),
        )

    def _scanned(self, report: ScanReport, paths: Sequence[Path], demo: bool) -> None:
        session = self._session
        if not demo and is_news(report, paths):  # The demo's own truth files are no news to anybody.
            self._tell(_import_notice(report))
        if not report.series:
            return
        session.scanned.update({series.instance_uid: series for series in report.series})

        def listed(_: object) -> None:
            self._worklist.refresh()
            best = first_below(report, paths[0]) if demo else choose_series(report, paths[0])
            self.select_series(best.instance_uid)
            if demo:
                others = (series for series in report.series if series.analysable and series is not best)
                self._queue.add_unless_done([series.instance_uid for series in others])

        session.with_store(lambda store: register_series(store, report.series), "Listing the series", listed)

    def _tell(self, notice: Notice) -> None:
        """Post the report of an import in place of the one before."""
        notices = self._session.models.notices
        if self._told is not None:
            notices.dismiss(self._told)
        self._told = notice
        notices.post(notice)

    # Showing one

    def select_series(self, series_uid: str) -> None:
        """Read a series and show it with its newest analysis and verdicts."""
        session = self._session
        if session.is_current(series_uid) and session.current is not None and session.current.loaded is not None:
            return
        session.current = OpenSeries(series_uid)
        session.models.worklist.current_uid = series_uid
        self._worklist.look_up(series_uid)
        session.models.show_analysis(session.catalogue, None)
        session.models.show_status(AnalysisStatus("reading"))
        session.models.viewer.set_volume(None, None, READING)
        session.run(
            lambda context: self._find_and_load(series_uid, context),
            lane="io",
            title="Reading the series",
            key="load",
            done=lambda found: self._opened(series_uid, found),
            failed=lambda error: self._load_failed(series_uid, error),
        )

    def _find_and_load(self, series_uid: str, context: Context) -> LoadedSeries | str:
        """On the io lane: return the series with its voxels, or why it is refused."""
        scanned = self._session.scanned.get(series_uid)
        if scanned is None:
            row = self._session.store.require().get_series(series_uid)
            if row is not None and row.kind == "refused":
                return " ".join(row.reasons)
        elif scanned.kind == "refused":
            return " ".join(refusal_reasons(scanned))
        return load_series(find_series(self._session, series_uid, context), context)

    def _opened(self, series_uid: str, found: LoadedSeries | str) -> None:
        if not isinstance(found, str):
            self._loaded(found)
        elif self._session.is_current(series_uid):
            self._session.models.viewer.set_volume(None, None, found)
            self._session.models.show_status(AnalysisStatus("refused", found))

    def _load_failed(self, series_uid: str, error: BaseException) -> None:
        session = self._session
        session.notify(error, "The series was not opened")
        if session.is_current(series_uid):
            reason = getattr(error, "message", "The program made a mistake; see the message.")
            session.models.viewer.set_volume(None, None, reason)
            session.models.show_status(AnalysisStatus("failed", reason))

    def _loaded(self, loaded: LoadedSeries) -> None:
        session = self._session
        series = loaded.series
        session.scanned[series.instance_uid] = series
        if not session.is_current(series.instance_uid) or session.current is None:
            return
        session.current.loaded = loaded
        session.models.viewer.set_volume(loaded.volume, series_info(series))
        session.models.show_status(self._status(series))
        self.recall()

    def recall(self) -> None:
        """Show what the active model has said of the series in view; have it analysed if that is nothing yet."""
        session = self._session
        if session.current is None or session.current.loaded is None:
            return
        series = session.current.loaded.series
        digest = session.active_model.digest if session.active_model is not None else None

        reader = session.sheet_reader

        def recall(store: Store) -> tuple[str, Analysis | None, Sheet]:
            uid = series.instance_uid
            return uid, store.latest_analysis(uid, digest), read_sheet(store, uid, reader)

        session.with_store(recall, "Recalling the analysis", self._recalled, self._recall_failed(series))

    def _recall_failed(self, series: Series) -> Callable[[BaseException], None]:
        def failed(error: BaseException) -> None:
            self._session.notify(error, "The store could not be read")
            self._recalled((series.instance_uid, None, Sheet()))

        return failed

    def _recalled(self, found: tuple[str, Analysis | None, Sheet]) -> None:
        series_uid, analysis, feedback = found
        session = self._session
        current = session.current
        if current is None or current.uid != series_uid or current.loaded is None:
            return
        current.feedback = feedback
        if analysis is not None:
            self._analyses.show(analysis)
            return
        session.models.findings.set_feedback(feedback_views(feedback))
        if current.loaded.series.analysable:
            self._queue.analyse(series_uid)

    def _status(self, series: Series) -> AnalysisStatus:
        if series.analysable:
            return AnalysisStatus("new")
        return AnalysisStatus("refused", " ".join(refusal_reasons(series)))


def first_below(report: ScanReport, folder: Path) -> Series:
    """Return the first series that was found below a folder, else the first of all."""
    return next((series for series in report.series if series.source.is_relative_to(folder)), report.series[0])


def find_series(session: Session, series_uid: str, context: Context) -> Series:
    """Return a series scanned in this run of the program, or scan the place again where the store says it is.

    Raises
    ------
    DicomError
        If it is not there any more, or the store does not know it.
    """
    series = session.scanned.get(series_uid)
    if series is not None:
        return series
    row = session.store.require().get_series(series_uid)
    if row is None:
        raise DicomError(
            f"Series {series_uid} is not in the store, so it is not known where its files are; nothing was opened.",
            hint="Open its folder again.",
            code="dicom.not_found",
        )
    source = Path(row.source_path)
    return choose_series(open_paths([source], context), source, series_uid)


def is_news(report: ScanReport, paths: Sequence[Path]) -> bool:
    """Whether an import has more to tell than the study that comes into view."""
    return bool(report.skipped) or len(report.series) != 1 or len(paths) > 1


def _import_notice(report: ScanReport) -> Notice:
    """Say how much was read, how much was skipped, and why."""
    details = "\n".join(f"{item.path}: {item.reason}" for item in report.skipped)
    severity: Severity = "info" if report.series else "warning"
    hint = "" if report.series else "Choose a folder, file or ZIP of DICOM CT images, or a NIfTI file."
    title = "Some files were set aside" if report.skipped else "Import finished"
    return Notice(severity, title, report.closing_text(), hint, details)
