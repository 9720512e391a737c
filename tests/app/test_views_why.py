"""The Why panel in the real window: tabs, clicks and keys, requests, what is drawn, hidden, and over the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.viewmodels.evidence import TABS
from app.viewmodels.explanation import CHOICES, EXPERTS, SimilarRow
from app.viewmodels.jobs import JobRow
from app.viewmodels.reading import HIDDEN_TEXT
from app.viewmodels.review import ReviewModels
from app.viewmodels.viewer import SeriesInfo
from app.views import theme
from app.views.main_window import MainWindow
from app.views.why.chart import Chart
from engine.findings.catalogue import Catalogue
from tests.support.analyses import HELD_OUT, acquired_weights, make_volume
from tests.support.why import PEAK, made_maps, with_reasons
from tests.support.window import RecordingActions, filled_models, show_window

pytestmark = pytest.mark.gui

KEY = "acute_subdural_hematoma"
GRID_RC = (80, 48)
Shown = tuple[MainWindow, RecordingActions]


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    models = filled_models(catalogue)
    analysis, volume = models.explanation.analysis, models.viewer.volume
    assert analysis is not None
    assert volume is not None
    assert volume.geometry is not None
    models.show_analysis(catalogue, with_reasons(analysis, volume.geometry, GRID_RC))
    models.findings.selected_key = KEY
    return models


@pytest.fixture
def shown(qtbot: QtBot, models: ReviewModels, resources: Path) -> Shown:
    return show_window(qtbot, models, resources)


def press(qtbot: QtBot, window: MainWindow, key: Qt.Key, *modifiers: Qt.KeyboardModifier) -> None:
    held = Qt.KeyboardModifier.NoModifier
    for modifier in modifiers:
        held |= modifier
    qtbot.keyClick(window.slice_view, key, held)


def colors_in(image: QImage, color: QColor) -> int:
    """Count the pixels near a colour."""
    picture = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(picture.constBits(), dtype=np.uint8).reshape(picture.height(), picture.bytesPerLine())
    pixels = rows[:, : picture.width() * 3].reshape(picture.height(), picture.width(), 3).astype(int)
    wanted = np.array([color.red(), color.green(), color.blue()])
    return int((np.abs(pixels - wanted).max(axis=2) < 14).sum())


def center(chart: Chart, rect) -> QPoint:  # type: ignore[no-untyped-def]
    return QPointF(rect.center()).toPoint()


# -- tabs ----------------------------------------------------------------------------------------------------------


def test_every_reason_has_a_key_and_its_page(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    panel = window.evidence_panel
    pages: list[QWidget] = [panel.strip, panel.waterfall, panel.experts, panel.what_if, panel.maps, panel.similar]
    for place, (name, page) in enumerate(zip(TABS, pages, strict=True)):
        press(qtbot, window, getattr(Qt.Key, f"Key_{place + 1}"), Qt.KeyboardModifier.ControlModifier)
        assert models.evidence.tab == name
        assert page.isVisible()
        assert panel.tabs.currentIndex() == place
    press(qtbot, window, Qt.Key.Key_T)
    assert models.evidence.tab == "slices"
    press(qtbot, window, Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
    assert models.evidence.tab == "similar"
    qtbot.mouseClick(panel.tabs, Qt.MouseButton.LeftButton, pos=panel.tabs.tabRect(2).center())
    assert models.evidence.tab == "experts"


def test_a_tab_key_opens_a_hidden_panel(qtbot: QtBot, shown: Shown) -> None:
    window, _ = shown
    press(qtbot, window, Qt.Key.Key_E)
    assert window.evidence_panel.isHidden()
    press(qtbot, window, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    assert window.evidence_panel.isVisible()


# -- waterfall -----------------------------------------------------------------------------------------------------


def test_a_click_on_a_bar_jumps_and_the_bars_point_the_way_of_their_sign(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    models.evidence.tab = "waterfall"
    chart, weights = window.evidence_panel.waterfall, acquired_weights(15, 12)
    waterfall = models.evidence.waterfall()
    assert waterfall is not None
    for place in (0, 5, 14):
        models.viewer.slice_index = 3
        qtbot.mouseClick(chart, Qt.MouseButton.LeftButton, pos=center(chart, chart.bar(place + 1)))
        jump = waterfall.steps[place].jump
        assert jump is not None
        assert models.viewer.slice_index == int(np.argmax(weights[jump]))
    models.viewer.slice_index = 3
    image = chart.grab().toImage()
    levels = [0.0, waterfall.bias, waterfall.total, *(step.end for step in waterfall.steps)]
    heights = []
    for place, step in enumerate(waterfall.steps[:3]):
        column = chart.bar(place + 1)
        color = theme.TOWARDS if step.value > 0 else theme.AGAINST
        middle = image.copy(int(column.center().x()), 0, 1, image.height())
        heights.append(colors_in(middle, color) / (abs(step.value) / (max(levels) - min(levels))))
    assert heights == pytest.approx([heights[0]] * 3, rel=0.15), "heights are in the proportion of the contributions"
    assert heights[0] > 50


def test_the_arrow_keys_walk_the_bars(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.evidence.tab = "waterfall"
    chart, weights, waterfall = window.evidence_panel.waterfall, acquired_weights(15, 12), models.evidence.waterfall()
    assert waterfall is not None
    chart.setFocus()
    for place in (0, 1, 2):
        qtbot.keyClick(chart, Qt.Key.Key_Right)
        jump = waterfall.steps[place].jump
        assert jump is not None
        assert models.viewer.slice_index == int(np.argmax(weights[jump]))


def test_the_waterfall_changes_axis_and_order_by_key_and_button(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    models.evidence.tab = "waterfall"
    panel = window.evidence_panel
    press(qtbot, window, Qt.Key.Key_X)
    assert models.evidence.axis == "paths"
    assert panel.axis.isChecked()
    qtbot.mouseClick(panel.axis, Qt.MouseButton.LeftButton)
    assert models.evidence.axis == "slices"
    press(qtbot, window, Qt.Key.Key_O, Qt.KeyboardModifier.ShiftModifier)
    assert models.evidence.order == "place"
    assert not panel.order.isChecked()
    waterfall = models.evidence.waterfall()
    assert waterfall is not None
    assert f"sum {waterfall.total:+.2f}, logit {waterfall.logit:+.2f}" in panel.text.text()


# -- experts and what if -------------------------------------------------------------------------------------------


def test_a_click_in_the_expert_map_jumps_and_a_collapse_is_said(
    qtbot: QtBot, shown: Shown, models: ReviewModels, catalogue: Catalogue
) -> None:
    window, _ = shown
    models.evidence.tab = "experts"
    panel, analysis = window.evidence_panel, models.explanation.analysis
    area = panel.experts.map_area()
    place = QPoint(int(area.x() + (10.5) / 15 * area.width()), area.center().y())
    qtbot.mouseClick(panel.experts, Qt.MouseButton.LeftButton, pos=place)
    assert models.viewer.slice_index == int(np.argmax(acquired_weights(15, 12)[10]))
    assert "Not collapsed" in panel.text.text()
    assert analysis is not None
    alone = tuple(replace(item, gate_weights=(0.99, 0.01, 0.0, 0.0, 0.0, 0.0)) for item in analysis.slices)
    models.show_analysis(catalogue, replace(analysis, slices=alone))
    assert "Collapsed" in panel.text.text()
    assert colors_in(panel.experts.grab().toImage(), theme.TOWARDS) > 10


def test_what_if_draws_the_operating_point_and_jumps(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.evidence.tab = "what_if"
    chart = window.evidence_panel.what_if
    assert colors_in(chart.grab().toImage(), theme.WARNING) > 20
    slices, experts = chart.areas()
    qtbot.mouseClick(
        chart,
        Qt.MouseButton.LeftButton,
        pos=QPoint(int(slices.x() + 2.5 / 15 * slices.width()), slices.center().y()),
    )
    assert models.viewer.slice_index == int(np.argmax(acquired_weights(15, 12)[2]))
    assert "expert 2" in chart.text_at(QPointF(experts.x() + 1.5 / 6 * experts.width(), experts.center().y()))


# -- maps ----------------------------------------------------------------------------------------------------------


def test_a_map_is_asked_for_by_key_and_by_button_and_stopped(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, actions = shown
    page, model = window.evidence_panel.maps, models.explanation
    models.evidence.tab, model.method = "maps", "gradcam"
    press(qtbot, window, Qt.Key.Key_M)
    qtbot.mouseClick(page.compute, Qt.MouseButton.LeftButton)
    assert len(actions.named("explanations.draw_map")) == 2
    target = model.target
    assert target is not None
    assert not page.cancel.isVisible()
    model.started(target, 5)
    models.jobs.update(JobRow(5, "Drawing a map", "Removing patches", 3, 20))
    assert page.cancel.isVisible()
    assert not page.compute.isEnabled()
    assert (page.progress.value(), page.progress.maximum()) == (3, 20)
    press(qtbot, window, Qt.Key.Key_M, Qt.KeyboardModifier.ShiftModifier)
    qtbot.mouseClick(page.cancel, Qt.MouseButton.LeftButton)
    assert len(actions.named("explanations.cancel_map")) == 2
    model.finished(target, made_maps(target, GRID_RC))
    assert not page.cancel.isVisible()
    assert not window.command_actions["map_compute"].isEnabled(), "it is there"
    assert colors_in(page.map.grab().toImage(), theme.TOWARDS) > 20
    drawn = page.faithfulness.grab().toImage()
    assert colors_in(drawn, QColor("#3ecf9b")) > 20, "the ledger's curve stands beside it"
    assert "not a lesion outline" in window.evidence_panel.text.text()


def test_the_method_and_the_expert_are_chosen_by_key_and_box(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    page, model = window.evidence_panel.maps, models.explanation
    models.evidence.tab = "maps"
    seen = [model.method]
    for _ in range(len(CHOICES) - 1):
        press(qtbot, window, Qt.Key.Key_Q)
        seen.append(model.method)
    assert seen == list(CHOICES)
    assert page.method.currentData() == seen[-1]
    page.method.setFocus()
    qtbot.keyClick(page.method, Qt.Key.Key_Home)
    qtbot.keyClick(page.method, Qt.Key.Key_Down)
    page.method.activated.emit(page.method.currentIndex())
    assert model.method == EXPERTS
    assert page.path.isVisible()
    press(qtbot, window, Qt.Key.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    assert model.path == 1
    assert page.path.currentText() == "Expert 1"


def test_a_map_lies_on_the_image_where_it_belongs_and_only_when_asked(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, _ = shown
    models.viewer.slice_index = 5
    models.viewer.window = (5000.0, 10.0)  # all black: what is coloured is the map
    target = models.explanation.target
    assert target is not None
    models.explanation.finished(target, made_maps(target, GRID_RC))
    view = window.slice_view
    bare = colors_in(view.grab().toImage(), theme.TOWARDS)
    press(qtbot, window, Qt.Key.Key_I)
    models.overlay.opacity = 1.0
    image = view.grab().toImage()
    assert colors_in(image, theme.TOWARDS) > bare + 30
    area, size = view.visible_plane(), view.viewport().size()
    # In the 80 × 48 mm of the grid, whose middle is the slice's.
    x = (48 / 2 + (PEAK[1] * 48 - 23.5) - area.x()) / area.width() * size.width()
    y = (80 / 2 + (PEAK[0] * 80 - 39.5) - area.y()) / area.height() * size.height()
    color = image.pixelColor(int(x), int(y))
    assert color.red() > 180
    assert color.blue() < 60
    models.viewer.slice_index = 6
    assert models.overlay.picture is None
    models.viewer.slice_index = 5
    press(qtbot, window, Qt.Key.Key_I)
    assert colors_in(view.grab().toImage(), theme.TOWARDS) == bare


@pytest.mark.parametrize(
    ("row", "column"),
    [((-1, 0, 0), (0, -1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, 1, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0))],
)
def test_however_slices_are_stored_a_map_lies_on_its_place_in_the_patient(
    shown: Shown, models: ReviewModels, catalogue: Catalogue, row, column
) -> None:  # type: ignore[no-untyped-def]
    window, _ = shown
    analysis, volume = models.explanation.analysis, make_volume(row_cosine=row, column_cosine=column)
    assert analysis is not None
    geometry = volume.require_geometry()
    models.viewer.set_volume(volume, SeriesInfo("1.2.3"))
    models.show_analysis(catalogue, with_reasons(analysis, geometry, GRID_RC))
    models.viewer.slice_index, models.viewer.window = 5, (5000.0, 10.0)
    models.overlay.on, models.overlay.opacity = True, 1.0
    target, explained = models.explanation.target, models.explanation.analysis
    assert target is not None
    assert explained is not None
    assert explained.prepared_grid is not None
    models.explanation.finished(target, made_maps(target, GRID_RC))
    peak = np.array(explained.prepared_grid.lps_from_kji) @ (target.slice_index, PEAK[0] * 80, PEAK[1] * 48, 1.0)
    image, view, found = window.slice_view.grab().toImage(), window.slice_view, []
    size = view.viewport().size()
    for y in range(0, size.height(), 3):
        for x in range(0, size.width(), 3):
            color = image.pixelColor(x, y)
            if color.red() > 190 and 130 < color.green() < 180 and color.blue() < 40:
                index = models.viewer.index_at(*view.plane_at(QPointF(x, y)))
                if index is not None:
                    found.append(geometry.kji_to_lps(np.array([5.0, *index])))
    assert len(found) > 3
    assert np.mean(found, axis=0)[:2] == pytest.approx(peak[:2], abs=2.0), "within a stored pixel of 2 × 1 mm"


def test_opacity_has_keys_and_a_slider(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.evidence.tab = "maps"
    slider = window.evidence_panel.maps.opacity
    assert not slider.isEnabled()
    qtbot.mouseClick(window.evidence_panel.maps.shown, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert models.overlay.on
    assert window.command_actions["map_overlay"].isChecked()
    before = models.overlay.opacity
    press(qtbot, window, Qt.Key.Key_BracketRight, Qt.KeyboardModifier.ControlModifier)
    assert models.overlay.opacity == pytest.approx(before + 0.1)
    assert slider.value() == round(100 * models.overlay.opacity)
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Home)
    assert models.overlay.opacity == pytest.approx(0.1)


# -- similar studies -----------------------------------------------------------------------------------------------


def test_similar_studies_are_looked_for_when_they_can_be_seen_and_opened_with_a_click(
    qtbot: QtBot, shown: Shown, models: ReviewModels
) -> None:
    window, actions = shown
    page = window.evidence_panel.similar
    assert actions.named("explanations.find_similar") == []
    models.evidence.tab = "similar"
    assert len(actions.named("explanations.find_similar")) == 1
    models.explanation.similar_asked()
    assert page.empty.isVisible()
    assert "Looking" in page.empty.text()
    rows = tuple(SimilarRow(f"1.{n}", 0.9 - n / 10, "Ünal^Ayşe", "2026-01-02", "Head", ("Stroke",), ()) for n in (1, 2))
    models.explanation.set_similar(rows, "Cosine of the model's pooled features.")
    assert page.table.isVisible()
    assert page.table.item(0, 1).text() == "Ünal^Ayşe"
    place = page.table.visualItemRect(page.table.item(1, 1)).center()
    qtbot.mouseClick(page.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert actions.named("explanations.open_similar") == [("1.2",)]
    models.explanation.set_similar((), "No other study in the store has been analysed by this model yet.")
    assert "No other study" in page.empty.text()
    assert not page.table.isVisible()


# -- hidden, not covered, small ------------------------------------------------------------------------------------


def test_a_blind_read_shows_no_reason_on_any_tab(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    target = models.explanation.target
    assert target is not None
    models.explanation.finished(target, made_maps(target, GRID_RC))
    models.explanation.set_similar((SimilarRow("1.1", 0.9, "P", "", "", ("Stroke",), ()),), "Compared.")
    models.overlay.on = True
    models.reading.open("1.2.3")
    models.reading.read_blind_here(True)
    panel = window.evidence_panel
    for name in TABS:
        models.evidence.tab = name
        image = panel.pages.grab().toImage()
        assert colors_in(image, theme.TOWARDS) == 0, name
        assert colors_in(image, theme.AGAINST) == 0, name
    for chart in (panel.waterfall, panel.experts, panel.what_if, panel.maps.map):
        assert chart.empty_text() == HIDDEN_TEXT
    assert panel.similar.empty.text() == HIDDEN_TEXT
    assert panel.similar.table.rowCount() == 0
    assert not window.command_actions["map_compute"].isEnabled()
    assert not window.command_actions["jump"].isEnabled()
    assert colors_in(window.slice_view.grab().toImage(), theme.AGAINST) == 0


def test_every_tab_says_why_it_is_empty(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    panel = window.evidence_panel
    models.findings.selected_key = HELD_OUT[0]
    for chart in (panel.waterfall, panel.experts, panel.what_if, panel.maps.map):
        assert "Not covered by this model" in chart.empty_text()
    assert "measured with every map" in panel.maps.faithfulness.empty_text()


@pytest.mark.parametrize("size", [(1366, 768), (1920, 1080), (1000, 600)])
def test_no_page_is_cut(shown: Shown, models: ReviewModels, size: tuple[int, int]) -> None:
    window, _ = shown
    window.resize(*size)
    models.explanation.method = EXPERTS
    panel = window.evidence_panel
    for name in TABS:
        models.evidence.tab = name
        page = panel.pages.currentWidget()
        assert page.height() >= page.minimumSizeHint().height()
        assert panel.width() >= panel.minimumSizeHint().width()
        assert panel.tabs.width() >= panel.tabs.sizeHint().width(), "no arrows to reach a tab"
    assert window.slice_view.height() > panel.height() or size[1] < 700, "the image stays the largest thing"
