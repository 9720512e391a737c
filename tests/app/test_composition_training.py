"""Retraining from the window: the real trainer in its own process, a candidate compared, activated, discarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.composition import Application
from app.operations.models import open_library
from app.settings import AppPaths, Settings
from app.viewmodels.actions import RetrainOptions
from tests.support.reading import state
from tests.trainer.conftest import tiny_config
from trainer.training import PACKAGE_FOLDER, run_training

WAIT_MS = 150_000
WHY = "new scanner in room 2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose active model was trained here, with its reference cohort beside it."""
    home = tmp_path_factory.mktemp("home")
    paths = AppPaths.at(home).create()
    run_training(tiny_config(), paths.runs / "tiny", lambda event: None)
    library = open_library(paths)
    library.activate(library.install(paths.runs / "tiny" / PACKAGE_FOLDER).digest)
    return home


@pytest.fixture
def application(home: Path, qtbot: QtBot, resources: Path) -> Iterator[Application]:
    """The program with every demo study analysed and one finding of each judged."""
    application = Application(AppPaths.at(home), Settings(reader="Dr Test", device="cpu", threads=1))
    application.start()
    application.open_demo()
    qtbot.waitUntil(lambda: application.demo_settled, timeout=WAIT_MS)
    for row in application.models.worklist.rows:
        application.select_series(row.series_uid)
        qtbot.waitUntil(lambda: application.models.findings.status.kind == "analysed", timeout=WAIT_MS)
        for item in [item for item in application.models.findings.rows if item.covered][:3]:
            state(application.models, key := item.key, "absent" if item.positive else "present")
            qtbot.waitUntil(lambda key=key: application.models.findings.row(key).feedback is not None)
    yield application
    application.close()


@pytest.mark.slow
def test_a_candidate_is_trained_compared_and_made_active_or_not(application: Application, qtbot: QtBot) -> None:
    models = application.models
    parent = models.library.active
    assert parent is not None
    application.plan_retraining()
    qtbot.waitUntil(lambda: models.training.plan.n_reviewed > 0, timeout=WAIT_MS)
    assert models.training.plan.n_studies == len(models.worklist.rows)
    assert models.training.plan.blocked == ""

    train(application, qtbot)
    candidate = models.training.candidate
    assert candidate is not None
    assert len(models.training.curve) == 2
    assert candidate.rows
    assert "Trained on " in candidate.summary
    assert WHY in (candidate.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert models.library.active == parent, "nothing is active without a person's word"
    application.discard_candidate(candidate.path)
    qtbot.waitUntil(lambda: models.training.state == "idle", timeout=WAIT_MS)
    assert not candidate.path.exists()

    train(application, qtbot)
    candidate = models.training.candidate
    assert candidate is not None
    application.activate_model(candidate.digest)
    qtbot.waitUntil(lambda: models.library.active is not None and models.library.active.digest == candidate.digest)
    qtbot.waitUntil(lambda: speaks(application) == candidate.digest, timeout=WAIT_MS)
    application.rollback_model()
    qtbot.waitUntil(lambda: speaks(application) == parent.digest, timeout=WAIT_MS)


@pytest.mark.slow
def test_a_retraining_can_be_stopped(application: Application, qtbot: QtBot) -> None:
    models = application.models
    application.start_retraining(RetrainOptions(epochs=5000))
    qtbot.waitUntil(lambda: bool(models.training.curve), timeout=WAIT_MS)
    application.cancel_retraining()
    qtbot.waitUntil(lambda: models.training.state == "cancelled", timeout=WAIT_MS)


def train(application: Application, qtbot: QtBot) -> None:
    application.start_retraining(RetrainOptions(epochs=2, description=WHY))
    ended: Callable[[], bool] = lambda: application.models.training.state in ("finished", "failed")  # noqa: E731
    qtbot.waitUntil(ended, timeout=WAIT_MS)
    assert application.models.training.state == "finished", application.models.training.message


def speaks(application: Application) -> str | None:
    """Whose numbers are shown."""
    identity = application.models.findings.identity
    return None if identity is None else identity.digest
