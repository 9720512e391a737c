"""What every importer of a cohort must keep, each on a small cohort in its publisher's format."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

import trainer.cohorts.importers as package
from engine.errors import ConfigError
from engine.findings.catalogue import Catalogue
from engine.findings.label_table import read_label_table
from tests.support.cohorts import MAKERS, SURNAME
from trainer.cohorts.build import ImportedCohort, import_cohort
from trainer.cohorts.importers import cq500, ct_ich
from trainer.cohorts.importers.base import rule_keys
from trainer.cohorts.importers.registry import collect, find_cohort, importers
from trainer.cohorts.manifest import read_manifest
from trainer.config import SPLITS

SHARED = {"__init__", "base", "bleeds", "registry", "tables"}


@pytest.fixture(scope="module", params=sorted(importers()))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small cohort a kind."""
    root = tmp_path_factory.mktemp("cohorts")
    made = {}
    for name, make in MAKERS.items():
        (root / name).mkdir()
        made[name] = make(root / name)
    return made


@pytest.fixture(scope="module")
def imported(
    kind: str, cohorts: dict[str, Path], catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ImportedCohort, Path]:
    out = tmp_path_factory.mktemp(f"out_{kind}")
    return import_cohort(cohorts[kind], out, catalogue), out


def test_every_file_of_the_package_is_found_and_has_a_cohort_here() -> None:
    files = {path.stem for path in Path(package.__path__[0]).glob("*.py")} - SHARED
    assert set(importers()) == files == set(MAKERS)


def test_contract_it_recognises_its_own_and_nobody_elses(
    kind: str, cohorts: dict[str, Path], catalogue: Catalogue
) -> None:
    importer, table = find_cohort(cohorts[kind], catalogue)
    assert importer.kind == kind
    assert find_cohort(table, catalogue)[0] is importer
    renamed = table.with_suffix(".CSV")
    table.rename(renamed)
    try:
        assert find_cohort(cohorts[kind], catalogue, kind) == (importer, renamed)
    finally:
        renamed.rename(table)
    for other in set(cohorts) - {kind}:
        with pytest.raises(ConfigError) as caught:
            find_cohort(cohorts[other], catalogue, kind)
        assert caught.value.code == "cohort.unknown"
        assert importer.looks_for in caught.value.hint


def test_contract_it_says_what_it_is_and_maps_onto_the_catalogue_alone(kind: str, catalogue: Catalogue) -> None:
    importer = importers()[kind]
    assert (importer.title, importer.looks_for, importer.namespace, importer.study_rule) > ("", "", "", "")
    assert rule_keys(importer.rules) <= set(catalogue)
    assert all(rule.why and (rule.present or rule.absent) for rule in importer.rules)
    assert len({rule.name for rule in importer.rules}) == len(importer.rules)


def test_contract_what_is_not_labelled_is_unknown(imported: tuple[ImportedCohort, Path], kind: str) -> None:
    manifest = imported[0].manifest
    allowed = rule_keys(importers()[kind].rules)
    assert len(manifest.studies) == 2
    assert manifest.kind_of_cohort == kind
    assert set("".join(study.labels for study in manifest.studies)) <= set("10?")
    if allowed:
        assert set(manifest.keys) <= allowed
    counts = manifest.counts()
    assert all(counts[key]["1"] + counts[key]["0"] for key in manifest.keys)


def test_contract_the_patients_are_hashes_on_one_side_each(imported: tuple[ImportedCohort, Path]) -> None:
    manifest = imported[0].manifest
    assert len({study.patient_key for study in manifest.studies}) == 2
    assert set(manifest.patients.values()) <= set(SPLITS)
    assert sum(len(manifest.on(split)) for split in SPLITS) == 2
    assert all(len(key) == 64 and int(key, 16) for key in manifest.patients)


def test_contract_nothing_written_names_a_patient(imported: tuple[ImportedCohort, Path]) -> None:
    _, out = imported
    files = sorted(path.name for path in out.iterdir())
    assert files == sorted(
        ["cohort.json", "labels.csv", "report.json", "report.txt", *(f"labels_{split}.csv" for split in SPLITS)]
    )
    assert not [path.name for path in out.iterdir() if SURNAME in path.read_text(encoding="utf-8")]


def test_contract_manifest_table_and_report_agree(
    imported: tuple[ImportedCohort, Path], catalogue: Catalogue, kind: str
) -> None:
    made, out = imported
    manifest = read_manifest(out)
    assert manifest == made.manifest
    table = read_label_table(out / "labels.csv", catalogue)
    assert table.keys == manifest.keys
    signs = {1: "1", 0: "0", -1: "?"}
    assert ["".join(signs[row.labels[key]] for key in table.keys) for row in table.studies] == [
        study.labels for study in manifest.studies
    ]
    assert [row.patient for row in table.studies] == [study.patient_key for study in manifest.studies]
    assert all(row.path.exists() for row in table.studies) is (kind != "rsna2019")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report == made.report
    assert report["manifest_digest"] == manifest.digest
    assert report["used"]["studies"] == 2
    assert (report["skipped"]["n"], report["cohort"]["kind"]) == (0, kind)


def test_contract_the_same_cohort_gives_the_same_manifest(
    imported: tuple[ImportedCohort, Path], cohorts: dict[str, Path], kind: str, catalogue: Catalogue, tmp_path: Path
) -> None:
    assert import_cohort(cohorts[kind], tmp_path / "again", catalogue).manifest == imported[0].manifest


def test_two_importers_of_one_kind_are_refused() -> None:
    with pytest.raises(RuntimeError, match="two importers have the kind cq500"):
        collect([cq500, cq500])
    twin = ModuleType("somewhere.else")
    twin.IMPORTER = ct_ich.IMPORTER  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="must hold the importer of that name"):
        collect([twin])
    assert collect([ModuleType("no.importer")]) == {}
