"""The rest, its undo, the impression's file and the density, through the window with the real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialogButtonBox
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.settings import AppPaths, Settings, load_settings
from app.viewmodels.impression import ALL_CLEAR
from app.views.dialogs.impression import ImpressionDialog
from app.views.dialogs.rest_absent import RestAbsentDialog
from app.views.main_window import MainWindow
from engine.analysis import RESEARCH_NOTICE
from engine.store.records import FeedbackRecord
from engine.store.repository import Store
from tests.support.reading import state

pytestmark = pytest.mark.gui

WAIT_MS = 30_000
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def paths(tmp_path: Path) -> AppPaths:
    return AppPaths.at(tmp_path / "home").create()


@pytest.fixture
def application(paths: AppPaths) -> Iterator[Application]:
    application = Application(paths, Settings(reader="Dr Test", device="cpu", threads=1, ask_reader=False))
    application.start()
    yield application
    application.close()


@pytest.fixture
def window(qtbot: QtBot, application: Application, resources: Path, shared_data: Path) -> MainWindow:
    """Return a window with a study in view that no model may read: every finding can be judged all the same."""
    window = MainWindow(application.models, application, resources)
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    application.open_paths([shared_data / "head_small_not_hu"])
    qtbot.waitUntil(lambda: application.models.findings.status.kind == "refused", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: application.models.viewer.volume is not None, timeout=WAIT_MS)
    window.slice_view.setFocus()
    return window


def history(paths: AppPaths, series_uid: str | None) -> tuple[FeedbackRecord, ...]:
    assert series_uid is not None
    with Store.open(paths.store_file) as store:
        return store.feedback_history(series_uid)


def waited_for(qtbot: QtBot, application: Application, n_reviewed: int) -> None:
    findings = application.models.findings
    qtbot.waitUntil(lambda: findings.n_reviewed == n_reviewed, timeout=WAIT_MS)


def test_the_rest_is_one_write_with_a_row_a_finding_and_one_undo(
    qtbot: QtBot, window: MainWindow, application: Application, paths: AppPaths
) -> None:
    models = application.models
    series_uid = models.reading.series_uid
    state(models, "meningioma", "present", "2 cm")
    waited_for(qtbot, application, 1)
    qtbot.keyClick(window.slice_view, Qt.Key.Key_A, CTRL | SHIFT)
    dialog = window.command_target.dialog("rest_absent")
    assert isinstance(dialog, RestAbsentDialog)
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    accept = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
    assert accept.text() == "State 74 absent"
    accept.setFocus()
    qtbot.keyClick(accept, Qt.Key.Key_Space)
    waited_for(qtbot, application, 75)
    first, *rest = history(paths, series_uid)
    assert (first.finding_key, first.present, first.comment) == ("meningioma", True, "2 cm")
    assert {row.finding_key for row in rest} == {row.key for row in models.findings.rows} - {"meningioma"}
    assert len(rest) == 74
    assert {(row.present, row.reader) for row in rest} == {(False, "Dr Test")}
    assert len({row.created_utc for row in rest}) == 1

    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Z, CTRL)
    waited_for(qtbot, application, 1)
    assert models.findings.row("meningioma").feedback is not None
    withdrawn = history(paths, series_uid)[75:]
    assert {row.verdict for row in withdrawn} == {"withdrawn"}
    assert {row.supersedes_id for row in withdrawn} == {row.id for row in rest}
    assert "74 statements" in models.notices.notices[-1].message
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Z, CTRL)
    waited_for(qtbot, application, 0)


def test_the_impression_goes_to_a_file_without_the_patient(
    qtbot: QtBot, window: MainWindow, application: Application, tmp_path: Path
) -> None:
    models = application.models
    models.feedback.absent(models.findings.plan_rest().keys())
    waited_for(qtbot, application, 75)
    qtbot.keyClick(window.slice_view, Qt.Key.Key_I, CTRL)
    dialog = window.command_target.dialog("impression")
    assert isinstance(dialog, ImpressionDialog)
    target = tmp_path / "draft.txt"
    dialog.path.setText(str(target))
    qtbot.mouseClick(dialog.save, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(target.exists, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: any("draft.txt" in item.message for item in models.notices.notices), timeout=WAIT_MS)
    text = target.read_text(encoding="utf-8")
    assert RESEARCH_NOTICE in text
    assert ALL_CLEAR.format(n=44) in text
    info = models.viewer.info
    assert info is not None
    assert info.title
    assert models.reading.series_uid
    for identity in (info.title, models.reading.series_uid):
        assert identity not in text
    dialog.path.setText(str(tmp_path / "nowhere" / "draft.txt"))
    qtbot.mouseClick(dialog.save, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: models.notices.notices[-1].severity == "error", timeout=WAIT_MS)
    assert "nowhere" in models.notices.notices[-1].message


def test_the_density_is_kept(qtbot: QtBot, window: MainWindow, application: Application, paths: AppPaths) -> None:
    qtbot.keyClick(window.slice_view, Qt.Key.Key_D, Qt.KeyboardModifier.AltModifier)

    def kept() -> bool:
        return load_settings(paths.settings_file).settings.findings_density == "compact"

    qtbot.waitUntil(kept, timeout=WAIT_MS)
