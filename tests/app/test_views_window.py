"""The real window under mouse and keys: viewer, evidence, findings, feedback, studies, notices and jobs."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QColor, QDropEvent, QKeySequence, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLineEdit, QListView, QTreeView, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from app.tools.registry import tools
from app.viewmodels.display import to_gray
from app.viewmodels.jobs import JobRow
from app.viewmodels.notices import Notice
from app.viewmodels.review import ReviewModels
from app.viewmodels.status import AnalysisStatus
from app.viewmodels.viewer import PRESETS, SeriesInfo
from app.views import theme
from app.views.commands.base import checked
from app.views.main_window import MainWindow
from app.views.panels.findings_delegate import MARK_PX, SLIM_BAR_PX, VERDICT_PX
from app.views.panels.findings_items import ROW_ROLE, UNCALIBRATED_SIGN, VALUE_ROLE
from app.views.panels.worklist_items import positive_text
from app.views.slice_view import SliceItem, SliceView
from engine.findings.catalogue import Catalogue
from tests.support.analyses import HELD_OUT, NOTICE, acquired_weights, make_analysis, make_volume
from tests.support.window import RecordingActions, fill_worklist, filled_models, series_item, show_window, study_row

pytestmark = pytest.mark.gui

Shown = tuple[MainWindow, RecordingActions]


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    return filled_models(catalogue)


@pytest.fixture
def shown(qtbot: QtBot, models: ReviewModels, resources: Path) -> Shown:
    return show_window(qtbot, models, resources)


def wheel(window: MainWindow, notches: int, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    view = window.slice_view.viewport()
    middle = QPointF(view.rect().center())
    event = QWheelEvent(
        middle,
        view.mapToGlobal(middle),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view, event)


def position_of(view: SliceView, x: float, y: float) -> QPoint:
    """Return the widget position of a point of the plane; the inverse of `plane_at`."""
    area, size = view.visible_plane(), view.viewport().size()
    return QPoint(
        round((x - area.x()) / area.width() * size.width()), round((y - area.y()) / area.height() * size.height())
    )


def drawn_gray(view: SliceView) -> np.ndarray:
    """Return the grey levels of the picture in the scene, uint8 [row, column]."""
    (item,) = (item for item in view.scene().items() if isinstance(item, SliceItem))
    return np.asarray(item.image)


# -- the viewer ----------------------------------------------------------------------------------------------------


def test_keys_and_wheel_scroll_and_the_cursor_follows(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    viewer, view = models.viewer, window.slice_view
    start = viewer.slice_index
    cursor = models.evidence.cursor
    for key, expected in (
        (Qt.Key.Key_Down, start + 1),
        (Qt.Key.Key_Up, start),
        (Qt.Key.Key_PageDown, start + 5),
        (Qt.Key.Key_PageUp, start),
        (Qt.Key.Key_End, 11),
        (Qt.Key.Key_Home, 0),
    ):
        qtbot.keyClick(view, key)
        assert viewer.slice_index == expected
    assert models.evidence.cursor is not None
    assert cursor is not None
    assert models.evidence.cursor < cursor
    wheel(window, -3)
    assert viewer.slice_index == 3
    assert window.slice_bar.value() == 3
    assert viewer.volume is not None
    assert np.array_equal(drawn_gray(view), to_gray(viewer.volume.voxels[3], *viewer.window))


def test_ctrl_wheel_zooms_about_the_pointer(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    middle = QPointF(window.slice_view.viewport().rect().center())
    before = window.slice_view.plane_at(middle)
    wheel(window, 2, Qt.KeyboardModifier.ControlModifier)
    assert models.viewer.zoom == pytest.approx(1.44)
    assert window.slice_view.plane_at(middle) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.key)
def test_a_preset_key_changes_the_picture_at_once(qtbot: QtBot, shown: Shown, models: ReviewModels, preset) -> None:  # type: ignore[no-untyped-def]
    window, _ = shown
    models.viewer.window = (0.0, 10.0)
    qtbot.keyClick(window.slice_view, getattr(Qt.Key, f"Key_{preset.shortcut}"))
    assert models.viewer.preset == preset.key
    if preset.center is not None:
        assert models.viewer.window == (preset.center, preset.width)
    assert models.viewer.volume is not None
    voxels = models.viewer.volume.voxels[models.viewer.slice_index]
    assert np.array_equal(drawn_gray(window.slice_view), to_gray(voxels, *models.viewer.window))
    assert window.presets.currentData() == preset.key
    assert window.command_actions[f"preset_{preset.key}"].isChecked()


def test_the_pointer_reads_the_voxel_under_it(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    volume = models.viewer.volume
    assert volume is not None
    for row, column in ((0, 0), (13, 29), (39, 47)):
        place = position_of(window.slice_view, (column + 0.5) * 1.0, (row + 0.5) * 2.0)
        move_with(window.slice_view.viewport(), Qt.MouseButton.NoButton, place)
        probe = models.viewer.probe
        assert probe is not None
        assert (probe.row, probe.column) == (row, column)
        assert probe.value == volume.voxels[models.viewer.slice_index, row, column]
        assert probe.text in window.slice_view.overlay_texts()["bottom_right"]
        assert probe.text == window.probe_text.text()


def test_right_drag_windows_and_middle_drag_pans_whatever_the_tool(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    viewer, port = models.viewer, window.slice_view.viewport()
    viewer.tool = "scroll"
    width, centre, index = viewer.window[1], viewer.centre, viewer.slice_index
    drag(qtbot, port, Qt.MouseButton.RightButton, QPoint(60, 0))
    assert viewer.window[1] > width
    drag(qtbot, port, Qt.MouseButton.MiddleButton, QPoint(0, 40))
    assert viewer.centre[1] < centre[1]
    assert viewer.slice_index == index
    drag(qtbot, port, Qt.MouseButton.LeftButton, QPoint(0, port.height() // 4 + 2))
    assert viewer.slice_index == index + 3


def drag(qtbot: QtBot, port, button: Qt.MouseButton, way: QPoint) -> None:  # type: ignore[no-untyped-def]
    start = port.rect().center()
    qtbot.mousePress(port, button, pos=start)
    move_with(port, button, start + way)
    qtbot.mouseRelease(port, button, pos=start + way)


def move_with(port, button: Qt.MouseButton, end: QPoint) -> None:  # type: ignore[no-untyped-def]
    """Move with a button held; QTest's own move carries none."""
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(end),
        port.mapToGlobal(QPointF(end)),
        Qt.MouseButton.NoButton,
        button,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(port, event)


