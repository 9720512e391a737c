"""Maps and similar studies with the real worker and the real store: asked for, kept, stopped, refused, opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.controllers.explanations import OTHER_MODEL
from app.operations.models import open_library
from app.settings import AppPaths, Settings
from app.viewmodels.explanation import EXPERTS
from engine.findings.catalogue import Catalogue
from tests.support.models import write_random_package

pytestmark = pytest.mark.slow

WAIT_MS = 120_000


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> AppPaths:
    folder = tmp_path_factory.mktemp("explained")
    write_random_package(folder / "package", tuple(catalogue)[:6])
    paths = AppPaths.at(folder / "home").create()
    library = open_library(paths)
    library.activate(library.install(folder / "package").digest)
    return paths


@pytest.fixture
def start(paths: AppPaths, qtbot: QtBot) -> Iterator[Callable[[], Application]]:
    running: list[Application] = []

    def start() -> Application:
        application = Application(paths, Settings(reader="Dr Test", device="cpu", threads=1))
        running.append(application)
        application.start()
        return application

    yield start
    for application in running:
        application.close()


def open_and_analyse(application: Application, qtbot: QtBot, path: Path) -> None:
    application.open_paths([path])
    qtbot.waitUntil(lambda: application.models.findings.status.kind == "analysed", timeout=WAIT_MS)
    select_covered(application)


def select_covered(application: Application) -> None:
    models = application.models
    models.findings.selected_key = next(row.key for row in models.findings.rows if row.covered)
    models.viewer.slice_index = models.viewer.n_slices // 2


def draw(application: Application, qtbot: QtBot, method: str) -> None:
    model = application.models.explanation
    model.method = method
    application.explanations.draw_map()
    assert model.running == model.target
    qtbot.waitUntil(lambda: model.running is None, timeout=WAIT_MS)


def test_a_map_is_computed_once_kept_and_laid_over_the_slice_that_it_belongs_to(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path
) -> None:
    application = start()
    open_and_analyse(application, qtbot, ge_tilt)
    model, overlay, viewer = application.models.explanation, application.models.overlay, application.models.viewer
    draw(application, qtbot, "ledger")
    drawn, analysis = model.current, model.analysis
    assert drawn is not None, model.reason
    assert analysis is not None
    row = analysis.ledger.keys.index(drawn.finding_key)
    entry = float(analysis.ledger.values[row, drawn.slice_index].sum())
    assert float(drawn.values.sum()) == pytest.approx(entry, abs=1e-4), "the map sums to the slice's entry"
    assert drawn.faithfulness is not None
    qtbot.waitUntil(lambda: not application.runner.running, timeout=WAIT_MS)
    application.explanations.draw_map()
    assert not application.runner.running, "what is there is not computed again"
    overlay.on = True
    assert overlay.picture is not None
    assert overlay.picture.rgba[..., 3].any()
    shown = viewer.slice_index
    viewer.slice_index = 0
    assert overlay.picture is None
    viewer.slice_index = shown
    draw(application, qtbot, EXPERTS)
    parts = np.sum([part.values.sum() for part in model.maps])
    assert float(parts) == pytest.approx(entry, abs=1e-3), "frozen path and experts together are the slice's entry"


def test_the_place_of_prepared_slices_is_there_after_a_restart(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path
) -> None:
    application = start()
    open_and_analyse(application, qtbot, ge_tilt)
    analysis = application.models.explanation.analysis
    assert analysis is not None
    assert analysis.prepared_grid is not None
    assert analysis.counterfactual is not None
    draw(application, qtbot, "gradcam")
    application.models.overlay.on = True
    assert application.models.overlay.picture is not None
    weights = analysis.acquired_weights[:, application.models.viewer.slice_index]
    drawn = application.models.explanation.current
    assert drawn is not None
    assert drawn.slice_index == int(np.argmax(weights))


def test_a_map_is_stopped_and_what_may_not_be_computed_is_refused_where_the_map_would_be(
    start: Callable[[], Application], qtbot: QtBot, ge_tilt: Path
) -> None:
    application = start()
    open_and_analyse(application, qtbot, ge_tilt)
    models, model = application.models, application.models.explanation
    model.method = "occlusion"
    application.explanations.draw_map()
    application.explanations.cancel_map()
    qtbot.waitUntil(lambda: model.running is None, timeout=WAIT_MS)
    assert model.current is None
    assert model.can_compute, "it may be asked for again"
    model.set_hidden(True)
    application.explanations.draw_map()
    assert model.running is None
    model.set_hidden(False)
    analysis = model.analysis
    assert analysis is not None
    other = replace(analysis, model=replace(analysis.model, digest="f" * 64))
    models.show_analysis(application.session.catalogue, other)
    application.explanations.draw_map()
    assert model.running is None
    assert model.reason == OTHER_MODEL


def test_similar_studies_come_from_the_store_and_one_opens(start: Callable[[], Application], qtbot: QtBot) -> None:
    application = start()
    application.open_demo()
    qtbot.waitUntil(lambda: application.demo_settled, timeout=WAIT_MS)
    model = application.models.explanation
    assert model.analysis is not None
    first = model.analysis.series_instance_uid
    application.explanations.find_similar()
    qtbot.waitUntil(lambda: bool(model.similar), timeout=WAIT_MS)
    (row,) = model.similar
    assert row.series_uid != first
    assert -1 <= row.similarity <= 1
    assert "not the same diagnosis" in model.similar_text
    assert not model.wants_similar, "asked once"
    application.explanations.open_similar(row.series_uid)
    qtbot.waitUntil(
        lambda: model.analysis is not None and model.analysis.series_instance_uid == row.series_uid, timeout=WAIT_MS
    )
    assert model.similar == ()
    assert model.wants_similar
