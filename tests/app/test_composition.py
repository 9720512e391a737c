"""The window's whole path, with its real worker: open, read, analyse, judge, undo, reopen, crash, refuse."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.operations.models import open_library
from app.settings import AppPaths, Settings
from app.views.main_window import MainWindow
from engine.findings.catalogue import Catalogue
from engine.store.repository import Store
from tests.support.models import write_random_package
from tests.support.reading import state

WAIT_MS = 120_000


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "first"
    write_random_package(folder, tuple(catalogue)[:20])
    return folder


@pytest.fixture
def paths(tmp_path: Path, package: Path) -> AppPaths:
    paths = AppPaths.at(tmp_path / "home").create()
    library = open_library(paths)
    library.activate(library.install(package).digest)
    return paths


@pytest.fixture
def start(paths: AppPaths, qtbot: QtBot) -> Iterator[Callable[[], Application]]:
    running: list[Application] = []

    def start() -> Application:
        application = Application(paths, Settings(reader="Dr Test", device="cpu", threads=1))
        running.append(application)
        application.start()
        return application

    yield start
    for application in running:
        application.close()


def status(application: Application) -> str:
    return application.models.findings.status.kind


def open_and_analyse(application: Application, qtbot: QtBot, path: Path) -> None:
    application.open_paths([path])
    qtbot.waitUntil(lambda: status(application) == "analysed", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: application.models.worklist.rows[0].n_positive is not None, timeout=WAIT_MS)


def test_from_a_folder_to_a_verdict_that_is_there_after_a_restart(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path, resources: Path, paths: AppPaths
) -> None:
    application = start()
    window = MainWindow(application.models, application, resources)
    qtbot.addWidget(window)
    window.show()
    open_and_analyse(application, qtbot, ge_tilt)
    models = application.models
    assert models.viewer.n_slices == 28
    assert models.findings.n_covered == 20
    assert models.evidence.view is not None
    assert models.worklist.rows[0].n_positive == models.findings.n_positive

    key = next(row.key for row in models.findings.rows if row.covered)
    row = models.findings.row(key)
    models.viewer.slice_index = 11
    state(application.models, key, "absent" if row.positive else "present", "motion")
    qtbot.waitUntil(lambda: models.findings.row(key).feedback is not None)
    with Store.open(paths.store_file) as store:
        (record,) = store.feedback_history(models.worklist.rows[0].series_uid)
    assert record.present is (not row.positive)
    assert record.probability == pytest.approx(row.value)
    assert record.sop_instance_uids == (models.viewer.volume.sop_instance_uids[11],)  # type: ignore[union-attr]
    assert (record.reader, record.mode, record.verdict, record.comment) == ("Dr Test", "ai_seen", "disagree", "motion")
    application.close()

    again = start()
    uid = record.series_uid
    qtbot.waitUntil(lambda: again.models.worklist.row(uid) is not None, timeout=WAIT_MS)
    again.select_series(uid)
    qtbot.waitUntil(lambda: status(again) == "analysed", timeout=WAIT_MS)
    stands = again.models.findings.row(key).feedback
    assert stands is not None
    assert (stands.answer, stands.comment) == ("absent" if row.positive else "present", "motion")
    again.feedback.undo()
    qtbot.waitUntil(lambda: again.models.findings.row(key).feedback is None)


def test_a_killed_worker_costs_the_running_analysis_only(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path
) -> None:
    application = start()
    application.open_paths([ge_tilt])
    qtbot.waitUntil(lambda: status(application) == "analysing", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: application.compute.device is not None, timeout=WAIT_MS)
    killed = application.compute.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    qtbot.waitUntil(lambda: status(application) in ("failed", "analysed"), timeout=WAIT_MS)
    assert application.models.viewer.volume is not None, "the picture stays"
    if status(application) == "failed":  # The kill came while the analysis was running, as it nearly always does.
        assert "ended unexpectedly" in application.models.findings.status.reason
        application.analyse(application.models.worklist.rows[0].series_uid)
        qtbot.waitUntil(lambda: status(application) == "analysed", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: application.compute.pid not in (None, killed), timeout=WAIT_MS)


def test_a_study_out_of_scope_is_shown_and_refused_with_its_reason(
    start: Callable[[], Application], qtbot: QtBot, shared_data: Path
) -> None:
    application = start()
    application.open_paths([shared_data / "head_small_not_hu"])
    qtbot.waitUntil(lambda: application.models.viewer.volume is not None, timeout=WAIT_MS)
    models = application.models
    qtbot.waitUntil(lambda: models.findings.status.kind == "refused", timeout=WAIT_MS)
    assert "Hounsfield" in models.findings.status.reason
    assert models.viewer.info is not None
    assert "Hounsfield" in models.viewer.info.banner
    assert models.findings.n_covered == 0


def test_bad_input_becomes_a_notice_and_leaves_the_list_as_it_was(
    start: Callable[[], Application], qtbot: QtBot, shared_data: Path, tmp_path: Path
) -> None:
    application = start()
    (tmp_path / "notes.dcm").write_bytes(b"no DICOM at all")
    application.open_paths([tmp_path / "notes.dcm"])
    qtbot.waitUntil(lambda: bool(application.models.notices.notices), timeout=WAIT_MS)
    assert application.models.notices.notices[0].severity == "warning"
    application.open_paths([tmp_path / "nowhere"])
    qtbot.waitUntil(lambda: len(application.models.notices.notices) == 2, timeout=WAIT_MS)
    assert "nowhere" in application.models.notices.notices[1].message
    assert not application.models.worklist.rows


def test_another_active_model_gives_its_own_analysis(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path, tmp_path: Path, catalogue: Catalogue
) -> None:
    application = start()
    open_and_analyse(application, qtbot, ge_tilt)
    models = application.models
    first = models.findings.identity
    assert first is not None
    second = write_random_package(tmp_path / "second", tuple(catalogue)[:5], seed=2, version="2")
    application.install_model(tmp_path / "second")
    qtbot.waitUntil(lambda: len(models.library.rows) >= 2, timeout=WAIT_MS)
    application.activate_model(second.digest)
    qtbot.waitUntil(
        lambda: models.findings.identity is not None and models.findings.identity.digest == second.digest,
        timeout=WAIT_MS,
    )
    assert models.findings.n_covered == 5
    assert models.library.can_roll_back
    application.rollback_model()
    qtbot.waitUntil(
        lambda: models.findings.identity is not None and models.findings.identity.digest == first.digest,
        timeout=WAIT_MS,
    )


def test_corrections_are_exported(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path, tmp_path: Path
) -> None:
    application = start()
    open_and_analyse(application, qtbot, ge_tilt)
    key = next(row.key for row in application.models.findings.rows if row.covered)
    state(application.models, key, "present")
    target = tmp_path / "corrections.csv"
    application.export_corrections("csv", target)
    qtbot.waitUntil(target.exists, timeout=WAIT_MS)
    assert key in target.read_text(encoding="utf-8")
    assert {item.key for item in application.export_formats()} >= {"csv", "jsonl"}
