"""The worklist in the real window, with mouse and keys, on a real store: find, open, filter, drop, queue, watch."""

from __future__ import annotations

import functools
import gc
import shutil
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QInputDialog, QLineEdit
from pytestqt.qtbot import QtBot
from sqlalchemy import update

from app.composition import Application
from app.controllers import watch as watch_controller
from app.operations.watch_folder import FolderWatch
from app.settings import AppPaths, Settings
from app.views import theme
from app.views.main_window import MainWindow
from app.views.panels.worklist_items import BLANK, DATE, PATIENT
from benchmarks.worklist import fill
from engine.store.records import SeriesRecord, StudyRecord
from engine.store.repository import Store
from engine.store.tables import WorklistTable
from engine.store.workflow import WorklistQuery, WorklistRow
from tests.support import scripted_worker

pytestmark = pytest.mark.gui

WAIT_MS = 60_000
N_STUDIES = 450
CTRL, SHIFT, ALT = (
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)

Open = Callable[..., tuple[MainWindow, Application]]


@pytest.fixture(scope="module")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "store.sqlite"
    with Store.open(path) as store:
        fill(store, N_STUDIES)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> AppPaths:
    return AppPaths.at(tmp_path / "home").create()


@pytest.fixture
def open_window(paths: AppPaths, qtbot: QtBot, resources: Path) -> Iterator[Open]:
    """Return what opens the program on the store of this test; several times for several windows."""
    running: list[Application] = []

    def open_window(**settings: object) -> tuple[MainWindow, Application]:
        qt = QApplication.instance()
        assert isinstance(qt, QApplication)
        theme.apply_theme(qt, resources)
        chosen = Settings.model_validate({"reader": "Dr Test", "ask_reader": False, "device": "cpu"} | settings)
        application = Application(paths, chosen, worker=scripted_worker.serve)
        running.append(application)
        window = MainWindow(application.models, application, resources)
        qtbot.addWidget(window)
        window.resize(1366, 768)
        with qtbot.waitExposed(window):
            window.show()
        application.start()
        window.activateWindow()
        window.slice_view.setFocus()
        qtbot.waitUntil(lambda: application.worklist.settled and application.session.library_known, timeout=WAIT_MS)
        return window, application

    yield open_window
    for application in running:
        application.close()


@pytest.fixture
def filled(paths: AppPaths, filled_store: Path, open_window: Open) -> tuple[MainWindow, Application]:
    shutil.copy(filled_store, paths.store_file)
    return open_window()


def settle(qtbot: QtBot, application: Application) -> None:
    qtbot.waitUntil(lambda: application.worklist.settled and not application.runner.running, timeout=WAIT_MS)


def expected(application: Application, query: WorklistQuery) -> list[str]:
    page = application.session.store.require().worklist(replace(query, limit=N_STUDIES))
    return [row.study_uid for row in page.rows]


def listed(application: Application) -> list[str]:
    return [row.study_uid for row in application.models.worklist.rows]


# -- finding studies -----------------------------------------------------------------------------------------------


def test_scrolling_to_the_end_brings_the_last_studies(qtbot: QtBot, filled: tuple[MainWindow, Application]) -> None:
    window, application = filled
    view, model = window.worklist_panel.list, application.models.worklist
    order = expected(application, WorklistQuery())
    assert listed(application)[:100] == order[:100]
    assert model.entry(440) is None
    assert view.model().index(440, 0).data() == BLANK
    bar = view.verticalScrollBar()
    bar.setValue(bar.maximum())
    qtbot.waitUntil(lambda: model.entry(N_STUDIES - 1) is not None, timeout=WAIT_MS)
    last = model.entry(N_STUDIES - 1)
    assert isinstance(last, WorklistRow)
    assert last.study_uid == order[-1]
    assert view.indexAt(QPoint(20, view.viewport().height() - 5)).row() == N_STUDIES - 1


