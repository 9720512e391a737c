"""What surrounds a retraining: its request file, what it says of the studies it used, and discarding a candidate."""

from __future__ import annotations

import shutil
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.controllers.training import delete_run, use_of_studies
from app.operations.retraining import prepare_retraining
from engine.errors import TrainingError
from engine.models.library import LibraryEntry
from trainer.protocol import OwnStudies, RetrainRequest, SkippedSeries, read_request


@pytest.fixture
def base(resources: Path) -> LibraryEntry:
    """The bundled model."""
    return LibraryEntry(
        name="phantom-demo",
        digest="0" * 64,
        path=resources / "models" / "phantom-demo",
        notice="n",
        active=True,
        bundled=True,
        created=datetime(2025, 1, 1, tzinfo=UTC),
        n_findings=1,
    )


def test_the_request_carries_the_reason_and_only_its_owner_may_read_it(
    base: LibraryEntry, resources: Path, tmp_path: Path
) -> None:
    run = prepare_retraining(tmp_path, "postgresql://u:pw@h/d", base, [resources], 3, "new scanner")
    request = read_request(run.request_file)
    assert isinstance(request, RetrainRequest)
    assert (request.description, request.config.epochs) == ("new scanner", 3)
    if sys.platform != "win32":
        assert stat.S_IMODE(run.request_file.stat().st_mode) == 0o600


def test_a_reason_that_is_too_long_is_refused_and_not_cut(base: LibraryEntry, resources: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="501 characters") as caught:
        prepare_retraining(tmp_path, "s", base, [resources], None, "x" * 501)
    assert caught.value.code == "training.description"
    assert list(tmp_path.iterdir()) == []


def test_studies_that_could_not_be_used_are_told_without_their_paths() -> None:
    codes = ("training.source_missing", "training.source_missing", "dicom.short")
    skipped = tuple(SkippedSeries(source_path="/DOE", code=code, reason="/DOE is bad") for code in codes)
    own = OwnStudies(
        n_statements=9, n_unsure=0, n_conflicting=2, n_not_covered=0, n_train=4, n_heldout=1, skipped=skipped
    )
    text = use_of_studies(own)
    assert text.startswith("Trained on 4 of 8 reviewed studies; 1 set apart for testing; 3 could not be used: ")
    assert "no longer where it was opened (2)" in text
    assert "refused as dicom.short (1)" in text
    assert "2 contradicted answers" in text
    assert "DOE" not in text


def test_only_a_run_is_discarded(tmp_path: Path) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "models" / "package"
    (runs / "retrain-1" / "out" / "package").mkdir(parents=True)
    elsewhere.mkdir(parents=True)
    for path in (elsewhere, runs, runs / ".." / "models"):
        with pytest.raises(TrainingError) as caught:
            delete_run(runs, path)
        assert caught.value.code == "training.not_a_run"
    assert elsewhere.exists()
    delete_run(runs, runs / "retrain-1" / "out" / "package")
    assert list(runs.iterdir()) == []
    delete_run(runs, runs / "retrain-1" / "out" / "package")


def test_a_run_that_cannot_be_deleted_is_an_error_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "run" / "package").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", busy)
    with pytest.raises(TrainingError, match="Permission denied") as caught:
        delete_run(tmp_path, tmp_path / "run" / "package")
    assert (caught.value.code, caught.value.kind) == ("training.discard", "environment")
