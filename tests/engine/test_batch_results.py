"""The folder of a batch: lines that stand, lines that a kill cut, and the table made from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from engine.analysis import RESEARCH_NOTICE, ModelIdentity
from engine.dicom.walk import Portion
from engine.errors import ExportError
from engine.export.batch_parquet import write_parquet
from engine.export.batch_results import FAILURES_FILE, PORTIONS_FILE, RESULTS_FILE, BatchResults, RunIdentity
from engine.findings.catalogue import load_catalogue
from engine.inference.batch_plan import Analysed, Failure, PortionDone, failure_of
from tests.support.analyses import make_analysis

CATALOGUE = load_catalogue(Path(__file__).resolve().parents[2] / "resources" / "findings" / "catalogue.csv")
MODEL = ModelIdentity("tests-only", "a" * 64, "For tests.")
RUN = RunIdentity(MODEL, all_series=False)
DAMAGED = Failure("/x/1.dcm", "", "", "dicom.truncated", "input", "Cut short.", "Copy it again.")
GONE = Failure("/x", "2.25.8", "2.25.9", "dicom.unreadable", "environment", "The disk is gone.", "Put it back.")


def analysed(number: int) -> Analysed:
    analysis = replace(
        make_analysis(CATALOGUE), study_instance_uid=f"2.25.{number}", series_instance_uid=f"2.25.{number}.1"
    )
    return Analysed(analysis, Path("/data") / str(number))


def filled(folder: Path, n_results: int = 3) -> None:
    results = BatchResults(folder, RUN)
    for number in range(n_results):
        results.add_result(analysed(number))
    results.close()


def test_what_is_written_is_known_the_next_time(tmp_path: Path) -> None:
    (tmp_path / "portion").write_bytes(b"x")
    portion = Portion(tmp_path / "portion", (tmp_path / "portion",))
    results = BatchResults(tmp_path, RUN)
    results.add_result(analysed(1))
    assert results.add_failure(DAMAGED)
    assert not results.add_failure(DAMAGED), "once is enough"
    results.add_portion(PortionDone(portion, lasting=True))
    results.add_portion(PortionDone(Portion(Path("/again"), ()), lasting=False))
    results.close()
    again = BatchResults(tmp_path, RUN)
    assert again.finished.studies == {"2.25.1"}
    assert again.finished.series == {"2.25.1.1"}
    assert again.finished.knows(portion)
    assert list(again.finished.portions) == [str(portion.place)]
    assert (again.n_results, again.n_failures) == (1, 1)
    assert not again.add_failure(DAMAGED)
    (line,) = again.results()
    assert line == {"source": "/data/1", **analysed(1).analysis.to_json()}
    again.close()


@pytest.mark.parametrize("cut", [1, 2, 500])
def test_half_a_line_is_cut_off_and_its_study_is_not_done(tmp_path: Path, cut: int) -> None:
    filled(tmp_path)
    path = tmp_path / RESULTS_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    results = BatchResults(tmp_path, RUN)
    assert results.finished.studies == {"2.25.0", "2.25.1"}
    results.add_result(analysed(2))
    results.close()
    assert path.read_bytes() == content


def test_a_file_of_half_a_line_becomes_empty(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    path = tmp_path / RESULTS_FILE
    path.write_bytes(path.read_bytes()[:100_000].rstrip(b"\n")[:-5])
    results = BatchResults(tmp_path, RUN)
    assert results.finished.studies == set()
    results.close()
    assert path.read_bytes() == b""


def test_a_line_damaged_in_the_middle_is_said_and_nothing_changed(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / RESULTS_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{nonsense\n" + lines[2])
    before = path.read_bytes()
    with pytest.raises(ExportError, match="line 2") as caught:
        BatchResults(tmp_path, RUN)
    assert caught.value.code == "batch.damaged"
    assert path.read_bytes() == before
    path.write_bytes(b"".join(lines))
    BatchResults(tmp_path, RUN).close()


def test_the_machines_failures_are_tried_again_and_the_studys_stand(tmp_path: Path) -> None:
    results = BatchResults(tmp_path, RUN)
    for failure in (DAMAGED, GONE):
        results.add_failure(failure)
    assert results.finished.studies == set()
    results.close()
    again = BatchResults(tmp_path, RUN)
    assert again.finished.studies == set()
    again.close()
    (line,) = [json.loads(line) for line in (tmp_path / FAILURES_FILE).read_text(encoding="utf-8").splitlines()]
    assert line["code"] == "dicom.truncated"


def test_another_model_or_choice_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    for other in (replace(RUN, all_series=True), replace(RUN, model=replace(MODEL, digest="b" * 64))):
        with pytest.raises(ExportError) as caught:
            BatchResults(tmp_path, other)
        assert caught.value.code == "batch.other_run"
    BatchResults(tmp_path, RUN).close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = BatchResults(tmp_path, RUN)
    with pytest.raises(ExportError) as caught:
        BatchResults(tmp_path, RUN)
    assert caught.value.code == "batch.busy"
    first.close()
    BatchResults(tmp_path, RUN).close()


def test_a_path_that_is_no_text_makes_no_line_that_is_no_json(tmp_path: Path) -> None:
    results = BatchResults(tmp_path, RUN)
    results.add_failure(replace(DAMAGED, source=str(Path(b"/x/\xff.dcm".decode("utf-8", "surrogateescape")))))
    results.add_portion(PortionDone(Portion(Path("/x\udcff"), ()), lasting=True))
    results.close()
    for name in (FAILURES_FILE, PORTIONS_FILE):
        json.loads((tmp_path / name).read_bytes().decode("utf-8"))
    BatchResults(tmp_path, RUN).close()


def test_an_unknown_error_is_told_without_its_text() -> None:
    text = "Doe^Jane"
    try:
        raise ValueError(text)
    except ValueError as error:
        failure = failure_of(error, "/x", "2.25.1", "2.25.2")
    assert failure.kind == "bug"
    assert failure.passing, "a new version may do better"
    assert "ValueError" in failure.report
    assert "Doe" not in json.dumps(failure.__dict__)


def test_the_table_holds_the_same_numbers(tmp_path: Path) -> None:
    filled(tmp_path, 300)
    results = BatchResults(tmp_path, RUN)
    path = tmp_path / "results.parquet"
    analysis = analysed(0).analysis
    keys = [finding.key for finding in analysis.findings if finding.covered]
    write_parquet(path, results.results(), keys, MODEL)
    results.close()
    table = pyarrow.parquet.read_table(path)
    assert table.num_rows == 300
    assert table["study_instance_uid"].to_pylist() == [f"2.25.{number}" for number in range(300)]
    row = table.slice(7, 1).to_pylist()[0]
    assert row["source"] == "/data/7"
    assert row["prepared_slices"] == len(analysis.slices)
    assert row["warnings"] == list(analysis.warnings)
    assert row["backbone_s"] == analysis.timings_s.backbone
    for finding in analysis.findings:
        if finding.covered:
            for name in ("logit", "probability", "calibrated_probability", "operating_point", "positive"):
                assert row[f"{finding.key}.{name}"] == getattr(finding, name)
        else:
            assert f"{finding.key}.logit" not in row
    metadata = table.schema.metadata
    assert metadata[b"notice"].decode() == RESEARCH_NOTICE
    assert metadata[b"model_digest"].decode() == MODEL.digest
    assert json.loads(metadata[b"findings"]) == keys


def test_no_result_is_a_table_too(tmp_path: Path) -> None:
    write_parquet(tmp_path / "empty.parquet", [], ["midline_shift"], MODEL)
    table = pyarrow.parquet.read_table(tmp_path / "empty.parquet")
    assert table.num_rows == 0
    assert "midline_shift.positive" in table.column_names
