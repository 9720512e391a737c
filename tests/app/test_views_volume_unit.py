"""A model that reads whole volumes in the window: one entry, no slice to jump to, every screen and file says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.viewmodels.evidence import TABS
from app.viewmodels.review import ReviewModels
from app.views import theme
from app.views.main_window import MainWindow
from engine.analysis import Analysis
from engine.export.analysis_json import write_analysis_json
from engine.export.batch_parquet import write_parquet
from engine.export.ledger_npz import write_ledger_npz
from engine.findings.catalogue import Catalogue
from tests.support.analyses import make_analysis, make_volume
from tests.support.window import RecordingActions, filled_models, show_window

pytestmark = pytest.mark.gui

Shown = tuple[MainWindow, RecordingActions]


def volume_analysis(catalogue: Catalogue, n_experts: int = 6) -> Analysis:
    """As a 3D backbone gives it: one entry with all the attention, over every acquired slice."""
    analysis = make_analysis(catalogue, n_prepared=1, n_experts=max(n_experts, 1))
    if n_experts == 0:
        ledger = replace(analysis.ledger, values=analysis.ledger.values.sum(axis=2, keepdims=True))
        analysis = replace(analysis, ledger=ledger, slices=(replace(analysis.slices[0], gate_weights=()),))
    weights = np.full((1, 12), 1 / 12, dtype=np.float32)
    return replace(analysis, unit="volume", acquired_weights=weights)


@pytest.fixture(params=[6, 0], ids=["with experts", "head only"])
def analysis(request: pytest.FixtureRequest, catalogue: Catalogue) -> Analysis:
    return volume_analysis(catalogue, request.param)


@pytest.fixture
def shown(qtbot: QtBot, catalogue: Catalogue, analysis: Analysis, resources: Path) -> Shown:
    models = filled_models(catalogue)
    models.show_analysis(catalogue, analysis)
    key = next(row.key for row in models.findings.rows if row.covered)
    models.findings.selected_key = key
    return show_window(qtbot, models, resources)


def models_of(shown: Shown) -> ReviewModels:
    return shown[0].models


def test_the_sentence_says_that_the_volume_is_read_at_once(shown: Shown) -> None:
    view = models_of(shown).evidence.view
    assert view is not None
    assert view.n_slices == 1
    assert "whole volume at once" in view.sentence
    assert "prepared slice" not in view.sentence + view.slice_text(0)


def test_nothing_jumps_and_no_cursor_runs(qtbot: QtBot, shown: Shown) -> None:
    window, models = shown[0], models_of(shown)
    models.viewer.slice_index = 7
    assert models.evidence.cursor is None
    for name in ("jump", "jump_against"):
        assert not window.command_actions[name].isEnabled()
    for modifier in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier):
        qtbot.keyClick(window.slice_view, Qt.Key.Key_J, modifier)
    strip = window.evidence_panel.strip
    layout = strip.strip_layout()
    assert layout is not None
    for row in (layout.ledger, layout.attention, layout.gates):
        qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(row.center().x(), row.center().y()))
    assert models.viewer.slice_index == 7


def test_jumping_comes_back_with_a_model_of_slices(shown: Shown, catalogue: Catalogue) -> None:
    window, models = shown[0], models_of(shown)
    models.show_analysis(catalogue, make_analysis(catalogue))
    assert window.command_actions["jump"].isEnabled()
    models.show_analysis(catalogue, volume_analysis(catalogue))
    assert not window.command_actions["jump"].isEnabled()


@pytest.mark.parametrize("size", [(1366, 768), (1920, 1080)])
def test_every_tab_can_be_drawn(qtbot: QtBot, shown: Shown, size: tuple[int, int]) -> None:
    window, models = shown[0], models_of(shown)
    window.resize(*size)
    for split in (False, True):
        models.evidence.split = split
        for tab in TABS:
            models.evidence.tab = tab
            qtbot.wait(10)
            assert not window.grab().isNull()


def test_a_head_without_experts_says_so(qtbot: QtBot, shown: Shown, analysis: Analysis) -> None:
    strip = shown[0].evidence_panel.strip
    layout = strip.strip_layout()
    assert layout is not None
    corner = strip.grab().toImage().pixelColor(layout.gates.left() + 2, layout.gates.top() + 2)
    head_only = analysis.ledger.values.shape[2] == 1
    assert (corner == theme.PANEL) is head_only, "a row of gates, or words on the panel's ground"


def test_the_viewer_still_scrolls(qtbot: QtBot, shown: Shown) -> None:
    models = models_of(shown)
    models.viewer.slice_index = 3
    qtbot.keyClick(shown[0].slice_view, Qt.Key.Key_Down)
    assert models.viewer.slice_index == 4
    models.viewer.set_volume(make_volume((5, 40, 48)), models.viewer.info)  # type: ignore[arg-type]
    assert models.evidence.cursor is None


def test_files_say_volume_and_hold_one_entry(analysis: Analysis, tmp_path: Path) -> None:
    write_analysis_json(analysis, tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert document["unit"] == "volume"
    assert len(document["slices"]) == 1
    write_ledger_npz(analysis.ledger, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["ledger"].shape == (len(analysis.ledger.keys), 1, analysis.ledger.values.shape[2])
    write_parquet(
        tmp_path / "a.parquet", [{**document, "source": "x"}], [f.key for f in analysis.findings], analysis.model
    )
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert (row["prepared_slices"], row["unit"]) == (1, "volume")
    assert Analysis.from_json(document, analysis.ledger, analysis.acquired_weights).unit == "volume"