def test_double_click_and_f_fit(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.viewer.zoom_by(4.0, (0.0, 0.0))
    qtbot.mouseDClick(window.slice_view.viewport(), Qt.MouseButton.LeftButton)
    assert models.viewer.zoom == 1.0
    models.viewer.zoom_by(4.0)
    qtbot.keyClick(window.slice_view, Qt.Key.Key_F)
    assert models.viewer.zoom == 1.0


def test_the_slice_keeps_its_aspect(shown: Shown) -> None:
    view = shown[0].slice_view
    origin, right, below = position_of(view, 0, 0), position_of(view, 48, 0), position_of(view, 0, 48)
    assert right.x() - origin.x() == pytest.approx(below.y() - origin.y(), abs=1)


@pytest.mark.parametrize("key", sorted(tools()))
def test_tool_keys_choose_the_tool(qtbot: QtBot, shown: Shown, models: ReviewModels, key: str) -> None:
    window, _ = shown
    keys = QKeySequence(tools()[key].shortcut)[0]
    qtbot.keyClick(window.slice_view, keys.key(), keys.keyboardModifiers())
    assert models.viewer.tool == key
    assert window.command_actions[f"tool_{key}"].isChecked()


def test_flipped_orientation_keeps_right_on_the_left(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    for row, column in (((-1, 0, 0), (0, -1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, 1, 0), (1, 0, 0))):
        models.viewer.set_volume(make_volume(row_cosine=row, column_cosine=column), SeriesInfo("1.2.3"))
        texts = window.slice_view.overlay_texts()
        assert (texts["left"], texts["right"], texts["top"], texts["bottom"]) == ("R", "L", "A", "P")
        left = window.slice_view.plane_at(QPointF(position_of(window.slice_view, 1, 10)))
        models.viewer.probe_at(*left)
        assert models.viewer.probe is not None
        lps = models.viewer.probe.lps_mm
        models.viewer.probe_at(models.viewer.plane_size[0] - 1, 10)
        assert models.viewer.probe.lps_mm is not None
        assert lps is not None
        assert lps[0] < models.viewer.probe.lps_mm[0]


def test_a_refused_series_wears_its_reason(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    reason = "Values are not Hounsfield units."
    models.viewer.set_volume(make_volume(units="unknown"), SeriesInfo("1.2.3", banner=reason))
    assert window.slice_view.overlay_texts()["banner"] == reason
    picture = window.slice_view.grab().toImage()
    color = picture.pixelColor(4, 4)
    assert color.red() > 120
    assert color.green() < 60


def test_cine_plays_and_stops(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    start = models.viewer.slice_index
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: models.viewer.slice_index != start)
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Space)
    assert not window.cine.running


# -- evidence ------------------------------------------------------------------------------------------------------


def test_a_click_in_the_strip_jumps_the_viewer(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    strip = window.evidence_panel.strip
    weights = acquired_weights(15, 12)
    for prepared in (0, 7, 14):
        layout = strip.strip_layout()
        assert layout is not None
        for row in (layout.ledger, layout.attention, layout.gates):
            models.viewer.slice_index = 5
            qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(int(layout.x_of(prepared)), row.center().y()))
            assert models.viewer.slice_index == int(np.argmax(weights[prepared]))


def test_the_cursor_is_drawn_where_the_viewer_is(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    strip = window.evidence_panel.strip
    for index in (2, 9):
        models.viewer.slice_index = index
        layout, cursor = strip.strip_layout(), models.evidence.cursor
        assert layout is not None
        assert cursor is not None
        image = strip.grab().toImage()
        color = image.pixelColor(int(layout.x_of(cursor)), layout.attention.top() + 2)
        assert color.lightness() > 200


def test_the_strip_is_walked_with_the_keys(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    strip = shown[0].evidence_panel.strip
    strip.setFocus()
    models.viewer.slice_index = 5
    for key, expected in (("Right", 6), ("Left", 5), ("PageUp", 10), ("PageUp", 11), ("PageDown", 6)):
        qtbot.keyClick(strip, getattr(Qt.Key, f"Key_{key}"))
        assert models.viewer.slice_index == expected


def test_bars_point_the_way_of_their_sign(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    strip, view = window.evidence_panel.strip, models.evidence.view
    layout = strip.strip_layout()
    assert view is not None
    assert layout is not None
    models.viewer.slice_index = 0
    image = strip.grab().toImage()
    x = int(layout.x_of(int(np.argmax(view.net_S))))
    top = image.pixelColor(x, layout.ledger.top() + 5)
    assert top.red() > top.blue()
    x = int(layout.x_of(int(np.argmin(view.net_S))))
    bottom = image.pixelColor(x, layout.ledger.bottom() - 5)
    assert bottom.blue() > bottom.red()


def test_j_jumps_to_the_slice_that_pushed_most(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    view = models.evidence.view
    assert view is not None
    qtbot.keyClick(window.slice_view, Qt.Key.Key_J)
    assert models.viewer.slice_index == view.acquired[int(np.argmax(view.net_S))][0]
    qtbot.keyClick(window.slice_view, Qt.Key.Key_J, Qt.KeyboardModifier.ShiftModifier)
    assert models.viewer.slice_index == view.acquired[int(np.argmin(view.net_S))][0]
    qtbot.keyClick(window.slice_view, Qt.Key.Key_B)
    assert models.evidence.split
    assert window.evidence_panel.split.isChecked()


def test_the_strip_says_why_it_is_empty(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.findings.selected_key = HELD_OUT[0]
    assert window.evidence_panel.strip.strip_layout() is None
    assert not window.evidence_panel.jump.isEnabled()
    assert "Not covered by this model" in models.evidence.empty_text


def test_nothing_on_the_strip_claims_laterality_or_evidence_from_attention(shown: Shown, models: ReviewModels) -> None:
    view = models.evidence.view
    assert view is not None
    text = f"{view.sentence} {view.slice_text(3)}".casefold()
    assert "shared by all findings" in text
    for word in ("left", "right", "because of", "caused"):
        assert word not in text


# -- findings and feedback -----------------------------------------------------------------------------------------


def listed(window: MainWindow) -> list[str]:
    items = window.findings_panel.tree.model()
    groups = [items.index(row, 0) for row in range(items.rowCount())]
    return [items.index(row, 0, group).data(ROW_ROLE).key for group in groups for row in range(items.rowCount(group))]


def test_search_narrows_the_list_and_return_selects(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    assert len(listed(window)) == 75
    qtbot.keyClick(window.slice_view, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    search = window.findings_panel.search
    assert search.hasFocus()
    qtbot.keyClicks(search, "epidural hem")
    qtbot.waitUntil(lambda: listed(window) == ["epidural_hematoma"])
    qtbot.keyClick(search, Qt.Key.Key_Return)
    assert models.findings.selected_key == "epidural_hematoma"
    search.clear()
    qtbot.waitUntil(lambda: len(listed(window)) == 75)


def test_letters_typed_into_the_search_box_are_no_verdicts(qtbot: QtBot, shown: Shown) -> None:
    window, actions = shown
    window.findings_panel.search.setFocus()
    qtbot.keyClicks(window.findings_panel.search, "audn1")
    assert window.findings_panel.search.text() == "audn1"
    assert actions.calls == []


def test_uncovered_findings_say_so(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.findings.selected_key = HELD_OUT[0]
    tree = window.findings_panel.tree
    assert "not covered by this model" in str(tree.currentIndex().data())
    assert "0.0" not in str(tree.currentIndex().data())
    assert "Not covered" in window.feedback_box.statement.text()


def test_clicking_a_row_selects_it_everywhere(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    tree = window.findings_panel.tree
    index = tree.model().index(4, 0, tree.model().index(0, 0))
    key = index.data(ROW_ROLE).key
    tree.scrollTo(index)
    qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=tree.visualRect(index).center())
    assert models.findings.selected_key == key
    assert models.evidence.view is not None
    assert models.evidence.view.key == key
    assert f">{index.data(ROW_ROLE).finding.label}</b>" in window.evidence_panel.text.text()
    qtbot.keyClick(tree, Qt.Key.Key_Down)
    assert models.findings.selected_key != key
    qtbot.keyClick(tree, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert models.findings.selected_key == key


def test_what_went_wrong_on_the_way_stands_beside_the_numbers(
    shown: Shown, models: ReviewModels, catalogue: Catalogue
) -> None:
    panel = shown[0].findings_panel
    assert not panel.warnings.isVisible()
    models.show_analysis(catalogue, replace(make_analysis(catalogue), warnings=("Not aligned: no head was found.",)))
    assert panel.warnings.isVisible()
    assert "Not aligned: no head was found." in panel.warnings.text()


def test_model_and_notice_stand_beside_the_numbers(shown: Shown, models: ReviewModels) -> None:
    panel = shown[0].findings_panel
    assert panel.notice.text() == NOTICE
    assert panel.notice.isVisible()
    assert "phantom-demo" in panel.identity.text()
    assert "uncalibrated score" in panel.legend.text()


def test_a_raw_score_among_calibrated_probabilities_is_marked(
    shown: Shown, models: ReviewModels, catalogue: Catalogue
) -> None:
    items, legend = shown[0].findings_panel.tree.model(), shown[0].findings_panel.legend
    assert models.findings.calibration == "none"
    assert UNCALIBRATED_SIGN not in legend.text()
    analysis = make_analysis(catalogue, calibrated=True)
    models.show_analysis(catalogue, analysis)
    assert models.findings.calibration == "all"
    assert "uncalibrated" not in legend.text()
    raw = next(result.key for result in analysis.findings if result.covered)
    mixed = [replace(item, calibrated_probability=None) if item.key == raw else item for item in analysis.findings]
    models.show_analysis(catalogue, replace(analysis, findings=tuple(mixed)))
    assert models.findings.calibration == "some"
    assert f"{UNCALIBRATED_SIGN}&nbsp;uncalibrated score" in legend.text()
    groups = [items.index(place, 0) for place in range(6)]
    rows = [items.index(row, 0, group) for group in groups for row in range(items.rowCount(group))]
    assert len(rows) == 75
    marked = {index.data(ROW_ROLE).key for index in rows if index.data(VALUE_ROLE).endswith(UNCALIBRATED_SIGN)}
    assert marked == {raw}


def test_refused_studies_say_why_in_both_panels(shown: Shown, models: ReviewModels, catalogue: Catalogue) -> None:
    window, _ = shown
    models.show_analysis(catalogue, None)
    models.show_status(AnalysisStatus("refused", "Values are not Hounsfield units."))
    assert "not Hounsfield" in window.findings_panel.status.text()
    assert "not Hounsfield" in models.evidence.empty_text
    assert len(listed(window)) == 75
    assert not window.findings_panel.notice.isVisible()


# -- studies, drops, notices, jobs ---------------------------------------------------------------------------------


def test_choosing_a_study_asks_once(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, actions = shown
    fill_worklist(models, study_row("1.2.3"), study_row("9.9", state="failed", state_message="Damaged."))
    view = window.worklist_panel.list
    rect = view.visualRect(view.model().index(1, 0))
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert actions.named("select_series") == [("9.9",)]
    models.worklist.current_uid = "9.9"
    models.worklist.show_current(series_item("9.9", kind="refused", state_text="Damaged."))
    assert actions.named("select_series") == [("9.9",)]
    assert not window.command_actions["analyse"].isEnabled()
    assert "Damaged." in str(view.model().index(1, 0).data(Qt.ItemDataRole.ToolTipRole))
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Up, Qt.KeyboardModifier.ControlModifier)
    assert actions.named("worklist.select_study") == [(-1,)]


def test_analyse_asks_for_the_current_series(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, actions = shown
    qtbot.keyClick(window.slice_view, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert actions.named("analyse") == [("1.2.3",)]
    models.worklist.show_current(series_item("1.2.3", state="analysing"))
    assert not window.command_actions["analyse"].isEnabled()


def test_dropped_files_are_opened(shown: Shown, tmp_path: Path) -> None:
    window, actions = shown
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path)), QUrl("https://example.org/x.dcm")])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    window.dropEvent(event)
    assert actions.named("open_paths") == [([tmp_path],)]


def test_an_empty_window_invites(qtbot: QtBot, resources: Path) -> None:
    window, _ = show_window(qtbot, ReviewModels(), resources)
    assert "drop it here" in window.slice_view.overlay_texts()["centre"]
    assert window.findings_panel.status.text() == "No study is open."
    assert window.feedback_box.title.text() == "No finding selected"
    assert not any(
        window.command_actions[name].isEnabled() for name in ("analyse", "volume", "present", "jump", "cancel")
    )
    for command in ("next", "last", "fit", "cine", "next_finding", "next_study", "preset_bone", "undo"):
        window.command_actions[command].trigger()
    assert "Research".upper() in window.banner.text()


def test_the_gravest_notice_is_shown_until_dismissed(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    bar = window.notices_bar
    assert not bar.isVisible()
    models.notices.post(Notice("error", "The analysis failed.", "Slice 3.", "Try again.", "Traceback"))
    models.notices.post(Notice("info", "Scan finished."))
    assert "The analysis failed." in bar.text.text()
    assert bar.more.text() == "+1 more"
    qtbot.mouseClick(bar.details, Qt.MouseButton.LeftButton)
    dialog = QApplication.activeModalWidget()
    assert dialog is not None
    dialog.close()
    qtbot.mouseClick(bar.dismiss, Qt.MouseButton.LeftButton)
    assert "Scan finished." in bar.text.text()
    qtbot.mouseClick(bar.dismiss, Qt.MouseButton.LeftButton)
    assert not bar.isVisible()


def test_a_job_shows_after_a_while_and_can_be_cancelled(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, actions = shown
    status = window.job_status
    models.jobs.update(JobRow(7, "Reading", "file 3 of 9", 3, 9, "running", cancellable=True))
    assert not status.isVisible()
    qtbot.waitUntil(status.isVisible)
    assert "file 3 of 9" in status.text.text()
    assert (status.bar.value(), status.bar.maximum()) == (3, 9)
    qtbot.mouseClick(status.cancel, Qt.MouseButton.LeftButton)
    assert actions.named("cancel_job") == [(7,)]
    models.jobs.update(JobRow(7, "Reading", state="cancelled"))
    assert not status.isVisible()
    models.jobs.update(JobRow(8, "Quick"))
    models.jobs.update(JobRow(8, "Quick", state="succeeded"))
    assert not status.isVisible()


# -- the table of actions ------------------------------------------------------------------------------------------


def test_every_action_is_in_a_menu_and_in_the_table_once(shown: Shown) -> None:
    window, _ = shown
    in_menus = [action for menu in window.menuBar().actions() for action in menu.menu().actions()]
    assert {id(action) for action in in_menus} == {id(action) for action in window.command_actions.values()}
    with pytest.raises(ValueError, match="share the key"):
        checked((*window.commands, replace(window.commands[0], id="another")))


def test_panels_can_be_hidden_and_come_back(qtbot: QtBot, shown: Shown) -> None:
    window, _ = shown
    for key, panel in ((Qt.Key.Key_L, window.worklist_panel), (Qt.Key.Key_E, window.evidence_panel)):
        qtbot.keyClick(window.slice_view, key)
        assert not panel.isVisible()
        qtbot.keyClick(window.slice_view, key)
        assert panel.isVisible()
    qtbot.keyClick(window.slice_view, Qt.Key.Key_O)
    assert "bottom_left" not in window.slice_view.overlay_texts()
    assert window.slice_view.overlay_texts()["left"] == "R"


@pytest.mark.parametrize("size", [(1200, 700), (1366, 768), (1920, 1080)])
def test_nothing_overlaps_at_the_sizes_supported(shown: Shown, size: tuple[int, int], qtbot: QtBot) -> None:
    window, _ = shown
    window.resize(*size)
    qtbot.wait(20)
    assert (window.width(), window.height()) == size
    viewer, strip = window.slice_view.size(), window.evidence_panel.strip.size()
    assert viewer.width() * viewer.height() > strip.width() * strip.height()
    assert window.findings_panel.tree.height() > 100
    box = window.feedback_box
    for widget in (*box.buttons.values(), box.next, box.comment, box.toggle, window.findings_panel.search):
        assert not widget.visibleRegion().isEmpty()
        assert widget.width() >= widget.minimumSizeHint().width()


def test_tab_reaches_every_control_in_view(qtbot: QtBot, shown: Shown) -> None:
    window, _ = shown
    reached: list[QWidget] = []
    while (widget := QApplication.focusWidget()) is not None and widget not in reached:
        reached.append(widget)
        qtbot.keyClick(widget, Qt.Key.Key_Tab)
    controls = [
        widget
        for kind in (QAbstractButton, QComboBox, QLineEdit, QTreeView, QListView)
        for widget in window.findChildren(kind)
        if widget.isVisible() and widget.isEnabled() and widget.objectName() != "qt_toolbar_ext_button"
    ]
    assert len(controls) > 20
    inner = [widget for widget in controls if isinstance(widget.parent(), QLineEdit)]  # the icons inside a line edit
    assert [widget for widget in controls if widget not in reached and widget not in inner] == []
    assert reached.index(window.slice_view) == 0
    places = [reached.index(widget) for widget in (window.evidence_panel.strip, window.findings_panel.tree)]
    assert places == sorted(places)
    assert window.worklist_panel.list in reached[places[-1] :]


def test_every_button_of_the_toolbar_names_its_key(shown: Shown) -> None:
    window, _ = shown
    for command in window.commands:
        if command.toolbar and command.shortcuts:
            assert f"({command.shortcuts[0]})" in window.command_actions[command.id].toolTip()


def test_the_viewer_shows_whether_keys_go_to_it(qtbot: QtBot, shown: Shown) -> None:
    window, _ = shown

    def edge() -> QColor:
        return window.slice_view.viewport().grab().toImage().pixelColor(0, 40)

    assert edge() == theme.ACCENT
    window.findings_panel.search.setFocus()
    assert edge() != theme.ACCENT


@pytest.mark.parametrize("size", [(1200, 700), (1366, 768), (1920, 1080)])
def test_texts_are_whole_and_large_enough(qtbot: QtBot, shown: Shown, size: tuple[int, int]) -> None:
    window, _ = shown
    window.resize(*size)
    qtbot.wait(20)
    for label in (window.banner, window.evidence_panel.text, window.feedback_box.title, window.feedback_box.statement):
        assert label.height() >= label.heightForWidth(label.width()) > 0
    strip = window.evidence_panel.strip
    assert strip.height() >= strip.minimumHeight()
    assert theme.small_font(strip).pointSizeF() * strip.logicalDpiY() / 72 >= theme.SMALLEST_PX - 0.01
    layout = strip.strip_layout()
    assert layout is not None
    assert layout.axis.bottom() <= strip.height()


def test_labels_come_before_bars_where_room_is_scarce(qtbot: QtBot, shown: Shown, catalogue: Catalogue) -> None:
    window, _ = shown
    window.resize(1366, 768)
    qtbot.wait(20)
    row = window.findings_panel.tree.viewport().width()
    metrics = window.findings_panel.tree.fontMetrics()
    beside = SLIM_BAR_PX + MARK_PX + VERDICT_PX + metrics.horizontalAdvance("0.00") + 18
    too_long = [
        finding.label for finding in catalogue.values() if metrics.horizontalAdvance(finding.label) > row - beside
    ]
    assert too_long == []


def test_the_badge_says_the_urgency_by_a_sign_too() -> None:
    text, color = positive_text(study_row(state="analysed", n_positive=3, urgency="urgent"))
    assert text == f"{theme.URGENCY_SIGNS['urgent']} 3"
    assert color == theme.URGENCY["urgent"]
    assert positive_text(study_row(state="analysed", n_positive=0))[0] == "0"


def test_a_closed_window_leaves_nothing_behind(qtbot: QtBot, models: ReviewModels, resources: Path) -> None:
    listeners = {
        name: len(getattr(models.viewer, name)) for name in ("slice_changed", "volume_changed", "window_changed")
    }
    window, _ = show_window(qtbot, models, resources)
    window.command_actions["cine"].trigger()
    window.command_actions["help"].trigger()
    alive = weakref.ref(window)
    timers = window.findChildren(QTimer)
    assert timers
    window.close()
    assert not any(timer.isActive() for timer in timers)
    del timers
    window.deleteLater()
    del window
    qtbot.wait(20)
    QApplication.sendPostedEvents(None, 0)
    gc.collect()
    reached = alive()
    assert reached is None or not _is_valid(reached)
    after = {name: len(getattr(models.viewer, name)) for name in listeners}
    assert after == listeners
    models.viewer.scroll(1)
    models.findings.select_next()


def _is_valid(window: MainWindow) -> bool:
    return isValid(window)
