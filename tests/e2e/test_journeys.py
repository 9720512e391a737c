"""Four journeys through the real window, with mouse and keys: read a study, ask why, export, retrain."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtWidgets import QDialogButtonBox, QWidget
from pytestqt.qtbot import QtBot

from app.operations.models import open_library
from app.settings import AppPaths
from app.viewmodels.impression import HEADING
from app.views.dialogs.export import ExportDialog
from app.views.dialogs.impression import ImpressionDialog
from app.views.dialogs.retrain import RetrainDialog
from engine.store.repository import Store
from engine.store.workflow import WorklistQuery
from tests.conftest import PROJECT_ROOT
from tests.support.program import Program
from tests.trainer.conftest import tiny_config
from trainer.training import PACKAGE_FOLDER, run_training

pytestmark = [pytest.mark.gui, pytest.mark.slow]

REAL = PROJECT_ROOT / "resources" / "demo" / "head_ct_ge_tilt"
PHANTOM = PROJECT_ROOT / "resources" / "demo" / "phantom"
START = Callable[..., Program]


@pytest.fixture
def start(qtbot: QtBot, tmp_path: Path) -> Iterator[START]:
    programs: list[Program] = []

    def begin(home: Path | None = None) -> Program:
        programs.append(Program(home or tmp_path / "home", qtbot))
        return programs[-1]

    yield begin
    for program in programs:
        program.close()


def grey(widget: QWidget) -> np.ndarray:
    """Return what a widget shows, uint8 (R, C, 4)."""
    image = widget.grab().toImage().convertToFormat(widget.grab().toImage().Format.Format_RGB32)
    rows = np.frombuffer(image.constBits(), dtype=np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 4].reshape(image.height(), image.width(), 4).copy()


def place_on_picture(program: Program, row: float, column: float) -> QPoint:
    """Return where a stored pixel lies in the viewer, for pixels as wide as high."""
    view, spacing = program.window.slice_view, program.models.viewer.plane_size
    volume = program.models.viewer.volume
    assert volume is not None
    area, port = view.visible_plane(), view.viewport().size()
    x, y = (column + 0.5) * spacing[0] / volume.voxels.shape[2], (row + 0.5) * spacing[1] / volume.voxels.shape[1]
    return QPoint(
        round((x - area.x()) / area.width() * port.width()), round((y - area.y()) / area.height() * port.height())
    )


def test_open_and_review(start: START) -> None:
    program = start()
    window, models = program.window, program.models
    program.drop(REAL)
    program.analysed()
    assert models.viewer.n_slices == 28
    assert "Trained on synthetic phantoms" in window.banner.text()
    uid = models.reading.series_uid
    assert uid is not None

    program.press("J")
    view = models.evidence.view
    assert view is not None
    assert models.viewer.slice_index == view.acquired[int(np.argmax(view.net_S))][0]
    key = models.findings.selected_key
    program.press("Shift+X")
    assert models.viewer.tool == "box"
    corners = [place_on_picture(program, *at) for at in ((100, 100), (120, 130), (140, 160))]
    program.drag(window.slice_view.viewport(), corners)
    program.click(window.feedback_box.buttons["present"])
    program.press("K")
    program.press("N")
    program.click(window.feedback_box.buttons["absent"])
    second = models.findings.selected_key
    program.press("N", "U", "Ctrl+Z")
    program.settle()
    program.press("R")
    program.settle()

    rows = program.history(uid)
    stands = {row.finding_key: row for row in rows if row.verdict != "withdrawn"}
    marked = [row for row in rows if row.finding_key == key][-1]
    assert marked.present is True
    assert marked.reader == "Dr Ames"
    assert marked.mode == "ai_seen"
    (mark,) = marked.locations
    assert mark.kind == "box"
    assert np.allclose(sorted(mark.points_px), [(100, 100), (140, 160)], atol=2)
    assert marked.key_images == marked.sop_instance_uids == (mark.sop_instance_uid,)
    assert second is not None
    assert stands[second].present is False
    assert [row.verdict for row in rows][-2:] == ["unsure", "withdrawn"]
    with Store.open(program.paths.store_file) as store:
        (row,) = store.worklist(WorklistQuery()).rows
        assert row.state == "reviewed"
        assert set(store.current_feedback(uid)) == {key, second}


def test_inspect_slices_and_experts(start: START) -> None:
    program = start()
    window, models, panel = program.window, program.models, program.window.evidence_panel
    program.drop(PHANTOM, REAL)
    program.until(lambda: models.worklist.total == 2)
    program.analysed()
    program.press("Ctrl+Down")
    program.analysed()
    program.press("Ctrl+Up")
    program.analysed()
    models.findings.selected_key = "acute_subdural_hematoma"
    view, analysis = models.evidence.view, models.explanation.analysis
    assert view is not None
    assert analysis is not None

    program.press("Ctrl+2")
    waterfall = models.evidence.waterfall()
    assert waterfall is not None
    chart = panel.waterfall
    program.click(chart, QPointF(chart.bar(1).center()))
    asked = waterfall.steps[0].jump
    assert asked == int(np.argmax(np.abs(view.net_S)))
    assert models.viewer.slice_index == view.acquired[asked][0]

    program.press("Ctrl+3")
    area = panel.experts.map_area()
    program.click(panel.experts, QPoint(area.left() + 2, area.center().y()))
    assert models.viewer.slice_index in view.acquired[0]

    program.press("Ctrl+4")
    shown = panel.what_if.shown
    assert shown is not None
    slices, _ = panel.what_if.areas()
    program.click(panel.what_if, QPoint(slices.right() - 2, slices.center().y()))
    assert models.viewer.slice_index in view.acquired[len(view.acquired) - 1]

    program.press("Ctrl+5", "J")
    program.press("Q", "Q", "Q", "Q")
    assert models.explanation.method == "gradcam"
    program.press("M")
    program.until(lambda: models.explanation.running is None)
    program.settle()
    drawn = models.explanation.current
    assert drawn is not None, models.explanation.reason
    assert drawn.faithfulness is not None
    plain = grey(window.slice_view.viewport())
    program.press("I")
    assert models.overlay.picture is not None
    program.qtbot.wait(50)
    assert not np.array_equal(grey(window.slice_view.viewport()), plain)
    legend = models.overlay.legend
    assert legend is not None
    assert "not an outline" in " ".join(legend.lines) or "sensitivity" in " ".join(legend.lines)
    program.press("I")
    program.qtbot.wait(50)
    assert np.array_equal(grey(window.slice_view.viewport()), plain)

    here = models.reading.series_uid
    program.press("Ctrl+6")
    program.until(lambda: bool(models.explanation.similar))
    table = panel.similar.table
    program.click(table.viewport(), table.visualItemRect(table.item(0, 1)).center())
    program.until(lambda: models.reading.series_uid != here)
    program.analysed()


def test_export_corrections(start: START, tmp_path: Path) -> None:
    program = start()
    models = program.models
    program.drop(PHANTOM)
    program.analysed()
    program.press("P", "N", "A", "N", "U")
    program.settle()
    for suffix in ("csv", "jsonl"):
        program.press("Ctrl+E")
        dialog = program.dialog(ExportDialog)
        dialog.format.setFocus()
        program.press("Home", *["Down"] * dialog.format.findData(suffix), "Tab")
        program.type(str(tmp_path / f"out.{suffix}"))
        program.click(dialog.buttons.button(QDialogButtonBox.StandardButton.Save))
        program.front()
        program.settle()
    program.press("Ctrl+I")
    dialog = program.dialog(ImpressionDialog)
    dialog.path.setFocus()
    program.type(str(tmp_path / "out.txt"))
    program.click(dialog.save)
    program.settle()
    program.click(dialog.close_button)

    with Store.open(program.paths.store_file) as store:
        stored = store.corrections()
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted = [(row.series_uid, row.finding_key, row.verdict, row.reader) for row in stored]
    fields = ("series_instance_uid", "finding_key", "verdict", "reader")
    assert len(wanted) == 3
    assert [tuple(row[name] for name in fields) for row in table] == wanted
    assert [tuple(row[name] for name in fields) for row in lines] == wanted
    assert [row["present"] for row in lines] == [row.present for row in stored]
    assert [row["present"] for row in table] == [
        {True: "true", False: "false", None: ""}[row.present] for row in stored
    ]
    text = (tmp_path / "out.txt").read_text(encoding="utf-8")
    labels = {row.present: models.findings.row(row.finding_key).finding.label for row in stored}
    assert text.startswith(HEADING)
    assert text.index("IMPRESSION") < text.index(labels[True]) < text.index("UNCERTAIN") < text.index(labels[None])
    assert text.index("STATED ABSENT") < text.index(labels[False])
    assert "PHANTOM" not in text, "no patient in it"
    assert "0." not in text, "no number of a model in it"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose active model was trained here, with its reference cohort beside it."""
    home = tmp_path_factory.mktemp("trained")
    paths = AppPaths.at(home).create()
    run_training(tiny_config(), paths.runs / "tiny", lambda event: None)
    library = open_library(paths)
    library.activate(library.install(paths.runs / "tiny" / PACKAGE_FOLDER).digest)
    return home


