"""A tree of studies in this process: which series, in which order, and that nothing of one study harms another."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.operations import infer_batch as operation
from app.operations.infer_batch import BatchRequest, BatchSummary, helpers_for, infer_batch
from engine.dicom.walk import Portion
from engine.errors import InferenceError
from engine.findings.catalogue import Catalogue
from engine.inference.batch import run_batch
from engine.inference.batch_plan import Analysed, BatchPlan, Finished, PortionDone, scan_portion
from engine.inference.helpers import Helpers
from engine.inference.predictor import Predictor
from engine.phantom.cohort import write_dicom
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.spec import PreprocessSpec
from engine.progress import NULL_CONTEXT, Cancelled, CancelOnly, CancelToken
from tests.support.models import tiny_registry, write_random_package

REGISTRY = tiny_registry()
PHANTOM = PhantomSpec(matrix=64, pixel_spacing_mm=3.6, n_slices=13, slice_spacing_mm=12.0)
COARSE = PreprocessSpec(spacing_mm=(12.0, 3.6, 3.6), size_px=(64, 64), align=False)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "tiny"
    write_random_package(folder, tuple(catalogue)[:3], REGISTRY, preprocessing=COARSE)
    return folder


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    for seed in range(6):
        write_dicom(generate(seed, PHANTOM), folder / f"{seed}")
    return folder


def rewrite(folder: Path, **changes: Any) -> Path:
    """Set attributes of every DICOM file of a folder."""
    import pydicom

    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for name, value in changes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
    return folder


def run(tree: Path, out: Path, package: Path, catalogue: Catalogue, **changes: Any) -> BatchSummary:
    out.mkdir(exist_ok=True)
    changes.setdefault("context", NULL_CONTEXT)
    context = changes.pop("context")
    request = BatchRequest(tree, out, package, "cpu", REGISTRY, n_helpers=1, **changes)
    return infer_batch(request, catalogue, context)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_the_best_series_of_a_study_or_all(tmp_path: Path, phantoms: Path, package: Path, catalogue: Catalogue) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(phantoms / "1", tree / "study" / "whole")
    part = shutil.copytree(phantoms / "1", tree / "study" / "part")
    rewrite(part, SeriesInstanceUID="2.25.77")
    for path in sorted(part.iterdir())[-2:]:
        path.unlink()
    shutil.copytree(phantoms / "2", tree / "zz")
    best = run(tree, tmp_path / "best", package, catalogue)
    found = lines(tmp_path / "best" / "results.jsonl")
    assert [line["source"] for line in found] == [str(tree / "study" / "whole"), str(tree / "zz")]
    assert (best.n_new, best.n_failed, best.n_out_of_scope, best.n_defects) == (2, 0, 0, 0)
    every = run(tree, tmp_path / "all", package, catalogue, all_series=True)
    assert every.n_new == 3
    sources = [line["source"] for line in lines(tmp_path / "all" / "results.jsonl")]
    assert sources == [str(tree / "study" / "whole"), str(part), str(tree / "zz")]


def test_a_series_that_lies_in_two_folders_is_classified_as_one(
    tmp_path: Path, phantoms: Path, package: Path, catalogue: Catalogue
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(phantoms / "1", tree / "a")
    (tree / "b").mkdir()
    for path in sorted((tree / "a").iterdir())[5:]:
        shutil.move(path, tree / "b")
    run(tree, tmp_path / "out", package, catalogue)
    (line,) = lines(tmp_path / "out" / "results.jsonl")
    assert line["geometry"]["acquired_slices"] == PHANTOM.n_slices


def test_more_of_a_study_in_another_part_of_the_tree_is_said_and_a_copy_is_not(
    tmp_path: Path, phantoms: Path, package: Path, catalogue: Catalogue
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(phantoms / "1", tree / "a")
    shutil.copytree(phantoms / "2", tree / "b")
    shutil.copytree(phantoms / "1", tree / "c")
    rewrite(shutil.copytree(phantoms / "2", tree / "d"), SeriesInstanceUID="2.25.78")
    summary = run(tree, tmp_path / "out", package, catalogue)
    assert summary.n_new == 2
    (failure,) = lines(tmp_path / "out" / "failures.jsonl")
    assert (failure["code"], failure["source"]) == ("batch.study_apart", str(tree / "d"))


def test_a_mistake_with_one_study_stops_no_other_and_is_tried_again(
    tmp_path: Path, phantoms: Path, package: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, calls = Predictor.predict, []

    def bad_at_second(self: Predictor, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("Doe^Jane")
        return good(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", bad_at_second)
    first = run(phantoms, tmp_path / "out", package, catalogue)
    assert (first.n_new, first.n_failed, first.n_passing) == (5, 1, 1)
    (failure,) = lines(tmp_path / "out" / "failures.jsonl")
    assert first.n_defects == 1
    assert failure["kind"] == "bug"
    assert failure["source"] == str(phantoms / "1")
    assert failure["study_instance_uid"]
    assert "Jane" not in failure["reason"] + failure["hint"]
    second = run(phantoms, tmp_path / "out", package, catalogue)
    assert (second.n_new, second.n_failed, second.n_results) == (1, 0, 6)
    assert lines(tmp_path / "out" / "failures.jsonl") == []
    counts = Counter(line["study_instance_uid"] for line in lines(tmp_path / "out" / "results.jsonl"))
    assert set(counts.values()) == {1}


def test_a_machine_that_fails_every_study_ends_the_run(
    tmp_path: Path, phantoms: Path, package: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Predictor, *arguments: Any) -> Any:
        raise InferenceError("The GPU is gone.", hint="Put it back.", code="tests.gone", kind="environment")

    monkeypatch.setattr(Predictor, "predict", lost)
    monkeypatch.setattr(operation, "MOST_PASSING_IN_A_ROW", 3)
    with pytest.raises(InferenceError, match=r"3 times in a row.*The GPU is gone") as caught:
        run(phantoms, tmp_path / "out", package, catalogue)
    assert caught.value.kind == "environment"
    monkeypatch.undo()
    assert run(phantoms, tmp_path / "out", package, catalogue).n_results == 6


def test_stopping_leaves_what_is_done_and_the_table(
    tmp_path: Path, phantoms: Path, package: Path, catalogue: Catalogue
) -> None:
    import pyarrow.parquet

    token = CancelToken()

    class StopAfterTwo(CancelOnly):
        def progress(self, done: int, total: int, text: str) -> None:
            if text.startswith("2 classified"):
                token.cancel()

    summary = run(phantoms, tmp_path / "out", package, catalogue, context=StopAfterTwo(token))
    assert summary.stopped
    assert summary.n_results == 2
    assert pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == 2
    rest = run(phantoms, tmp_path / "out", package, catalogue, parquet=False)
    assert (rest.n_new, rest.n_results, rest.stopped) == (4, 6, False)


def test_the_first_result_comes_before_the_tree_is_scanned_and_portions_follow_their_studies(
    phantoms: Path, package: Path, catalogue: Catalogue
) -> None:
    scanned: list[tuple[Path, ...]] = []

    class Counting(Helpers):
        def submit(self, work: Any, *arguments: Any) -> Any:
            if work is scan_portion:
                scanned.append(arguments[0])
            return super().submit(work, *arguments)

    predictor = Predictor.open(package, catalogue, "cpu", REGISTRY)
    helpers = Counting(1)
    plan = BatchPlan(phantoms, COARSE, look_ahead=1)
    try:
        outcomes = run_batch(plan, predictor, helpers, Finished())
        first = next(outcomes)
        assert isinstance(first, Analysed)
        assert len(scanned) < 6, "looking ahead is bounded"
        rest = list(outcomes)
        assert [type(outcome) for outcome in rest] == [PortionDone, *(Analysed, PortionDone) * 5]
        done = [outcome.portion.place for outcome in rest if isinstance(outcome, PortionDone)]
        assert done == [phantoms / f"{seed}" for seed in range(6)]
    finally:
        helpers.close()


def test_a_portion_that_is_known_is_not_opened(phantoms: Path, package: Path, catalogue: Catalogue) -> None:
    files = tuple(sorted((phantoms / "0").iterdir()))
    known = Finished(portions={str(phantoms / "0"): Portion(phantoms / "0", files).signature})
    predictor = Predictor.open(package, catalogue, "cpu", REGISTRY)
    helpers = Helpers(1)
    try:
        outcomes = list(run_batch(BatchPlan(phantoms, COARSE), predictor, helpers, known))
    finally:
        helpers.close()
    assert [outcome.known for outcome in outcomes if isinstance(outcome, PortionDone)] == [True, *[False] * 5]
    assert sum(isinstance(outcome, Analysed) for outcome in outcomes) == 5


def test_a_batch_that_is_left_ends_its_thread(phantoms: Path, package: Path, catalogue: Catalogue) -> None:
    import threading

    token = CancelToken()
    predictor = Predictor.open(package, catalogue, "cpu", REGISTRY)
    helpers = Helpers(1)
    try:
        outcomes = run_batch(BatchPlan(phantoms, COARSE), predictor, helpers, Finished(), CancelOnly(token))
        next(outcomes)
        token.cancel()
        with pytest.raises(Cancelled):
            list(outcomes)
    finally:
        helpers.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "batch-feeder"]


def test_on_a_cpu_the_backbone_keeps_most_cores() -> None:
    assert [helpers_for("cpu", cores) for cores in (1, 2, 4, 16, 128)] == [1, 2, 2, 4, 8]
    assert [helpers_for("cuda", cores) for cores in (1, 2, 4, 16)] == [1, 1, 3, 8]
