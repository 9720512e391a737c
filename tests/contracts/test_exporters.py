"""The contract of every corrections exporter: each file of engine/export named so is met by all of these."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest

import engine.export
from engine.analysis import RESEARCH_NOTICE
from engine.errors import ExportError
from engine.export import csv_corrections, jsonl_corrections
from engine.export.registry import collect, exporter, exporters
from engine.export.report import COLUMNS, corrections_report
from engine.findings.catalogue import Catalogue
from engine.store.records import CorrectionRow, StudyRecord
from engine.store.repository import Store
from tests.support.export_values import READERS, ROW, UNSURE, report
from tests.support.store_values import MARKED, SERIES, STATEMENT, STUDY, filled, make_analysis


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
    assert (first["model_notice"], second["model_notice"]) == (ROW.model_notice, "")
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
        store.add_feedback(MARKED)
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


def test_contract_a_models_number_from_a_real_store_has_that_models_notice(
    key: str, tmp_path: Path, catalogue: Catalogue
) -> None:
    ours = make_analysis(catalogue)
    other = make_analysis(catalogue, digest="cd" * 32)
    other = replace(other, model=replace(other.model, notice="Validated nowhere"))
    with Store.open(tmp_path / "store.sqlite") as store:
        filled(store)
        store.save_analysis(other)
        store.save_analysis(ours)
        store.add_feedback(replace(STATEMENT, finding_key="lipoma", model_digest=other.model.digest))
        store.add_feedback(STATEMENT)
        store.add_feedback(replace(STATEMENT, finding_key="meningioma", model_digest=None, probability=None))
        rows = store.corrections()
    exporter(key).write(corrections_report(rows, catalogue), tmp_path / "out")
    notices = {row["finding_key"]: row["model_notice"] for row in READERS[key](tmp_path / "out")}
    assert notices == {
        "lipoma": "Validated nowhere",
        STATEMENT.finding_key: "trained on synthetic phantoms",
        "meningioma": "",
    }


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
