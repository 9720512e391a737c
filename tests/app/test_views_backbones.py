"""Backbones in the window: the list, adding published weights through the real worker, and what models wait for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot
from safetensors.torch import save_file

from app.composition import Application
from app.operations.models import open_library
from app.settings import AppPaths, Settings
from app.viewmodels.backbones import BackboneRequest, BackboneRow, Conversion, WeightsRow
from app.viewmodels.jobs import JobRow
from app.viewmodels.library import ModelRow
from app.viewmodels.review import ReviewModels
from app.views.dialogs.backbones import BackbonesDialog
from app.views.dialogs.models import ModelsDialog
from app.views.main_window import MainWindow
from engine.findings.catalogue import Catalogue
from engine.models.backbones.convert import Terms, conversion_config, convert_checkpoint
from engine.models.backbones.efficientnet_lite0 import BACKBONE
from engine.models.backbones.registry import open_registry
from engine.models.calibration import Calibration
from engine.models.package import write_package
from tests.support.models import draft, random_classifier
from tests.support.window import RecordingActions, filled_models, show_window

pytestmark = pytest.mark.gui

Shown = tuple[MainWindow, RecordingActions]
NAME = "timm:vit_tiny_patch16_224"
WAIT_MS = 120_000

BUNDLED = BackboneRow("small", "Small network", 2, "Apache-2.0", "ships along", bundled="ab" * 32)
EMPTY = BackboneRow("dino", "DINO", 2, "DINO licence", "Meta", needed_by=("my-model",))
FULL = BackboneRow(
    "pillar",
    "Pillar",
    3,
    "ECL-2.0",
    "gated",
    True,
    "",
    (WeightsRow("cd" * 32, "m.pt", "MIT", "me", "2026-01-02", 3 << 20, 7),),
)
FAMILY = BackboneRow("timm:", "Any network of timm", 2, "of the weights", "timm")


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    models = filled_models(catalogue)
    models.backbones.set_rows((BUNDLED, EMPTY, FULL, FAMILY), ("The folder x is torn.",))
    return models


@pytest.fixture
def shown(qtbot: QtBot, models: ReviewModels, resources: Path) -> Shown:
    return show_window(qtbot, models, resources)


def opened(window: MainWindow) -> BackbonesDialog:
    window.command_actions["backbones"].trigger()
    dialog = window.command_target.dialog("backbones")
    assert isinstance(dialog, BackbonesDialog)
    return dialog


def test_the_list_says_what_is_here_and_what_waits(shown: Shown) -> None:
    window, actions = shown
    dialog = opened(window)
    assert actions.named("backbones.refresh") == [()]
    states = [dialog.table.item(row, 2).text() for row in range(dialog.table.rowCount())]
    assert states == ["ships along", "needed by a model", "weights here", "no weights"]
    dialog.table.selectRow(1)
    assert "my-model" in dialog.details.text()
    assert "To be had from: Meta" in dialog.details.text()
    dialog.table.selectRow(2)
    assert "Licence: MIT" in dialog.details.text()
    assert "2026-01-02" in dialog.details.text()
    assert "torn" in dialog.broken.text()


def test_weights_are_added_only_with_file_and_accepted_licence(
    qtbot: QtBot, shown: Shown, models: ReviewModels, tmp_path: Path
) -> None:
    window, actions = shown
    dialog = opened(window)
    dialog.table.selectRow(2)
    qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    adding = dialog.adding
    assert adding is not None
    assert adding.row == FULL
    assert adding.config.isVisible()
    assert not adding.network.isVisible()
    assert adding.licence.text() == "ECL-2.0"
    adding.file.setText(str(tmp_path / "m.safetensors"))
    adding.config.setText(str(tmp_path / "config.json"))
    assert not adding.convert.isEnabled()
    adding.accepted_terms.setChecked(True)
    adding.origin.setText("our server")
    qtbot.mouseClick(adding.convert, Qt.MouseButton.LeftButton)
    expected = BackboneRequest(tmp_path / "m.safetensors", "pillar", tmp_path / "config.json", "ECL-2.0", "our server")
    assert actions.named("backbones.add") == [(expected,)]

    models.backbones.conversion = Conversion("running", 9)
    assert not adding.convert.isEnabled()
    models.jobs.update(JobRow(9, "Converting", "Converting blocks.0", 3, 10))
    assert (adding.progress.value(), adding.progress.maximum()) == (3, 10)
    assert "blocks.0" in adding.message.text()
    qtbot.mouseClick(adding.stop, Qt.MouseButton.LeftButton)
    assert actions.named("backbones.cancel") == [()]
    models.backbones.conversion = Conversion("failed", message="blocks.1 is missing", hint="Get the right file.")
    assert not adding.progress.isVisible()
    assert "blocks.1" in adding.message.text()
    assert adding.convert.isEnabled()


def test_a_member_of_a_family_begins_with_its_name(shown: Shown, models: ReviewModels) -> None:
    member = BackboneRow(NAME, "vit_tiny (timm)", 2, "of the weights", "timm", needed_by=("my-model",))
    models.backbones.set_rows((FAMILY, member))
    dialog = opened(shown[0])
    dialog.table.selectRow(1)
    dialog.add.click()
    assert dialog.adding is not None
    assert dialog.adding.row == FAMILY
    assert dialog.adding.network.text() == "vit_tiny_patch16_224"


def test_another_backbone_must_be_accepted_anew(shown: Shown, tmp_path: Path) -> None:
    dialog = opened(shown[0])
    dialog.add.click()
    adding = dialog.adding
    assert adding is not None
    adding.file.setText("x")
    adding.accepted_terms.setChecked(True)
    adding.backbone.setCurrentIndex(3)
    assert not adding.accepted_terms.isChecked()
    assert adding.licence.text() == "of the weights"
    adding.accepted_terms.setChecked(True)
    assert adding.request() is None, "which network of timm?"
    adding.network.setText("vit_tiny_patch16_224")
    adding.pooled.setCurrentIndex(1)
    request = adding.request()
    assert request is not None
    assert (request.name, request.pooled, request.config_file) == (NAME, "token", None)


def test_the_models_dialog_says_whose_weights_are_missing(shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    here = ModelRow("one", "a" * 64, "", active=True, backbone="Small network", verify_state="verified")
    waits = ModelRow(
        "two", "b" * 64, "", backbone="DINO", weights_here=False, verify_state="failed", message="No weights."
    )
    models.library.set_rows((here, waits))
    window.command_actions["models"].trigger()
    dialog = window.command_target.dialog("models")
    assert isinstance(dialog, ModelsDialog)
    texts = [dialog.table.item(row, 4).text() for row in (0, 1)]
    assert texts == ["Small network", "DINO: weights missing"]
    assert [dialog.table.item(row, 6).text() for row in (0, 1)] == ["verified", "waits for weights"]
    dialog.table.selectRow(1)
    assert "Model, Backbones" in dialog.message.text()
    assert not dialog.activate.isEnabled()


# -- with the real worker ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    network = timm.create_model(NAME.removeprefix("timm:"), pretrained=False)
    path = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


@pytest.fixture
def paths(tmp_path: Path, published: Path, catalogue: Catalogue) -> AppPaths:
    """A home whose active model stands on weights that were there once and are gone."""
    paths = AppPaths.at(tmp_path / "home").create()
    registry = open_registry(paths.backbones)
    assert registry.store is not None
    config = conversion_config(NAME, None)
    stored = convert_checkpoint(published, NAME, registry, registry.store, Terms("L", "O"), config)
    keys = tuple(catalogue)[:3]
    reference = {"name": NAME, "weights_digest": stored.record.weights_digest, "feature_width": 192}
    package = tmp_path / "package"
    write_package(
        package,
        draft(keys, BACKBONE, backbone=reference),
        random_classifier(192, len(keys)),
        calibration=Calibration.model_validate({}),
        metrics={},
        card="# Tests only\n",
        registry=registry,
    )
    library = open_library(paths)
    library.activate(library.install(package).digest)
    shutil.rmtree(paths.backbones)
    return paths


@pytest.fixture
def application(paths: AppPaths, qtbot: QtBot) -> Iterator[Application]:
    application = Application(paths, Settings(reader="Dr Test", device="cpu", threads=1))
    yield application
    application.close()


def settled(application: Application) -> Callable[[], bool]:
    return lambda: application.models.backbones.conversion.state not in ("none", "running")


def test_a_model_that_waited_can_be_used_once_its_weights_are_here(
    qtbot: QtBot, application: Application, published: Path, paths: AppPaths
) -> None:
    models = application.models
    application.start()
    qtbot.waitUntil(lambda: bool(models.library.rows), timeout=WAIT_MS)
    (row,) = (row for row in models.library.rows if row.name == "tests-only")
    assert not row.weights_here
    assert row.verify_state == "failed"
    application.backbones.refresh()
    qtbot.waitUntil(lambda: bool(models.backbones.rows), timeout=WAIT_MS)
    (needed,) = (row for row in models.backbones.rows if row.needed_by)
    assert needed.name == NAME

    wrong = BackboneRequest(published, "dinov3_base", None, "L", "O")
    application.backbones.add(wrong)
    qtbot.waitUntil(settled(application), timeout=WAIT_MS)
    assert models.backbones.conversion.state == "failed"
    assert "storage_tokens" in models.backbones.conversion.message or "missing" in models.backbones.conversion.message
    assert any("Converting" in notice.title for notice in models.notices.notices)

    application.backbones.add(BackboneRequest(published, NAME, None, "Apache-2.0", "a test"))
    qtbot.waitUntil(settled(application), timeout=WAIT_MS)
    assert models.backbones.conversion.state == "done", models.backbones.conversion.message
    qtbot.waitUntil(
        lambda: any(row.name == "tests-only" and row.verify_state == "verified" for row in models.library.rows),
        timeout=WAIT_MS,
    )
    qtbot.waitUntil(lambda: any(row.weights for row in models.backbones.rows), timeout=WAIT_MS)
    (full,) = (row for row in models.backbones.rows if row.weights)
    assert (full.name, full.weights[0].licence, full.needed_by) == (NAME, "Apache-2.0", ())


def test_a_stopped_conversion_leaves_nothing(
    qtbot: QtBot, application: Application, published: Path, paths: AppPaths
) -> None:
    application.start()
    application.backbones.add(BackboneRequest(published, NAME, None, "L", "O"))
    application.backbones.cancel()
    qtbot.waitUntil(settled(application), timeout=WAIT_MS)
    assert application.models.backbones.conversion.state == "stopped"
    assert not list(paths.backbones.glob("*"))
