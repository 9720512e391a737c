"""Preferences, Computing: what can be chosen here, that it is kept, and that another worker goes by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.settings import AppPaths, Settings, load_settings
from app.viewmodels.computing import ComputingChoice, WorkerFacts
from app.viewmodels.review import ReviewModels
from app.views.dialogs.computing_page import ComputingPage
from app.views.dialogs.preferences import PreferencesDialog
from app.views.main_window import MainWindow
from engine.findings.catalogue import Catalogue
from engine.inference.array_cache import ArrayCache, array_key
from tests.support.window import filled_models, show_window

pytestmark = pytest.mark.gui

WAIT_MS = 60_000
CHOSEN = ComputingChoice("auto", "float32", "torch", None, 512)


def page_of(window: MainWindow) -> ComputingPage:
    window.command_actions["preferences"].trigger()
    dialog = window.command_target.dialog("preferences")
    assert isinstance(dialog, PreferencesDialog)
    dialog.pages.setCurrentWidget(dialog.computing)
    return dialog.computing


def entries(page: ComputingPage, name: str) -> dict[str, tuple[str, bool]]:
    """Return text, and whether it can be chosen, of every entry of a list."""
    box = getattr(page, name)
    model = box.model()
    assert isinstance(model, QStandardItemModel)
    return {box.itemData(row): (box.itemText(row), model.item(row).isEnabled()) for row in range(box.count())}


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    models = filled_models(catalogue)
    models.computing.choose(CHOSEN)
    return models


def test_what_is_not_here_is_named_and_cannot_be_chosen(qtbot: QtBot, models: ReviewModels, resources: Path) -> None:
    window, _ = show_window(qtbot, models, resources)
    page = page_of(window)
    assert all(usable for _, usable in entries(page, "device").values()), "nothing is known before the worker speaks"
    models.computing.show_worker(WorkerFacts("cpu", ("cpu",), 2, openvino=False))
    assert entries(page, "device") == {
        "auto": ("Automatic", True),
        "cpu": ("CPU", True),
        "cuda": ("CUDA GPU (not available on this computer)", False),
        "mps": ("Apple GPU (not available on this computer)", False),
    }
    assert entries(page, "cpu_runtime")["openvino"] == ("OpenVINO (not installed)", False)
    models.computing.show_worker(WorkerFacts("cuda", ("cuda", "cpu"), 2, openvino=True))
    assert entries(page, "device")["cuda"] == ("CUDA GPU", True)
    assert entries(page, "cpu_runtime")["openvino"] == ("OpenVINO", True)


def test_a_choice_is_asked_for_once_it_is_applied(qtbot: QtBot, models: ReviewModels, resources: Path) -> None:
    window, actions = show_window(qtbot, models, resources)
    page = page_of(window)
    assert page.choice == CHOSEN
    assert not page.apply.isEnabled()
    page.threads.setValue(3)
    page.precision.setCurrentIndex(page.precision.findData("bfloat16"))
    models.computing.note("cpu float32")
    assert page.threads.value() == 3, "what the worker says leaves the fields as they are"
    assert actions.named("computing.choose") == []
    page.revert.click()
    assert page.choice == CHOSEN
    page.cache_limit.setValue(0)
    qtbot.mouseClick(page.apply, Qt.MouseButton.LeftButton)
    assert actions.named("computing.choose") == [(ComputingChoice("auto", "float32", "torch", None, 0),)]
    page.clear.click()
    assert actions.named("computing.clear_cache") == [()]


def test_the_page_says_what_is_used_and_why_nothing_is(qtbot: QtBot, models: ReviewModels, resources: Path) -> None:
    window, _ = show_window(qtbot, models, resources)
    page = page_of(window)
    assert "starts once what runs now has ended" in page.state.text()
    models.computing.show_worker(WorkerFacts("cpu", ("cpu",), 1, openvino=True))
    assert page.state.text().startswith("The compute worker uses cpu with 1 CPU thread.")
    models.computing.note("cpu float32 openvino")
    assert page.state.text().endswith("computed with: cpu float32 openvino.")
    models.computing.show_problem("No CUDA device can be used by this installation.")
    assert page.state.text() == "Not in use: No CUDA device can be used by this installation."
    assert page.state.property("role") == "warning"


@pytest.fixture
def application(tmp_path: Path, qtbot: QtBot) -> Iterator[Application]:
    paths = AppPaths.at(tmp_path / "home").create()
    application = Application(paths, Settings(reader="Dr Test", device="cpu", threads=1))
    application.start()
    yield application
    application.close()


def test_applying_keeps_the_choice_and_another_worker_goes_by_it(
    application: Application, qtbot: QtBot, resources: Path
) -> None:
    model, paths = application.models.computing, application.paths
    window = MainWindow(application.models, application, resources)
    qtbot.addWidget(window)
    window.show()
    page = page_of(window)
    qtbot.waitUntil(lambda: model.worker is not None, timeout=WAIT_MS)
    assert model.worker is not None
    assert (model.worker.device, model.worker.threads) == ("cpu", 1)
    first = application.compute.pid

    page.threads.setValue(2)
    page.cpu_runtime.setCurrentIndex(page.cpu_runtime.findData("torch"))
    page.apply.click()
    assert model.pending
    qtbot.waitUntil(lambda: not model.pending, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not application.runner.running, timeout=WAIT_MS)
    assert application.compute.pid != first
    assert model.worker.threads == 2
    assert "2 CPU threads" in page.state.text()
    assert not application.models.notices.notices, "the worker was replaced, it did not die"
    kept = load_settings(paths.settings_file).settings
    assert (kept.threads, kept.cpu_runtime, kept.device) == (2, "torch", "cpu")

    if "cuda" not in model.worker.devices:
        application.computing.choose(ComputingChoice("cuda", "auto", "torch", 2, 64))
        qtbot.waitUntil(lambda: model.failed, timeout=WAIT_MS)
        assert "No CUDA device" in page.state.text()
        page.device.setCurrentIndex(page.device.findData("cpu"))
        page.apply.click()
        qtbot.waitUntil(lambda: not model.pending, timeout=WAIT_MS)
        assert not model.failed


def test_the_cache_is_counted_trimmed_and_emptied(application: Application, qtbot: QtBot, resources: Path) -> None:
    cache = ArrayCache(application.paths.arrays, 1 << 30)
    for number in range(3):
        cache.put(array_key("test", {"number": number}), {"zeros": np.zeros(1 << 17)})
    window = MainWindow(application.models, application, resources)
    qtbot.addWidget(window)
    page = page_of(window)
    qtbot.waitUntil(lambda: page.cache_size.text() == "3.0 MiB in 3 entries")
    page.cache_limit.setValue(2)
    page.apply.click()
    qtbot.waitUntil(lambda: page.cache_size.text().endswith("in 1 entry"))
    page.clear.click()
    qtbot.waitUntil(lambda: page.cache_size.text() == "0.0 MiB in 0 entries")
    assert cache.use().n_entries == 0
