"""The retraining dialog: when it can be started, and whose test parts stay out, by mouse and by key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QWidget
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.operations.retraining import prepare_retraining, require_cohorts
from app.settings import AppPaths, Settings, load_settings
from app.viewmodels.actions import RetrainOptions
from app.viewmodels.training import KeptOut, TrainingModel, TrainingPlan
from app.views.dialogs.retrain import COUNTING, RetrainDialog
from engine.errors import TrainingError
from engine.findings.catalogue import load_catalogue
from engine.models.library import LibraryEntry
from tests.support.cohorts import SURNAME, make_own_table
from tests.support.window import RecordingActions
from trainer.cohorts.build import import_cohort
from trainer.cohorts.manifest import SplitShares
from trainer.protocol import RetrainRequest, read_request

pytestmark = pytest.mark.gui
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, resources: Path) -> Path:
    """A cohort of two studies of two patients, both in the test part."""
    folder = tmp_path_factory.mktemp("cohorts") / "own-ward"
    source = make_own_table(tmp_path_factory.mktemp("images"))
    catalogue = load_catalogue(resources / "findings" / "catalogue.csv")
    import_cohort(source, folder, catalogue, shares=SplitShares.of((0.0001, 0.0, 0.0, 0.9999)))
    return folder


@pytest.fixture
def application(qtbot: QtBot, tmp_path: Path) -> Iterator[Application]:
    """The program, of which nothing is started: no worker, no store."""
    paths = AppPaths.at(tmp_path / "home").create()
    application = Application(paths, load_settings(paths.settings_file).settings)
    yield application
    application.close()


def dialog_of(qtbot: QtBot, application: Application) -> RetrainDialog:
    dialog = RetrainDialog(application.models.training, application)
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitExposed(dialog)
    return dialog


def answer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))


def lines(dialog: RetrainDialog) -> list[str]:
    return [dialog.kept_out.list.item(row).text() for row in range(dialog.kept_out.list.count())]


def test_nothing_can_be_started_before_it_is_known_what_would_be_used(qtbot: QtBot) -> None:
    model, actions = TrainingModel(), RecordingActions()
    dialog = RetrainDialog(model, actions)
    qtbot.addWidget(dialog)
    dialog.show()
    assert not dialog.start.isEnabled()
    assert dialog.plan.text() == COUNTING
    qtbot.mouseClick(dialog.start, LEFT)
    assert actions.named("start_retraining") == []
    model.set_plan(TrainingPlan(3, 1, 1, "phantom-demo"))
    assert dialog.start.isEnabled()
    model.await_plan()
    assert not dialog.start.isEnabled()
    assert "3 reviewed" not in dialog.plan.text()
    model.set_plan(TrainingPlan(3, 1, 1, "phantom-demo"))
    model.set_kept_out((KeptOut(Path("/a")),))
    assert not dialog.start.isEnabled(), "what stays out is still being read"
    assert lines(dialog) == ["a: being read…"]
    model.set_kept_out((KeptOut(Path("/a"), "9 studies of 8 patients stay out"),))
    qtbot.mouseClick(dialog.start, LEFT)
    assert actions.named("start_retraining") == [(RetrainOptions(),)]
    model.start()
    assert not dialog.kept_out.isVisible()


def test_every_part_is_reached_by_the_tab_key(qtbot: QtBot) -> None:
    model = TrainingModel()
    model.set_plan(TrainingPlan(3, 1, 1, "phantom-demo"))
    model.set_kept_out((KeptOut(Path("/a"), "1 study of 1 patient stay out"),))
    dialog = RetrainDialog(model, RecordingActions())
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitActive(dialog)
    dialog.description.setFocus()
    reached: list[QWidget | None] = []
    for _ in range(5):
        qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
        reached.append(dialog.focusWidget())
    kept_out = dialog.kept_out
    assert not kept_out.add.isDefault()
    assert not kept_out.add.autoDefault()
    assert reached == [kept_out.list, kept_out.add, kept_out.remove, dialog.start, dialog.close_button]


def test_a_cohort_is_added_and_remembered_and_removed(
    qtbot: QtBot, application: Application, imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog = dialog_of(qtbot, application)
    assert not dialog.kept_out.remove.isEnabled()
    answer(monkeypatch, imported)
    qtbot.mouseClick(dialog.kept_out.add, LEFT)
    expected = ["own-ward: 2 studies of 2 patients stay out"]
    qtbot.waitUntil(lambda: lines(dialog) == expected)
    qtbot.mouseClick(dialog.kept_out.add, LEFT)
    settings = application.paths.settings_file
    qtbot.waitUntil(lambda: load_settings(settings).settings.retrain_keep_out == (str(imported),))
    qtbot.waitUntil(lambda: lines(dialog) == expected)
    assert SURNAME not in settings.read_text(encoding="utf-8")
    again = Application(application.paths, load_settings(settings).settings)
    try:
        assert again.models.training.kept_out == (KeptOut(imported),)
    finally:
        again.close()
    dialog.kept_out.list.setFocus()
    assert dialog.kept_out.remove.isEnabled()
    qtbot.keyClick(dialog.kept_out.list, Qt.Key.Key_Delete)
    assert lines(dialog) == []
    qtbot.waitUntil(lambda: load_settings(settings).settings.retrain_keep_out == ())


def test_a_cohort_that_is_gone_is_said_before_the_start(
    qtbot: QtBot, application: Application, imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(imported, gone)
    dialog = dialog_of(qtbot, application)
    for folder in (gone, imported):
        answer(monkeypatch, folder)
        qtbot.mouseClick(dialog.kept_out.add, LEFT)
    qtbot.waitUntil(lambda: all("stay out" in line for line in lines(dialog)))
    application.models.training.set_plan(TrainingPlan(3, 1, 1, "phantom-demo"))
    assert dialog.start.isEnabled()
    (gone / "cohort.json").unlink()
    application.plan_retraining()
    assert not dialog.start.isEnabled()
    qtbot.waitUntil(lambda: lines(dialog)[0] == "gone: cannot be read")
    assert lines(dialog)[1] == "own-ward: 2 studies of 2 patients stay out"
    qtbot.waitUntil(lambda: application.models.training.planned)  # The store was never opened: that is said as well.
    assert "could not be counted" in dialog.message.text()
    application.models.training.set_plan(TrainingPlan(3, 1, 1, "phantom-demo"))
    assert not dialog.start.isEnabled()
    assert "gone/cohort.json" in dialog.message.text().replace("\\", "/")
    dialog.kept_out.list.setCurrentRow(0)
    qtbot.mouseClick(dialog.kept_out.remove, LEFT)
    assert dialog.start.isEnabled()
    assert not dialog.message.isVisible()


def test_a_manifest_that_was_changed_by_hand_is_said(
    qtbot: QtBot, application: Application, imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(imported, tmp_path / "changed")
    file = tmp_path / "changed" / "cohort.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["patients"] = dict.fromkeys(document["patients"], "train")
    file.write_text(json.dumps(document), encoding="utf-8")
    dialog = dialog_of(qtbot, application)
    answer(monkeypatch, tmp_path / "changed")
    qtbot.mouseClick(dialog.kept_out.add, LEFT)
    qtbot.waitUntil(lambda: lines(dialog) == ["changed: cannot be read"])
    assert "digest" in dialog.message.text()


def test_the_trainer_is_told_and_nothing_starts_without_the_cohort(
    imported: Path, tmp_path: Path, resources: Path
) -> None:
    base = LibraryEntry(
        name="phantom-demo",
        digest="0" * 64,
        path=resources / "models" / "phantom-demo",
        notice="n",
        active=True,
        bundled=True,
        created=datetime(2025, 1, 1, tzinfo=UTC),
        n_findings=1,
    )
    run = prepare_retraining(tmp_path, "store.sqlite", base, [resources], None, cohorts=[imported])
    request = read_request(run.request_file)
    assert isinstance(request, RetrainRequest)
    assert request.cohorts == (str(imported),)
    require_cohorts([imported])
    with pytest.raises(TrainingError, match="nowhere") as caught:
        require_cohorts([imported, tmp_path / "nowhere"])
    assert caught.value.code == "training.cohort_unreadable"
    assert Settings().retrain_keep_out == ()
