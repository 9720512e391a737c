"""The contract of every corrections exporter, and what each format promises."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine.export
from engine.analysis import RESEARCH_NOTICE
from engine.errors import ExportError
from engine.export import csv_corrections, jsonl_corrections
from engine.export.registry import collect, exporter, exporters
from engine.export.report import COLUMNS, CorrectionsReport, corrections_report
from engine.findings.catalogue import Catalogue
from engine.store.records import CorrectionRow, StudyRecord
from engine.store.repository import Store
from tests.support.store_values import SERIES, STATEMENT, STUDY, filled

ROW = CorrectionRow(
    feedback_id=1,
    series_uid=SERIES.series_uid,
    study_uid=STUDY.study_uid,
    finding_key="lobar_hemorrhage",
    verdict="disagree",
    present=False,
    reason="artifact",
    comment="“Clip”, streak\nsecond line\u2028third, 日本",
    probability=0.1 + 0.2,
    model_name="phantom-demo",
    model_digest="ab" * 32,
    reader="dr.åberg",
    created_utc=datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC),
    mode="ai_seen",
    sop_instance_uids=("1.2.840.1.5.11", "1.2.840.1.5.12"),
    superseded=False,
)
UNSURE = replace(ROW, verdict="unsure", present=None, probability=None, model_name=None, model_digest=None, comment="")


def report(catalogue: Catalogue, *rows: CorrectionRow) -> CorrectionsReport:
    return corrections_report(rows, catalogue)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


READERS = {"csv": read_csv, "jsonl": read_jsonl}


@pytest.fixture(params=sorted(exporters()))
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_file_of_the_package_is_found() -> None:
    files = {path.name for path in Path(engine.export.__file__).parent.glob("*_corrections.py")}
    assert len(exporters()) == len(files) >= 2
    assert {"csv", "jsonl"} <= set(exporters())


def test_contract_words_and_suffix(key: str) -> None:
    member = exporter(key)
    assert member.key == key
    assert member.label
    assert member.suffix.startswith(".")
    assert member.carries_identity is False, "an exporter with identity needs its own tests"


def test_contract_every_row_with_every_column_and_the_notice(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    path = tmp_path / f"corrections{exporter(key).suffix}"
    exporter(key).write(report(catalogue, ROW, UNSURE), path)
    first, second = READERS[key](path)
    for row in (first, second):
        assert tuple(row) == COLUMNS
        assert row["research_notice"] == RESEARCH_NOTICE
    assert first["label"] == "Lobar intraparenchymal hemorrhage"
    assert first["created_utc"] == "2026-03-14T09:26:53.589793+00:00"
    assert first["comment"] == ROW.comment
    assert second["verdict"] == "unsure"


def test_contract_every_field_of_a_statement_has_its_column() -> None:
    spelled_differently = {"series_uid": "series_instance_uid", "study_uid": "study_instance_uid"}
    exported = {spelled_differently.get(field.name, field.name) for field in fields(CorrectionRow)}
    assert exported - {"feedback_id"} | {"label", "research_notice"} == set(COLUMNS)


def test_contract_no_patient_identity_from_a_real_store(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    secrets = StudyRecord(
        study_uid=STUDY.study_uid,
        patient_id="PID-443322",
        patient_name="Zweig^Ottokar",
        study_date="19991231",
        study_description="Sturz, V.a. SDH",
        accession_number="ACC-778899",
        patient_birth_date="19410203",
        patient_sex="O",
    )
    with Store.open(tmp_path / "store.sqlite") as store:
        filled(store).upsert_study(secrets)
        store.upsert_series(replace(SERIES, source_path="/ward/Zweig_Ottokar/ct", description="Ottokar axial"))
        store.add_feedback(STATEMENT)
        rows = store.corrections()
    path = tmp_path / "out"
    exporter(key).write(corrections_report(rows, catalogue), path)
    text = path.read_text(encoding="utf-8")
    assert STATEMENT.finding_key in text
    leaked = [
        word
        for word in ("443322", "Zweig", "Ottokar", "19991231", "Sturz", "778899", "19410203", "ward")
        if word in text
    ]
    assert leaked == []


def test_contract_the_same_report_gives_the_same_bytes(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    for name in ("one", "two"):
        exporter(key).write(report(catalogue, ROW, UNSURE), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_contract_an_empty_report_is_a_valid_file(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    exporter(key).write(report(catalogue), tmp_path / "out")
    assert READERS[key](tmp_path / "out") == []


def test_contract_a_failure_half_way_leaves_the_old_file_and_nothing_else(
    key: str, tmp_path: Path, catalogue: Catalogue
) -> None:
    path = tmp_path / "corrections"
    path.write_text("earlier", encoding="utf-8")
    broken = replace(ROW, created_utc=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        exporter(key).write(report(catalogue, ROW, broken), path)
    assert path.read_text(encoding="utf-8") == "earlier"
    assert [item.name for item in tmp_path.iterdir()] == ["corrections"]


def test_contract_an_unwritable_place_is_named(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    places = [tmp_path / "missing" / "corrections.out", tmp_path / "folder"]
    places[1].mkdir()
    (places[1] / "keep").write_text("", encoding="utf-8")
    for place in places:
        with pytest.raises(ExportError, match=place.name) as caught:
            exporter(key).write(report(catalogue, ROW), place)
        assert (caught.value.code, caught.value.kind) == ("export.cannot_write", "environment")
    assert sorted(str(item.relative_to(tmp_path)) for item in tmp_path.rglob("*")) == ["folder", "folder/keep"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_environment_error(
    key: str, tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def full(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if mode == "xb":
            real_open(self, mode).close()
            return real_open(Path("/dev/full"), "wb")
        return real_open(self, mode, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ExportError, match="No space left"):
        exporter(key).write(report(catalogue, ROW), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_the_users_usual_permissions(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    exporter(key).write(report(catalogue, ROW), tmp_path / "out")
    (tmp_path / "usual").write_text("", encoding="utf-8")
    assert os.stat(tmp_path / "out").st_mode == os.stat(tmp_path / "usual").st_mode


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ExportError, match="docx") as caught:
        exporter("docx")
    assert "csv" in caught.value.hint
    assert "jsonl" in caught.value.hint


def test_two_exporters_with_one_key_are_refused() -> None:
    twin = ModuleType("twin_corrections")
    twin.Twin = type("Twin", (), {"key": "csv", "__module__": "twin_corrections"})  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="two exporters have the key csv"):
        collect([csv_corrections, jsonl_corrections, twin])
    with pytest.raises(RuntimeError, match="exactly one exporter, not 0"):
        collect([ModuleType("empty_corrections")])


def test_a_key_of_another_catalogue_is_written_without_label(key: str, tmp_path: Path, catalogue: Catalogue) -> None:
    exporter(key).write(report(catalogue, replace(ROW, finding_key="of_another_release")), tmp_path / "out")
    (row,) = READERS[key](tmp_path / "out")
    assert (row["finding_key"], row["label"]) == ("of_another_release", "")


def test_csv_spells_values_as_documented(tmp_path: Path, catalogue: Catalogue) -> None:
    path = tmp_path / "out.csv"
    exporter("csv").write(report(catalogue, ROW, UNSURE), path)
    first, second = read_csv(path)
    assert (first["present"], first["superseded"], second["present"]) == ("false", "false", "")
    assert float(first["probability"]) == 0.1 + 0.2
    assert first["sop_instance_uids"] == "1.2.840.1.5.11|1.2.840.1.5.12"
    assert (second["probability"], second["model_digest"]) == ("", "")
    assert not path.read_bytes().startswith(b"\xef\xbb\xbf"), "no byte order mark: the first column keeps its name"
    assert path.read_bytes().startswith(b"series_instance_uid,study_instance_uid,finding_key,label,verdict,present,")


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x","y")',
        "+1",
        "-2+3",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        " =1+1",
        "＝1",
        "\t=1",
    ],
)
@pytest.mark.parametrize("field", ["comment", "reason", "reader", "finding_key", "model_name"])
def test_csv_cells_are_never_formulas(tmp_path: Path, catalogue: Catalogue, text: str, field: str) -> None:
    exporter("csv").write(report(catalogue, replace(ROW, **{field: text})), tmp_path / "out.csv")  # type: ignore[arg-type]
    (row,) = read_csv(tmp_path / "out.csv")
    assert row[field] == f"'{text}"


def test_csv_leaves_harmless_text_alone(tmp_path: Path, catalogue: Catalogue) -> None:
    comment = "HU 60 - 80, p = 0.5 (+/-), a@b"
    exporter("csv").write(report(catalogue, replace(ROW, comment=comment)), tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv")[0]["comment"] == comment


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])), probability=st.none() | st.floats(0, 1))
def test_jsonl_loses_nothing(tmp_path: Path, catalogue: Catalogue, text: str, probability: float | None) -> None:
    row = replace(ROW, comment=text, reason=text, probability=probability)
    path = tmp_path / "out.jsonl"
    exporter("jsonl").write(report(catalogue, row, UNSURE), path)
    first, second = read_jsonl(path)
    assert (first["comment"], first["reason"], first["probability"]) == (text, text, probability)
    assert first["sop_instance_uids"] == list(ROW.sop_instance_uids)
    assert (first["present"], second["present"]) == (False, None)
    assert datetime.fromisoformat(str(first["created_utc"])) == ROW.created_utc