def test_a_search_by_keys_finds_whatever_the_accents(qtbot: QtBot, filled: tuple[MainWindow, Application]) -> None:
    window, application = filled
    panel, model = window.worklist_panel, application.models.worklist
    qtbot.keyClick(window.slice_view, Qt.Key.Key_L, CTRL)
    assert panel.search.hasFocus()
    qtbot.keyClicks(panel.search, "muller asa")
    qtbot.waitUntil(lambda: model.known and model.query.search == "muller asa", timeout=WAIT_MS)
    settle(qtbot, application)
    names = {row.patient_name for row in model.rows}
    assert names == {"Müller^Åsa"}
    assert model.total == len(expected(application, WorklistQuery(search="muller asa")))
    assert f"of {N_STUDIES}" in panel.total.text()
    qtbot.keyClicks(panel.search, "xyz")
    qtbot.waitUntil(lambda: model.known and model.total == 0, timeout=WAIT_MS)
    assert "Clear the filter" in model.empty_text
    qtbot.keyClick(panel.search, Qt.Key.Key_L, CTRL | SHIFT)
    qtbot.waitUntil(lambda: model.known and model.total == N_STUDIES, timeout=WAIT_MS)
    assert panel.search.text() == ""
    assert not window.command_actions["clear_filter"].isEnabled()


def test_filters_narrow_by_state_urgency_and_date_and_are_kept(
    qtbot: QtBot, filled: tuple[MainWindow, Application], open_window: Open
) -> None:
    window, application = filled
    panel, model = window.worklist_panel, application.models.worklist
    counts = application.session.store.require().worklist_counts()
    assert panel.chips.buttons["failed"].text() == f"Failed {counts['failed']}"
    qtbot.mouseClick(panel.chips.buttons["failed"], Qt.MouseButton.LeftButton)
    qtbot.keyClick(window, Qt.Key.Key_F, CTRL | SHIFT)
    assert panel.filters.isVisible()
    qtbot.mouseClick(panel.filters.urgencies["critical"], Qt.MouseButton.LeftButton)
    panel.filters.date_from.setFocus()
    qtbot.keyClicks(panel.filters.date_from, "2023-13-01")
    qtbot.keyClick(panel.filters.date_from, Qt.Key.Key_Return)
    assert panel.filters.date_from.property("wrong")
    assert model.query.date_from == ""
    panel.filters.date_from.clear()
    qtbot.keyClicks(panel.filters.date_from, "2023-01-01")
    qtbot.keyClick(panel.filters.date_from, Qt.Key.Key_Return)
    wanted = WorklistQuery(states=("failed",), urgencies=("critical",), date_from="20230101")
    assert model.query == wanted
    qtbot.waitUntil(lambda: model.known, timeout=WAIT_MS)
    assert 0 < model.total < counts["failed"]
    assert listed(application) == expected(application, wanted)

    qtbot.mouseClick(panel.filters.saved.save, Qt.MouseButton.LeftButton)
    (dialog,) = (widget for widget in QApplication.topLevelWidgets() if isinstance(widget, QInputDialog))
    field = dialog.findChild(QLineEdit)
    assert field is not None
    field.clear()
    qtbot.keyClicks(field, "Kritisch, fehlgeschlagen")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(model.filters), timeout=WAIT_MS)
    assert panel.filters.saved.choose.text() == "Kritisch, fehlgeschlagen"
    application.close()

    again, second = open_window()
    (saved,) = second.models.worklist.filters
    again.worklist_panel.filters.saved.menu.actions()[0].trigger()
    assert second.models.worklist.query == wanted == saved.query
    again.worklist_panel.filters.saved.delete.click()
    qtbot.waitUntil(lambda: not second.models.worklist.filters, timeout=WAIT_MS)


def test_an_empty_store_says_what_to_do(open_window: Open) -> None:
    window, application = open_window()
    assert "Drop a folder" in application.models.worklist.empty_text
    assert window.worklist_panel.total.text() == "0"


