"""A review window whose statements go through the real controllers into a real store; series are put in by hand."""

from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from app.controllers.agreement import AgreementController
from app.controllers.feedback import FeedbackController
from app.controllers.reading import ReadingController
from app.controllers.rows import feedback_views
from app.controllers.session import LANES, OpenSeries, Session
from app.jobs.compute_process import ComputeProcess
from app.jobs.runner import JobRunner
from app.settings import AppPaths, Settings
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import Answer
from app.viewmodels.viewer import SeriesInfo
from engine.analysis import Analysis
from engine.findings.catalogue import Catalogue
from engine.geometry import Volume
from engine.inference.messages import WorkerSettings
from engine.inference.worker import serve
from engine.store.records import FeedbackRecord, SeriesRecord, StudyRecord
from engine.store.repository import Store
from tests.support.analyses import make_analysis, make_volume
from tests.support.window import RecordingActions, show_window

SERIES = ("1.2.3", "1.2.4")


def state(models: ReviewModels, key: str, answer: Answer, comment: str = "") -> None:
    """State something on a finding as the window does."""
    models.findings.selected_key = key
    if comment:
        models.feedback.edit(comment=comment)
    models.feedback.give(answer)


class ReadingRoom:
    """Models, controllers and window over the store in a folder; `store` reads the same file beside them."""

    def __init__(self, home: Path, catalogue: Catalogue, settings: Settings | None = None) -> None:
        self.paths = AppPaths.at(home).create()
        self.catalogue = catalogue
        settings = settings or Settings(reader="Dr Test")
        with Store.open(self.paths.store_file) as store:
            for uid in SERIES:
                store.upsert_study(StudyRecord(f"{uid}.0", f"P{uid}", f"Patient {uid}", "20260102", "Head"))
                store.upsert_series(SeriesRecord(uid, f"{uid}.0", "5 mm", "volume", 12, (), "/nowhere"))
        self.models = ReviewModels(settings.reader)
        self.models.reading.configure(settings.blind_first_read, settings.show_other_readers, settings.ask_reader)
        self.runner = JobRunner(LANES)
        worker = WorkerSettings(str(self.paths.catalogue_file), "cpu", 1, str(self.paths.backbones))
        self.session = Session(self.paths, settings, catalogue, self.models, self.runner, ComputeProcess(worker, serve))
        self.session.run(lambda context: self.session.store.open(), lane="store", title="Opening", cancellable=False)
        self.changes: list[dict[str, object]] = []
        self.feedback = FeedbackController(self.session)
        self.models.feedback.given.connect(self.feedback.submit)
        self.reading = ReadingController(self.session, self.feedback, lambda **change: self.changes.append(change))
        self.agreement = AgreementController(self.session, self.open)
        self.models.show_analysis(catalogue, None)
        self.reading.start()

    def show(self, qtbot: QtBot, resources: Path) -> RecordingActions:
        """Put the window on the screen; only what concerns reading is real of its actions."""
        self.window, actions = show_window(qtbot, self.models, resources)
        actions.feedback, actions.reading, actions.agreement = self.feedback, self.reading, self.agreement
        return actions

    def open(self, series_uid: str = SERIES[0], volume: Volume | None = None, analysed: bool = True) -> None:
        """Take a series into view as the application does, with an analysis or without."""
        session, models = self.session, self.models
        session.current = OpenSeries(series_uid)
        models.show_analysis(self.catalogue, None)
        models.viewer.set_volume(volume or make_volume(), SeriesInfo(series_uid, "Patient", "Head", "", (5.0,) * 12))
        self.feedback.reload()
        if analysed:
            self.analyse(make_analysis(self.catalogue, series_uid=series_uid))

    def analyse(self, analysis: Analysis) -> None:
        """Show an analysis of the series in view."""
        assert self.session.current is not None
        self.session.current.analysis = analysis
        self.models.show_analysis(self.catalogue, analysis)
        self.models.findings.set_feedback(feedback_views(self.session.current.feedback))

    def settle(self, qtbot: QtBot) -> None:
        """Wait until nothing is being saved or read any more."""
        qtbot.waitUntil(lambda: not self.runner.running, timeout=10_000)

    def history(self, series_uid: str = SERIES[0]) -> tuple[FeedbackRecord, ...]:
        """Return every row of a series, as another program reads them."""
        with Store.open(self.paths.store_file) as store:
            return store.feedback_history(series_uid)

    def close(self) -> None:
        """End the jobs and the store."""
        self.runner.submit(lambda context: self.session.store.close(), lane="store", title="Closing", cancellable=False)
        self.runner.shutdown(10.0)
