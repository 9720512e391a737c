"""Dialogs, the 3D view and the pictures: what they ask for, what they show, and that they fail alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QDialogButtonBox
from pytestqt.qtbot import QtBot

from app.viewmodels.actions import RetrainOptions
from app.viewmodels.library import ModelRow
from app.viewmodels.review import ReviewModels
from app.viewmodels.training import Candidate, ComparisonRow, CurvePoint, TrainingPlan
from app.views import theme, volume_window
from app.views.dialogs.export import ExportDialog
from app.views.dialogs.help import HelpDialog, help_html
from app.views.dialogs.models import ModelsDialog
from app.views.dialogs.retrain import RetrainDialog
from app.views.loss_curve import LossCurve, ticks
from app.views.main_window import MainWindow
from app.views.shots import make_shots
from app.views.volume_grid import inside_skull, to_regular_grid
from app.views.volume_window import NO_OPENGL, NO_POSITION, VolumeWindow
from engine.findings.catalogue import Catalogue
from engine.geometry import Volume, VolumeGeometry
from engine.progress import Cancelled, CancelToken
from tests.support.analyses import NOTICE, make_head, make_volume
from tests.support.window import RecordingActions, filled_models, show_window

pytestmark = pytest.mark.gui

Shown = tuple[MainWindow, RecordingActions]


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    return filled_models(catalogue)


@pytest.fixture
def shown(qtbot: QtBot, models: ReviewModels, resources: Path) -> Shown:
    return show_window(qtbot, models, resources)


def opened(window: MainWindow, name: str):  # type: ignore[no-untyped-def]
    window.command_actions[name].trigger()
    dialog = window.command_target.dialog(name)
    assert dialog is not None
    assert dialog.isVisible()
    return dialog


def test_export_asks_for_format_and_path(qtbot: QtBot, shown: Shown, tmp_path: Path) -> None:
    window, actions = shown
    dialog: ExportDialog = opened(window, "export")
    save = dialog.buttons.button(QDialogButtonBox.StandardButton.Save)
    assert not save.isEnabled()
    assert "No patient name" in dialog.identity.text()
    dialog.format.setCurrentIndex(1)
    assert "carries patient identity" in dialog.identity.text()
    dialog.path.setText(str(tmp_path / "corrections"))
    qtbot.mouseClick(save, Qt.MouseButton.LeftButton)
    assert actions.named("export_corrections") == [("jsonl", tmp_path / "corrections.jsonl")]
    assert window.command_target.dialog("export") is None


def test_retraining_from_plan_to_candidate(qtbot: QtBot, shown: Shown, models: ReviewModels, tmp_path: Path) -> None:
    window, actions = shown
    training = models.training
    training.set_plan(TrainingPlan(blocked="There is no verdict yet."))
    dialog: RetrainDialog = opened(window, "retrain")
    assert actions.named("plan_retraining") == [()]
    assert not dialog.start.isEnabled()
    assert "no verdict" in dialog.message.text()
    training.set_plan(TrainingPlan(31, 4, 6, "phantom-demo"))
    assert "31 reviewed findings of 4 studies" in dialog.plan.text()
    dialog.description.setText("site A")
    qtbot.mouseClick(dialog.start, Qt.MouseButton.LeftButton)
    assert actions.named("start_retraining") == [(RetrainOptions(description="site A"),)]
    training.start()
    training.set_progress(3, 20, "Epoch 3 of 20")
    for epoch in (1, 2, 3):
        training.add_epoch(CurvePoint(epoch, 1 / epoch, 2 / epoch))
    assert dialog.progress_text.text() == "Epoch 3 of 20"
    assert dialog.curve.val == tuple((epoch, 2 / epoch) for epoch in (1, 2, 3))
    picture = _array(dialog.curve.grab().toImage())
    training.add_epoch(CurvePoint(4, 0.25, None))
    assert "AUC" not in dialog.progress_text.text()
    assert dialog.curve.train[-1] == (4, 0.25)
    assert len(dialog.curve.val) == 3
    training.add_epoch(CurvePoint(5, 0.2, 0.4, 0.864))
    training.add_epoch(CurvePoint(6, 0.2, 0.4, None))
    assert "Epoch 3 of 20 · validation AUC 0.86 in epoch 5" in dialog.progress_text.text()
    assert np.abs(_array(dialog.curve.grab().toImage()) - picture).max() > 50
    qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    assert actions.named("cancel_retraining") == [()]
    rows = (
        ComparisonRow("a", "A", 20, 90, 0.81, 0.84, "", 0.0121, 0.0479, 0.0123),
        ComparisonRow("b", "B", 3, 90, None, None, "too few"),
        ComparisonRow("c", "C", 20, 90, 0.81, 0.78, "", -0.09, 0.03, 0.4),
        ComparisonRow("d", "D", 20, 90, 0.81, 0.84),
    )
    training.finish(Candidate(tmp_path, "r1", "ab" * 32, NOTICE, rows))
    texts = [[dialog.table.item(row, column).text() for column in range(7)] for row in range(4)]
    assert texts == [
        ["A", "20 / 90", "0.810", "0.840", "+0.030 [+0.012, +0.048]", "0.012", ""],
        ["B", "3 / 90", "–", "–", "–", "–", "too few"],
        ["C", "20 / 90", "0.810", "0.780", "-0.030 [-0.090, +0.030]", "0.400", ""],
        ["D", "20 / 90", "0.810", "0.840", "+0.030", "–", ""],
    ]
    colors = [dialog.table.item(row, 4).foreground().color() for row in (0, 2, 3)]
    assert colors == [theme.GOOD, theme.TEXT, theme.GOOD], "what chance explains is not coloured"
    assert NOTICE in dialog.summary.text()
    qtbot.mouseClick(dialog.activate, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dialog.discard, Qt.MouseButton.LeftButton)
    assert actions.named("activate_model") == [("ab" * 32,)]
    assert actions.named("discard_candidate") == [(tmp_path,)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.17, 0.65, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
        (2.0, 3.0, (2.0, 2.2, 2.4, 2.6, 2.8, 3.0)),
        (0, 41, (0, 10, 20, 30, 40, 50)),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_loss_that_is_constant_or_not_finite_is_drawn(qtbot: QtBot) -> None:
    curve = LossCurve()
    qtbot.addWidget(curve)
    curve.resize(curve.sizeHint())
    blank = _array(curve.grab().toImage())
    for losses in ((0.5,), (0.5, 0.5), (0.5, float("nan"), 0.4), (float("inf"),)):
        curve.set_points(tuple(CurvePoint(epoch + 1, loss, None) for epoch, loss in enumerate(losses)))
        assert np.abs(_array(curve.grab().toImage()) - blank).max() > 50


def test_a_failed_training_says_why_and_can_start_again(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.training.set_plan(TrainingPlan(31, 4, 6))
    dialog: RetrainDialog = opened(window, "retrain")
    models.training.start()
    models.training.fail("The disk is full. Free 2 GB.")
    assert dialog.message.text() == "The disk is full. Free 2 GB."
    assert dialog.start.isVisible()
    assert dialog.start.isEnabled()
    assert not dialog.activate.isVisible()


def test_models_can_be_activated_and_rolled_back(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, actions = shown
    good, bad = "aa" * 32, "bb" * 32
    models.library.set_rows(
        (
            ModelRow("phantom-demo", "cc" * 32, NOTICE, active=True, bundled=True, verify_state="verified"),
            ModelRow("r1", good, NOTICE, verify_state="verified"),
            ModelRow("r2", bad, NOTICE, verify_state="failed", message="weights.safetensors has a wrong digest."),
        ),
        can_roll_back=True,
    )
    assert "phantom-demo" in window.banner.text()
    assert NOTICE in window.banner.text()
    dialog: ModelsDialog = opened(window, "models")
    assert not dialog.activate.isEnabled()
    dialog.table.selectRow(2)
    assert not dialog.activate.isEnabled()
    assert "wrong digest" in dialog.message.text()
    dialog.table.selectRow(1)
    qtbot.mouseClick(dialog.activate, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dialog.roll_back, Qt.MouseButton.LeftButton)
    assert actions.calls == [("activate_model", (good,)), ("rollback_model", ())]


def test_help_lists_every_action_and_finds_them(shown: Shown) -> None:
    window, _ = shown
    dialog: HelpDialog = opened(window, "help")
    text = dialog.text.toPlainText()
    for command in window.commands:
        assert command.text.rstrip("…") in text
    assert "not evidence for one finding" in " ".join(text.split())
    dialog.search.setText("subdural")
    assert "Subdural" in dialog.text.toPlainText()
    assert "Agree" not in dialog.text.toPlainText()
    assert "Nothing found" in help_html(window.commands, "zzz")


def test_one_dialog_of_a_kind(shown: Shown) -> None:
    window, _ = shown
    first = opened(window, "about")
    second = opened(window, "about")
    assert first is not second
    assert sum(widget.isVisible() for widget in QApplication.topLevelWidgets() if widget.windowTitle() == "About") == 1


# -- 3D ------------------------------------------------------------------------------------------------------------


def tilted_cube() -> tuple[Volume, np.ndarray, float]:
    """Return slices sheared by 20° that cut a 40 mm cube of bone standing upright, its centre, and its side."""
    angle = np.radians(20)
    column = np.array([0.0, np.cos(angle), -np.sin(angle)])
    normal = np.cross([1.0, 0, 0], column)
    steps = np.array([0, 3, 6, 9, 12, 15, 18, 21, 24, 31, 38, 45, 52, 59, 66, 73, 80, 87, 94.0])
    origins = np.array([-60.0, -60.0, -40.0]) + steps[:, None] * np.array([0, 0, 1.0]) / normal[2]
    geometry = VolumeGeometry(np.array([1.0, 0, 0]), column, (1.5, 1.5), origins, 90, 80)
    index = np.stack(np.meshgrid(np.arange(len(steps)), np.arange(90), np.arange(80), indexing="ij"), -1)
    lps = geometry.kji_to_lps(index.astype(float))
    centre = np.array([0.0, 0.0, 0.0])
    inside = np.all(np.abs(lps - centre) < 20, axis=-1)
    voxels = np.where(inside, 1000, -1000).astype(np.int16)
    return Volume(voxels, geometry, "HU", None, ("",) * len(steps)), centre, 40.0


def test_a_tilted_uneven_stack_becomes_an_upright_cube() -> None:
    volume, centre, side = tilted_cube()
    grid = to_regular_grid(volume)
    bone = np.argwhere(grid.voxels > 0)[:, ::-1] * grid.spacing_mm + np.array(grid.origin_lps_mm)
    assert bone.mean(axis=0) == pytest.approx(centre, abs=1.0)
    assert (bone.max(axis=0) - bone.min(axis=0))[:2] == pytest.approx([side, side], abs=3.5)
    upper, lower = bone[bone[:, 2] > 5], bone[bone[:, 2] < -5]
    # Left as acquired, the stack would lean by tan 20° × 20 mm = 7 mm between these two halves.
    assert upper[:, :2].mean(axis=0) == pytest.approx(lower[:, :2].mean(axis=0), abs=1.0)
    assert len(bone) * grid.spacing_mm**3 == pytest.approx(side**3, rel=0.1)


def test_the_brain_look_leaves_skull_and_scalp_out() -> None:
    grid = to_regular_grid(make_head((20, 96, 96)))
    brain = inside_skull(grid)
    kept = brain.voxels[brain.voxels > -20]
    assert kept.max() < 110
    assert 0.2 < len(kept) / np.count_nonzero((grid.voxels > -20) & (grid.voxels < 110)) <= 1


def test_padding_is_air_in_3d_and_fewer_voxels_hold_the_same_cube() -> None:
    volume, centre, side = tilted_cube()
    voxels = volume.voxels.copy()
    voxels[:, :10] = 3000
    grid = to_regular_grid(replace(volume, voxels=voxels, padding_value=3000), max_side=70)
    assert max(grid.voxels.shape) <= 70
    bone = np.argwhere(grid.voxels > 0)[:, ::-1] * grid.spacing_mm + np.array(grid.origin_lps_mm)
    assert bone.mean(axis=0) == pytest.approx(centre, abs=1.0)
    assert len(bone) * grid.spacing_mm**3 == pytest.approx(side**3, rel=0.1)


def test_values_that_are_not_hounsfield_units_are_stretched_so_that_3d_shows_something() -> None:
    volume = make_head((12, 64, 64))
    faint = replace(volume, voxels=((volume.voxels + 1000) // 20).astype(np.int16), units="unknown")
    assert to_regular_grid(volume).voxels.max() > 300
    assert to_regular_grid(faint).voxels.max() > 300


def test_a_volume_no_longer_wanted_is_not_resampled() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        volume_window._prepare(make_head((6, 32, 32)), 200, token)


def test_the_3d_view_renders_both_looks_and_closes_cleanly(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    models.viewer.set_volume(make_head((12, 64, 64)), None)
    window.command_actions["volume"].trigger()
    view = window.command_target.view.volume_window
    assert view is not None
    qtbot.waitUntil(lambda: view.settled, timeout=60_000)
    assert view.rendering, view.message.text()
    for place in range(2):
        view.look.setCurrentIndex(place)
        qtbot.wait(50)
        pixels = _array(view.screen().grabWindow(view.winId()).toImage())
        assert pixels[100:-100, 150:-150].std() > 5
    window.close()
    assert window.command_target.view.volume_window is None


def _array(image: QImage) -> np.ndarray:
    gray = image.convertToFormat(QImage.Format.Format_Grayscale8)
    flat = np.frombuffer(gray.constBits(), dtype=np.uint8).reshape(gray.height(), gray.bytesPerLine())
    return flat[:, : gray.width()].astype(float)


def test_without_opengl_only_the_3d_view_says_so(
    qtbot: QtBot, shown: Shown, models: ReviewModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, _ = shown
    monkeypatch.setattr(volume_window, "opengl_renderer", lambda: "")
    models.viewer.set_volume(make_head((6, 32, 32)), None)
    window.command_actions["volume"].trigger()
    view = window.command_target.view.volume_window
    assert view is not None
    qtbot.waitUntil(lambda: view.settled, timeout=60_000)
    assert view.message.text() == NO_OPENGL
    models.viewer.scroll(1)
    assert models.notices.notices == ()


def test_a_2d_stack_has_no_3d_view(qtbot: QtBot, resources: Path) -> None:
    view = VolumeWindow(resources)
    qtbot.addWidget(view)
    view.show()
    view.show_volume(make_volume(located=False))
    assert view.message.text() == NO_POSITION
    view.shut_down()


# -- pictures ------------------------------------------------------------------------------------------------------


def test_shots_show_every_screen_and_leave_the_window_as_it_was(qtbot: QtBot, shown: Shown, tmp_path: Path) -> None:
    window, _ = shown
    models, size = window.models, window.size()
    models.viewer.set_volume(make_head((12, 64, 64)), None)
    paths = make_shots(tmp_path / "shots", window)
    names = {path.stem for path in paths}
    assert {"review_1366x768", "review_1920x1080", "dialog_help", "volume_bone", "empty", "evidence_split"} <= names
    for path in paths:
        image = QImage(str(path))
        assert image.width() > 200
        assert _array(image).std() > 3, path.name
    assert QImage(str(paths[1])).width() == 1920
    assert window.size() == size
    assert models.viewer.preset == "brain"
    assert not models.evidence.split