def test_the_table_sorts_by_its_columns_and_opens_a_study(qtbot: QtBot, filled: tuple[MainWindow, Application]) -> None:
    window, application = filled
    model, table = application.models.worklist, window.worklist_page.table
    qtbot.keyClick(window.slice_view, Qt.Key.Key_L, SHIFT)
    assert table.isVisible()
    assert not window.slice_view.isVisible()
    header = table.horizontalHeader()
    for column, order, descending in ((PATIENT, "patient", False), (PATIENT, "patient", True), (DATE, "date", True)):
        place = QPoint(header.sectionViewportPosition(column) + 20, header.height() // 2)
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        qtbot.waitUntil(lambda: model.known, timeout=WAIT_MS)
        assert (
            listed(application)[:100] == expected(application, WorklistQuery(order=order, descending=descending))[:100]
        )  # type: ignore[arg-type]
    third = model.entry(2)
    assert third is not None
    qtbot.keyClick(table, Qt.Key.Key_Home, CTRL)
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down):
        qtbot.keyClick(table, key)
    assert model.current_uid is None, "walking through the table opens nothing"
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert model.current_uid == third.series_uid
    assert not model.as_table
    assert window.slice_view.isVisible()
    assert window.findings_panel.isVisible()


def test_keys_go_to_the_next_study_and_to_the_next_unreviewed_one(
    qtbot: QtBot, filled: tuple[MainWindow, Application]
) -> None:
    window, application = filled
    model = application.models.worklist
    rows = application.session.store.require().worklist(WorklistQuery(limit=N_STUDIES)).rows
    for key, place in ((Qt.Key.Key_Down, 0), (Qt.Key.Key_Down, 1), (Qt.Key.Key_Down, 2), (Qt.Key.Key_Up, 1)):
        qtbot.keyClick(window.slice_view, key, CTRL)
        assert model.current_uid == rows[place].series_uid
        settle(qtbot, application)
    unreviewed = [row.series_uid for row in rows if row.state != "reviewed" and row.series_uid != model.current_uid]
    for uid in unreviewed[:3]:
        qtbot.keyClick(window.slice_view, Qt.Key.Key_N, CTRL)
        qtbot.waitUntil(lambda uid=uid: model.current_uid == uid, timeout=WAIT_MS)
        settle(qtbot, application)


def test_a_study_of_several_series_opens_in_place(qtbot: QtBot, paths: AppPaths, open_window: Open) -> None:
    study = StudyRecord("1.2", "P7", "Nguyễn^Thị", "20260102", "CCT")
    with Store.open(paths.store_file) as store:
        store.register(
            [(study, SeriesRecord(f"1.2.{n}", "1.2", f"Kernel {n}", "volume", 30, (), "/x", n)) for n in (1, 2, 3)]
        )
        store.register([(replace(study, study_uid="9"), SeriesRecord("9.1", "9", "", "volume", 9, (), "/x"))])
    window, application = open_window()
    view, model = window.worklist_panel.list, application.models.worklist
    place = next(row for row in range(2) if model.entry(row).n_series == 3)  # type: ignore[union-attr]
    sign = view.visualRect(view.model().index(place, 0)).topLeft() + QPoint(8, 12)
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=sign)
    qtbot.waitUntil(lambda: view.model().rowCount() == 5, timeout=WAIT_MS)
    assert model.current_uid is None, "opening the study in the list opens no series"
    shown = [model.entry(row).series_uid for row in range(place + 1, place + 4)]  # type: ignore[union-attr]
    assert shown == ["1.2.1", "1.2.2", "1.2.3"]
    rect = view.visualRect(view.model().index(place + 2, 0))
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert model.current_uid == "1.2.2"
    settle(qtbot, application)
    assert view.currentIndex().row() == place + 2
    qtbot.keyClick(view, Qt.Key.Key_Left)
    assert view.model().rowCount() == 2
    assert view.currentIndex().row() == place
    qtbot.keyClick(view, Qt.Key.Key_Right)
    qtbot.waitUntil(lambda: view.model().rowCount() == 5, timeout=WAIT_MS)