def test_retrain_and_use_the_candidate(start: START, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "home")
    program = start(tmp_path / "home")
    models = program.models
    program.drop(PHANTOM)
    program.analysed()
    program.press("P", "N", "A", "N", "P")
    program.settle()
    parent = models.library.active
    assert parent is not None
    program.press("Ctrl+T")
    dialog = program.dialog(RetrainDialog)
    program.until(lambda: models.training.plan.n_reviewed > 0)
    assert dialog.start.isEnabled()
    assert "Will use 3 reviewed findings of 1 study" in dialog.plan.text()
    dialog.description.setFocus()
    program.type("three findings of a phantom")
    program.click(dialog.start)
    program.until(lambda: models.training.state in ("finished", "failed"))
    assert models.training.state == "finished", models.training.message
    assert dialog.table.rowCount() > 0
    assert models.library.active == parent
    candidate = models.training.candidate
    assert candidate is not None
    program.click(dialog.activate)
    program.until(lambda: models.findings.identity is not None and models.findings.identity.digest == candidate.digest)
    program.settle()
    dialog.close()
    program.front()
    assert candidate.digest[:8] in program.window.banner.text()
    assert models.findings.n_reviewed == 3, "what was stated stands, whichever model speaks"
    with Store.open(program.paths.store_file) as store:
        uid = models.reading.series_uid
        assert uid is not None
        assert store.latest_analysis(uid, candidate.digest) is not None
        assert {row.model_digest for row in store.feedback_history(uid)} <= {parent.digest, None}
