"""The findings panel in the real window, by mouse and keys: filters, density, the rest, the impression, blind."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QApplication, QDialogButtonBox, QScrollArea
from pytestqt.qtbot import QtBot

from app.viewmodels.finding_filters import FILTERS
from app.viewmodels.impression import HEADING
from app.viewmodels.reading import HIDDEN_TEXT
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import FeedbackView
from app.views import theme
from app.views.dialogs.impression import ImpressionDialog
from app.views.dialogs.rest_absent import RestAbsentDialog
from app.views.main_window import MainWindow
from app.views.panels.findings_items import ROW_ROLE
from app.views.panels.findings_tree import COMPACT_TEXT_PX
from engine.findings.catalogue import Catalogue
from tests.support.window import RecordingActions, filled_models, show_window

pytestmark = pytest.mark.gui

Shown = tuple[MainWindow, RecordingActions]
ALT, CTRL, SHIFT = (
    Qt.KeyboardModifier.AltModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
)
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    opened = filled_models(catalogue, calibrated=True)
    opened.reading.open("1.2.3")
    return opened


@pytest.fixture
def shown(qtbot: QtBot, models: ReviewModels, resources: Path) -> Shown:
    return show_window(qtbot, models, resources)


def listed(window: MainWindow) -> set[str]:
    tree = window.findings_panel.tree
    items = tree.items
    groups = [items.index(place, 0) for place in range(items.rowCount())]
    rows = [
        items.index(line, column, group).data(ROW_ROLE)
        for group in groups
        for line in range(items.rowCount(group))
        for column in range(items.columnCount())
    ]
    return {row.key for row in rows if row is not None}


def in_view(window: MainWindow) -> set[str]:
    """Return the findings whose whole line is on the screen."""
    tree = window.findings_panel.tree
    room = tree.viewport().rect()
    places = {key: tree.visualRect(tree.items.index_of(key)) for key in listed(window)}
    return {key for key, place in places.items() if place.height() > 0 and room.contains(place)}


def absent(*keys: str) -> dict[str, FeedbackView]:
    return {key: FeedbackView("absent", reader="Dr Test") for key in keys}


# -- filters -------------------------------------------------------------------------------------------------------


def test_filters_by_key_and_by_click(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    panel = window.findings_panel
    for number, (key, item) in enumerate(FILTERS.items(), 1):
        expected = {row.key for row in models.findings.rows if item.passes(row)}
        qtbot.keyClick(window.slice_view, getattr(Qt.Key, f"Key_{number}"), ALT)
        assert listed(window) == expected
        assert panel.filters.chips[key].isChecked()
        assert window.command_actions[f"filter_{key}"].isChecked()
        assert panel.count.text() == f"{len(expected)} of 75 shown"
        qtbot.mouseClick(panel.filters.chips[key], LEFT)
        assert len(listed(window)) == 75
        assert not panel.filters.chips[key].isChecked()
    qtbot.keyClick(window.slice_view, Qt.Key.Key_1, ALT)
    panel.search.setFocus()
    qtbot.keyClicks(panel.search, "no such finding")
    qtbot.waitUntil(lambda: panel.count.text() == "0 of 75 shown")
    assert "No finding passes" in panel.status.text()
    qtbot.keyClick(panel.search, Qt.Key.Key_0, ALT)
    assert len(listed(window)) == 75
    assert panel.search.text() == ""


def test_every_chip_says_its_key_and_its_rule(shown: Shown) -> None:
    chips = shown[0].findings_panel.filters.chips
    assert "(Alt+2)" in chips["uncertain"].toolTip()
    assert "within 0.10 of its operating point" in chips["uncertain"].toolTip()


def test_filters_that_need_the_model_say_why_they_cannot_be_used(
    qtbot: QtBot, shown: Shown, models: ReviewModels, catalogue: Catalogue
) -> None:
    window, _ = shown
    models.show_analysis(catalogue, None)
    chip = window.findings_panel.filters.chips["positive"]
    assert not chip.isEnabled()
    assert "no analysis" in chip.toolTip()
    assert not window.command_actions["filter_positive"].isEnabled()
    assert window.findings_panel.filters.chips["urgent"].isEnabled()


def test_order_and_density_by_key(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    panel = window.findings_panel
    seen = set()
    for _ in range(panel.sort.count()):
        qtbot.keyClick(window.slice_view, Qt.Key.Key_O, ALT)
        seen.add((models.findings.sort_order, models.findings.grouped, panel.sort.currentText()))
    assert len(seen) == panel.sort.count() == 5
    few = len(in_view(window))
    qtbot.keyClick(window.slice_view, Qt.Key.Key_D, ALT)
    assert models.findings.density == "compact"
    assert panel.density.isChecked()
    qtbot.waitUntil(lambda: len(in_view(window)) > few)
    qtbot.mouseClick(panel.density, LEFT)
    assert models.findings.density == "comfortable"


def test_all_75_are_in_view_and_legible_on_a_full_hd_screen(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    window.resize(1920, 1080)
    models.findings.density = "compact"
    qtbot.waitUntil(lambda: len(in_view(window)) == 75)
    tree = window.findings_panel.tree
    assert tree.fontInfo().pixelSize() >= COMPACT_TEXT_PX == theme.SMALLEST_PX
    line = tree.visualRect(tree.items.index_of("meningioma"))
    assert line.height() >= QFontMetrics(tree.font()).height()
    places = [tree.visualRect(tree.items.index_of(key)) for key in listed(window)]
    assert not any(a.intersects(b) for i, a in enumerate(places) for b in places[:i])


def test_two_columns_are_walked_by_mouse_and_keys(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    window.resize(1920, 1080)
    models.findings.density = "compact"
    tree = window.findings_panel.tree
    qtbot.waitUntil(lambda: tree.items.columnCount() == 2)
    (_, first_group), *_ = models.findings.groups()
    first, across = first_group[0], first_group[-(-len(first_group) // 2)]
    qtbot.mouseClick(tree.viewport(), LEFT, pos=tree.visualRect(tree.items.index_of(across.key)).center())
    assert models.findings.selected_key == across.key
    qtbot.keyClick(tree, Qt.Key.Key_Left)
    assert models.findings.selected_key == first.key
    qtbot.keyClick(tree, Qt.Key.Key_Right)
    assert models.findings.selected_key == across.key
    seen = set()
    models.findings.selected_key = models.findings.visible_rows()[0].key
    for _ in range(75):
        seen.add(models.findings.selected_key)
        qtbot.keyClick(window.slice_view, Qt.Key.Key_N)
    assert len(seen) == 75
    header = tree.visualRect(tree.items.index(0, 0))
    qtbot.mouseClick(tree.viewport(), LEFT, pos=header.center())
    assert not tree.visualRect(tree.items.index_of(first.key)).isValid()
    qtbot.mouseClick(tree.viewport(), LEFT, pos=header.center() - QPoint(30, 0))
    assert tree.visualRect(tree.items.index_of(first.key)).isValid()


def test_every_line_is_open_and_said_in_its_tooltip(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    assert in_view(window)
    identity = models.findings.identity
    assert identity is not None
    tree = window.findings_panel.tree
    index = tree.items.index_of("meningioma")
    assert "does not say how this was measured" in str(index.data(Qt.ItemDataRole.ToolTipRole))
    models.findings.set_measured(identity.digest, {"meningioma": "AUC 0.9 on phantoms."})
    said = str(index.data(Qt.ItemDataRole.ToolTipRole))
    assert "AUC 0.9 on phantoms." in said
    assert "Calibrated probability" in said
    assert "(uncertain from 0.30 to 0.50)" in said


def test_progress_is_counted_and_drawn(shown: Shown, models: ReviewModels) -> None:
    panel = shown[0].findings_panel
    models.findings.set_feedback(absent("meningioma", "lipoma", "aneurysm"))
    assert panel.progress.text() == "3 of 75 reviewed"
    assert (panel.progress_bar.value(), panel.progress_bar.maximum()) == (3, 75)


# -- the rest ------------------------------------------------------------------------------------------------------


def open_rest(qtbot: QtBot, window: MainWindow) -> RestAbsentDialog:
    qtbot.keyClick(window.slice_view, Qt.Key.Key_A, CTRL | SHIFT)
    dialog = window.command_target.dialog("rest_absent")
    assert isinstance(dialog, RestAbsentDialog)
    qtbot.waitExposed(dialog)
    return dialog


def test_the_rest_is_counted_and_confirmed_before_anything_is_stated(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    given: list[tuple[str, ...]] = []
    models.feedback.given.connect(lambda statements: given.append(tuple(item.finding_key for item in statements)))
    models.findings.set_feedback(absent("meningioma", "lipoma"))
    plan = models.findings.plan_rest()
    dialog = open_rest(qtbot, window)
    assert given == []
    counts = plan.counts()
    for part in (f"<b>{len(plan.keys())}</b> of 75", *(f"{count} {urgency}" for urgency, count in counts.items())):
        assert part in dialog.counts.text()
    assert set(dialog.named) == {row.key for row in models.findings.rows if row.positive}
    assert not any(tick.isChecked() for tick in dialog.named.values())
    qtbot.keyClick(dialog, Qt.Key.Key_Return)  # the default is to go back
    assert given == []
    assert window.command_target.dialog("rest_absent") is None
    dialog = open_rest(qtbot, window)
    one = next(iter(dialog.named))
    area = dialog.findChild(QScrollArea)
    area.ensureWidgetVisible(dialog.named[one])
    qtbot.mouseClick(dialog.named[one], LEFT, pos=QPoint(8, dialog.named[one].height() // 2))
    accept = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
    assert accept.text() == f"State {len(plan.keys()) + 1} absent"
    qtbot.mouseClick(accept, LEFT)
    assert given == [plan.keys({one})]


def test_what_changes_while_the_dialog_is_open_takes_the_ticks_away(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    dialog = open_rest(qtbot, window)
    one, two = list(dialog.named)[:2]
    dialog.named[one].setChecked(True)
    models.findings.set_feedback(absent(two))
    assert set(dialog.named) == {row.key for row in models.findings.rows if row.positive} - {two}
    assert not dialog.named[one].isChecked()
    models.reading.open("another")
    models.findings.set_feedback({})
    assert window.command_target.dialog("rest_absent") is None


# -- the impression ------------------------------------------------------------------------------------------------


def open_impression(qtbot: QtBot, window: MainWindow) -> ImpressionDialog:
    qtbot.keyClick(window.slice_view, Qt.Key.Key_I, CTRL)
    dialog = window.command_target.dialog("impression")
    assert isinstance(dialog, ImpressionDialog)
    qtbot.waitExposed(dialog)
    return dialog


def test_the_draft_is_edited_copied_and_saved(qtbot: QtBot, shown: Shown, models: ReviewModels, tmp_path: Path) -> None:
    window, actions = shown
    models.findings.set_feedback({"meningioma": FeedbackView("present", reader="Dr Test", laterality="left")})
    dialog = open_impression(qtbot, window)
    assert "- Meningioma, left" in dialog.text.toPlainText()
    assert dialog.heading.text() == HEADING
    dialog.text.moveCursor(dialog.text.textCursor().MoveOperation.Start)
    qtbot.keyClicks(dialog.text, "Compared with last year. ")
    assert models.impression.edited
    qtbot.mouseClick(dialog.copy, LEFT)
    copied = QApplication.clipboard().text()
    assert copied.startswith(HEADING)
    assert "Compared with last year. IMPRESSION" in copied
    assert not dialog.save.isEnabled()
    dialog.path.setFocus()
    qtbot.keyClicks(dialog.path, str(tmp_path / "draft"))
    qtbot.keyClick(dialog.path, Qt.Key.Key_Return)
    assert actions.named("impression.export") == [("txt", tmp_path / "draft.txt", models.impression.document)]
    dialog.close()
    assert "Compared with last year." in open_impression(qtbot, window).text.toPlainText()


def test_new_statements_are_merged_only_on_request_and_start_over_can_be_undone(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    dialog = open_impression(qtbot, window)
    assert not dialog.take_over.isVisible()
    dialog.text.moveCursor(dialog.text.textCursor().MoveOperation.End)
    qtbot.keyClicks(dialog.text, " Mine.")
    mine = dialog.text.toPlainText()
    models.findings.set_feedback({"meningioma": FeedbackView("present", reader="Dr Test")})
    assert dialog.text.toPlainText() == mine
    assert dialog.take_over.isVisible()
    assert "changed since you edited" in dialog.state.text()
    qtbot.mouseClick(dialog.take_over, LEFT)
    assert "- Meningioma" in dialog.text.toPlainText()
    assert "Mine." in dialog.text.toPlainText()
    assert not dialog.take_over.isVisible()
    merged = dialog.text.toPlainText()
    qtbot.mouseClick(dialog.start_over, LEFT)
    assert "Mine." not in dialog.text.toPlainText()
    assert "Ctrl+Z" in dialog.state.text()
    dialog.text.setFocus()
    qtbot.keyClick(dialog.text, Qt.Key.Key_Z, CTRL)
    assert dialog.text.toPlainText() == merged


# -- blind ---------------------------------------------------------------------------------------------------------


def test_a_blind_read_shows_no_value_bar_call_or_notice(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    panel = window.findings_panel
    assert panel.filters.chips["positive"].text() != "Positive"
    models.reading.read_blind_here(True)
    assert panel.status.text() == HIDDEN_TEXT
    assert not panel.notice.isVisible()
    assert panel.filters.chips["positive"].text() == "Positive"
    tree = panel.tree
    for key in listed(window):
        index = tree.items.index_of(key)
        for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            text = str(index.data(role))
            assert "0." not in text.replace("0.5 ", "") or "probability" not in text
            assert "positive" not in text
    blind = tree.viewport().grab().toImage()
    models.show_analysis({row.key: row.finding for row in models.findings.rows}, None)  # type: ignore[arg-type]
    qtbot.wait(20)
    assert tree.viewport().grab().toImage() == blind  # as if there were no analysis at all
    dialog = open_rest(qtbot, window)
    assert "hidden" in dialog.note.text()
    assert dialog.named == {}