def test_a_blind_reader_sees_nothing_of_what_models_found(
    qtbot: QtBot, paths: AppPaths, filled_store: Path, open_window: Open
) -> None:
    shutil.copy(filled_store, paths.store_file)
    with Store.open(paths.store_file) as store:
        seen = next(row for row in store.worklist(WorklistQuery(order="date")).rows if row.n_positive)
        store.start_reading(seen.series_uid, "Dr Test", "ai_seen")
        with store._writing() as session:  # renewed from its analyses, of which it has none
            session.execute(
                update(WorklistTable).where(WorklistTable.series_uid == seen.series_uid).values(n_positive=2)
            )
    window, application = open_window(blind_first_read=True)
    model = application.models.worklist
    assert model.effective_query.order == "date", "an order by urgency would tell what was found"
    assert listed(application)[:100] == expected(application, WorklistQuery(order="date"))[:100]
    shown = {row.study_uid for row in model.rows if row.n_positive is not None or row.positive_keys or row.priority}
    assert shown == {seen.study_uid}
    assert not window.worklist_panel.filters.positive.isEnabled()
    application.reading.set_blind(False)
    qtbot.waitUntil(lambda: model.known and model.effective_query.order == "priority", timeout=WAIT_MS)
    assert any(row.n_positive for row in model.rows)


# -- dropping ------------------------------------------------------------------------------------------------------


def test_files_dropped_on_any_panel_are_imported_and_reported(
    qtbot: QtBot, open_window: Open, resources: Path, tmp_path: Path, ge_tilt: Path
) -> None:
    window, application = open_window()
    demo = resources / "demo" / "phantom"
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for file in ge_tilt.rglob("*"):
            if file.is_file():
                stream.write(file, file.name)
    note = tmp_path / "letter.txt"
    note.write_text("no image", encoding="utf-8")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in (demo, archive, note)])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    for target in (window.worklist_panel.search, window.feedback_box.comment, window.slice_view.viewport()):
        assert not target.acceptDrops(), "the window gets what falls on it"
    QApplication.sendEvent(window, QDragEnterEvent(QPoint(9, 9), copy, mime, left, none))
    assert window.drop_highlight.isVisible()
    assert "3 files" in window.drop_highlight.text
    QApplication.sendEvent(window, QDragLeaveEvent())
    assert not window.drop_highlight.isVisible()
    QApplication.sendEvent(window, QDragEnterEvent(QPoint(9, 9), copy, mime, left, none))
    QApplication.sendEvent(window, QDropEvent(QPointF(9, 9), copy, mime, left, none))
    assert not window.drop_highlight.isVisible()
    qtbot.waitUntil(lambda: application.models.worklist.total >= 2, timeout=WAIT_MS)
    (report,) = (notice for notice in application.models.notices.notices if "skipped" in notice.message)
    assert "letter.txt" in report.details
    assert " read in " in report.message


# -- the queue -----------------------------------------------------------------------------------------------------


@pytest.fixture
def inbox(resources: Path, ge_tilt: Path, tmp_path: Path) -> Path:
    """Return a folder with three volumes that can be analysed: the phantom, twice under other names, and a real one."""
    folder = tmp_path / "inbox"
    shutil.copytree(ge_tilt, folder / "real")
    for number in (1, 2):
        (folder / str(number)).mkdir()
        for file in (resources / "demo" / "phantom").glob("*.dcm"):
            dataset = pydicom.dcmread(file)
            dataset.StudyInstanceUID += f".{number}"
            dataset.SeriesInstanceUID += f".{number}"
            dataset.PatientName = f"Phantom^{number}"
            dataset.save_as(folder / str(number) / file.name)
    return folder


def series_of(application: Application) -> list[str]:
    return [series.instance_uid for series in application.session.scanned.values() if series.analysable]


def queued(application: Application) -> list[tuple[str, str]]:
    return [(row.series_uid, row.state) for row in application.models.queue.rows]


