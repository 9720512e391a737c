"""What the window keeps when things happen at an awkward moment: closing, another model, a series that is gone."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app import composition
from app.composition import Application
from app.controllers.studies import find_series
from app.operations.models import open_library
from app.settings import AppPaths, Settings
from engine.errors import DicomError
from engine.findings.catalogue import Catalogue
from engine.inference.worker import serve
from engine.progress import NULL_CONTEXT
from engine.store.repository import Store
from tests.support import scripted_worker
from tests.support.models import write_random_package
from tests.support.reading import state

WAIT_MS = 120_000

Start = Callable[..., Application]


@pytest.fixture
def paths(tmp_path: Path) -> AppPaths:
    return AppPaths.at(tmp_path / "home").create()


@pytest.fixture
def start(paths: AppPaths, qtbot: QtBot) -> Iterator[Start]:
    running: list[Application] = []

    def start(worker: Callable[..., None] = scripted_worker.serve) -> Application:
        application = Application(paths, Settings(reader="Dr Test", device="cpu", threads=1), worker=worker)
        running.append(application)
        application.start()
        return application

    yield start
    for application in running:
        application.close()


def show_refused(application: Application, qtbot: QtBot, path: Path) -> str:
    """Open a series that no model takes, which therefore has no analysis; its UID."""
    application.open_paths([path])
    qtbot.waitUntil(lambda: application.models.findings.status.kind == "refused", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not application.runner.running, timeout=WAIT_MS)
    assert application.session.current is not None
    return application.session.current.uid


def test_a_verdict_reaches_a_store_that_another_program_holds_while_we_close(
    start: Start, qtbot: QtBot, paths: AppPaths, shared_data: Path, catalogue: Catalogue
) -> None:
    application = start()
    uid = show_refused(application, qtbot, shared_data / "head_small_not_hu")
    other = sqlite3.connect(paths.store_file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(6.0, lambda: other.execute("ROLLBACK"))
    release.start()
    state(application.models, next(iter(catalogue)), "absent", "said while closing")
    application.close()
    with Store.open(paths.store_file, read_only=True) as store:
        kept = [record.comment for record in store.feedback_history(uid)]
    release.join()
    other.close()
    assert kept == ["said while closing"]


def test_work_that_does_not_end_in_time_is_told_on_stderr(
    start: Start, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    application = start()
    qtbot.waitUntil(lambda: not application.runner.running, timeout=WAIT_MS)
    monkeypatch.setattr(composition, "SHUTDOWN_WAIT_S", 0.1)
    release = threading.Event()
    application.session.with_store(lambda store: release.wait(30), "Saving")
    application.close()
    release.set()
    assert "may not have been saved" in capsys.readouterr().err


def test_a_verdict_given_without_an_analysis_is_blind(
    start: Start, qtbot: QtBot, paths: AppPaths, shared_data: Path, catalogue: Catalogue
) -> None:
    application = start()
    uid = show_refused(application, qtbot, shared_data / "head_small_not_hu")
    state(application.models, next(iter(catalogue)), "absent")
    application.close()
    with Store.open(paths.store_file, read_only=True) as store:
        (record,) = store.feedback_history(uid)
    assert record.mode == "blind"


def test_a_model_activated_during_an_analysis_analyses_the_series_in_view(
    start: Start, qtbot: QtBot, paths: AppPaths, ge_tilt: Path, tmp_path: Path, catalogue: Catalogue
) -> None:
    library = open_library(paths)
    for name, n_keys, seed in (("first", 20, 1), ("second", 5, 2)):
        write_random_package(tmp_path / name, tuple(catalogue)[:n_keys], seed=seed, version=str(seed))
    first, second = (library.install(tmp_path / name).digest for name in ("first", "second"))
    library.activate(first)
    application = start(serve)
    models, session = application.models, application.session
    shown = []
    models.findings.rows_changed.connect(lambda: shown.append(models.findings.identity))
    release = threading.Event()
    session.run(lambda context: release.wait(60), lane="compute", title="Before it")
    application.open_paths([ge_tilt])
    qtbot.waitUntil(lambda: models.findings.status.kind == "analysing", timeout=WAIT_MS)
    application.activate_model(second)
    qtbot.waitUntil(lambda: session.active_model is not None and session.active_model.digest == second, timeout=WAIT_MS)
    release.set()
    qtbot.waitUntil(lambda: models.findings.status.kind == "analysed", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not application.runner.running, timeout=WAIT_MS)
    assert {identity.digest for identity in shown if identity is not None} == {second}
    assert models.findings.n_covered == 5
    uid = models.worklist.rows[0].series_uid
    assert session.store.require().latest_analysis(uid, first) is not None, "what was computed is kept"
    assert session.store.require().latest_analysis(uid, second) is not None


def test_a_series_that_the_store_does_not_know_is_not_looked_for_in_the_working_folder(
    start: Start, qtbot: QtBot, ge_tilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = start()
    qtbot.waitUntil(lambda: not application.runner.running, timeout=WAIT_MS)
    monkeypatch.chdir(ge_tilt)
    with pytest.raises(DicomError) as caught:
        find_series(application.session, "1.2.3", NULL_CONTEXT)
    assert caught.value.code == "dicom.not_found"
    assert "1.2.3" in caught.value.message
    assert not application.session.scanned