def import_paused(qtbot: QtBot, open_window: Open, inbox: Path) -> tuple[MainWindow, Application, list[str]]:
    """Open the window on all volumes, the first in view and analysed, the others waiting in a paused queue."""
    window, application = open_window(queue_paused=True)
    application.open_paths([inbox])
    qtbot.waitUntil(lambda: application.models.findings.status.kind == "analysed", timeout=WAIT_MS)
    settle(qtbot, application)
    others = [uid for uid in series_of(application) if uid != application.models.worklist.current_uid]
    application.queue.add(others)
    qtbot.waitUntil(lambda: len(application.models.queue.rows) == len(others), timeout=WAIT_MS)
    return window, application, others


def test_the_queue_is_reordered_cancelled_and_worked_off_in_the_background(
    qtbot: QtBot, open_window: Open, inbox: Path
) -> None:
    window, application, others = import_paused(qtbot, open_window, inbox)
    models, panel = application.models, window.worklist_panel.queue
    first, second = others[:2]
    assert queued(application)[:2] == [(first, "waiting"), (second, "waiting")]
    assert "paused" in panel.head.text()
    qtbot.keyClick(window.slice_view, Qt.Key.Key_K, CTRL)
    assert panel.list.isVisible()
    rect = panel.list.visualItemRect(panel.list.item(1))
    qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Up, ALT)
    qtbot.waitUntil(lambda: queued(application)[0][0] == second, timeout=WAIT_MS)
    assert models.queue.selected == second
    panel.list.setCurrentRow(0)
    panel.list.drop_at(0, panel.list.visualItemRect(panel.list.item(1)).bottom() - 1)
    qtbot.waitUntil(lambda: queued(application)[0][0] == first, timeout=WAIT_MS)
    for uid in others[2:]:
        application.queue.cancel(uid)
    volume, identity = models.viewer.volume, models.findings.identity
    models.viewer.slice_index = 3
    told: list[object] = []
    models.viewer.volume_changed.connect(lambda: told.append("volume"))
    models.findings.rows_changed.connect(lambda: told.append("findings"))
    qtbot.mouseClick(panel.pause, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not models.queue.rows, timeout=WAIT_MS)
    settle(qtbot, application)
    store = application.session.store.require()
    assert all(store.latest_analysis(uid) is not None for uid in (first, second))
    assert (models.viewer.volume, models.findings.identity, models.viewer.slice_index) == (volume, identity, 3)
    assert told == [], "the study in view is left alone"
    assert not application.session.settings.queue_paused


def test_a_worker_that_dies_fails_its_study_with_the_reason_and_the_next_one_goes_on(
    qtbot: QtBot, open_window: Open, inbox: Path
) -> None:
    window, application, others = import_paused(qtbot, open_window, inbox)
    models, session = application.models, application.session
    good = session.active_model
    assert good is not None
    session.active_model = replace(good, path=Path("crash"))
    doomed, fine = others[:2]

    def heal() -> None:
        if any(row.state == "failed" for row in models.queue.rows):
            session.active_model = good

    models.queue.changed.connect(heal)
    application.queue.pause(False)
    qtbot.waitUntil(lambda: (doomed, "failed") in queued(application), timeout=WAIT_MS)
    session.active_model = good
    row = models.queue.row(doomed)
    assert row is not None
    assert "ended unexpectedly" in row.message
    assert models.findings.status.kind == "analysed", "the study in view keeps its findings"
    assert not [notice for notice in models.notices.notices if "failed" in notice.title], "nothing is put in its way"
    state = session.store.require().get_series(doomed)
    assert state is not None
    assert (state.state, state.state_message) == ("failed", row.message)
    qtbot.waitUntil(lambda: fine not in dict(queued(application)) or dict(queued(application))[fine] == "failed")
    models.queue.selected = doomed
    qtbot.keyClick(window.slice_view, Qt.Key.Key_R, ALT)
    qtbot.waitUntil(lambda: session.store.require().latest_analysis(doomed) is not None, timeout=WAIT_MS)


def test_two_windows_share_the_queue_and_analyse_nothing_twice(qtbot: QtBot, open_window: Open, inbox: Path) -> None:
    _, first, others = import_paused(qtbot, open_window, inbox)
    _, second = open_window(queue_paused=True)
    begun: list[str] = []
    for application in (first, second):
        start = application.analyses.start

        def counting(
            uid: str, digest: str | None, ended: Callable[..., None], start: Callable[..., object] = start
        ) -> object:
            begun.append(uid)
            return start(uid, digest, ended)

        application.analyses.start = counting  # type: ignore[method-assign,assignment]
    for application in (first, second):
        application.queue.pause(False)
    store = first.session.store.require()
    qtbot.waitUntil(lambda: not store.queue(), timeout=WAIT_MS)
    for application in (first, second):
        settle(qtbot, application)
    assert sorted(begun) == sorted(others)


def test_the_queue_is_there_after_a_restart(qtbot: QtBot, open_window: Open, inbox: Path) -> None:
    _, application, others = import_paused(qtbot, open_window, inbox)
    application.close()
    _, again = open_window(queue_paused=True)
    qtbot.waitUntil(lambda: [uid for uid, _ in queued(again)] == others, timeout=WAIT_MS)
    assert again.models.queue.rows[0].label
    again.queue.pause(False)
    qtbot.waitUntil(lambda: not again.models.queue.rows, timeout=WAIT_MS)


# -- the watched folder --------------------------------------------------------------------------------------------


def test_what_arrives_in_the_watched_folder_is_imported_once(
    qtbot: QtBot, open_window: Open, ge_tilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_controller, "POLL_MS", 50)
    monkeypatch.setattr(watch_controller, "MISSING_POLL_MS", 50)
    monkeypatch.setattr(watch_controller, "FolderWatch", functools.partial(FolderWatch, quiet_s=0.2))
    folder = tmp_path / "arrivals"
    window, application = open_window()
    models = application.models
    application.watch.choose(str(folder), True, True)
    qtbot.waitUntil(lambda: models.watch.state.kind == "missing", timeout=WAIT_MS)
    assert "folder not there" in window.worklist_panel.watch.text() or "not there" in models.watch.line
    shutil.copytree(ge_tilt, folder / "one")
    qtbot.waitUntil(lambda: models.watch.state.n_imported == 1, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: models.worklist.total == 1, timeout=WAIT_MS)
    assert models.worklist.current_uid is None, "nothing comes into view by itself"
    uid = models.worklist.rows[0].series_uid
    store = application.session.store.require()
    qtbot.waitUntil(lambda: store.latest_analysis(uid) is not None, timeout=WAIT_MS)
    application.close()

    again, second = open_window(watch_folder=str(folder), watch_on=True)
    qtbot.waitUntil(lambda: second.models.watch.state.kind == "watching", timeout=WAIT_MS)
    qtbot.wait(600)
    assert second.models.watch.state.n_imported == 0
    assert second.models.worklist.total == 1
    assert not second.models.queue.rows
    assert again.worklist_panel.watch.isVisible()
    qtbot.keyClick(again, Qt.Key.Key_W, ALT)
    assert not second.models.watch.on
    assert not again.worklist_panel.watch.isVisible()


# -- the end -------------------------------------------------------------------------------------------------------


def test_nothing_is_left_once_the_window_is_closed(
    qtbot: QtBot, paths: AppPaths, resources: Path, filled_store: Path
) -> None:
    shutil.copy(filled_store, paths.store_file)
    before = set(threading.enumerate())
    application = Application(paths, Settings(ask_reader=False), worker=scripted_worker.serve)
    window = MainWindow(application.models, application, resources)
    window.show()
    application.start()
    qtbot.waitUntil(lambda: application.worklist.settled, timeout=WAIT_MS)
    window.worklist_panel.search.setText("x")
    window.worklist_panel.search.textEdited.emit("x")
    held = [weakref.ref(item) for item in (window.worklist_panel, window.worklist_page, window.worklist_items)]
    application.close()
    window.close()
    window.deleteLater()
    del window
    qtbot.wait(300)
    gc.collect()
    left = {thread for thread in threading.enumerate() if thread not in before and thread.name != "compute-watch"}
    assert left == set()
    application.models.worklist.query = WorklistQuery(search="nobody listens")
    assert [ref() for ref in held] == [None, None, None]
