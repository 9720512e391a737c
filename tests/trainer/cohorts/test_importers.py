"""The importers on the faults that the public cohorts have, and the maps onto the catalogue by hand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError, TrainingError
from engine.findings.catalogue import Catalogue
from tests.support import cohorts as make
from tests.support.dicom import N_SLICES
from trainer.cohorts.build import ImportedCohort, import_cohort
from trainer.cohorts.importers.bleeds import FRACTURES, PARENCHYMAL, SUBDURAL
from trainer.cohorts.keys import cohort_study_key
from trainer.labels.tables import write_labels
from trainer.labels.values import Report

NO_SIDE = (*PARENCHYMAL, *SUBDURAL)
BLEEDS = (*NO_SIDE, "intraventricular_hemorrhage", "subarachnoid_hemorrhage", "epidural_hematoma")


def bring(root: Path, catalogue: Catalogue) -> ImportedCohort:
    """Import what lies at `root` into a folder beside it."""
    return import_cohort(root, root.with_name(f"{root.name}_out"), catalogue)


def labels(imported: ImportedCohort, namespace: str, name: str) -> dict[str, int]:
    """Return the known labels of the study that the cohort calls `name`."""
    manifest = imported.manifest
    (study,) = [one for one in manifest.studies if one.study_key == cohort_study_key(namespace, name)]
    return {key: int(sign) for key, sign in zip(manifest.keys, study.labels, strict=True) if sign != "?"}


def notes(imported: ImportedCohort) -> dict[str, int]:
    return {note["code"]: note["n"] for note in imported.report["notes"]}


def skipped(imported: ImportedCohort) -> Mapping[str, int]:
    by_code: Mapping[str, int] = imported.report["skipped"]["by_code"]
    return by_code


def rsna_uid(study: int) -> str:
    return f"1.2.826.0.1.3680043.10.77.{study}"


def test_rsna_studies_and_patients_come_from_the_headers_and_labels_from_the_union(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    root = tmp_path / "rsna"
    make.write_rsna(root, {1: {3: ["subarachnoid"], 9: ["subdural"]}, 2: {}, 3: {0: ["intraparenchymal"]}})
    imported = bring(root, catalogue)
    assert len(imported.manifest.studies) == 3
    absent = dict.fromkeys(BLEEDS, 0)
    assert labels(imported, "rsna2019", rsna_uid(2)) == absent
    first = labels(imported, "rsna2019", rsna_uid(1))
    assert first == {key: value for key, value in absent.items() if key not in SUBDURAL} | {
        "subarachnoid_hemorrhage": 1
    }
    third = labels(imported, "rsna2019", rsna_uid(3))
    assert not set(PARENCHYMAL) & set(third)
    assert third["epidural_hematoma"] == 0
    assert [study.n_slices for study in imported.manifest.studies] == [N_SLICES] * 3
    assert all(len(study.files) == N_SLICES for study in imported.manifest.studies)


def test_rsna_one_patient_with_two_studies_is_one_patient(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "rsna"
    make.write_rsna(root, {1: {}, 2: {}})
    for index in range(N_SLICES):
        (root / "stage_2_train" / f"{make.rsna_name(2, index)}.dcm").unlink()
    names = [make.rsna_name(2, index) for index in range(N_SLICES)]
    make.write_slices(root / "stage_2_train", 2, names, PatientID=f"{make.SURNAME}-1")
    imported = bring(root, catalogue)
    assert len(imported.manifest.studies) == 2
    assert len({study.patient_key for study in imported.manifest.studies}) == len(imported.manifest.patients) == 1


def test_rsna_known_faults_of_table_and_files(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "rsna"
    again, other = make.rsna_name(1, 0), make.rsna_name(2, 5)
    rows = [
        f"{again}_epidural,0",
        f"{other}_subarachnoid,1",
        "ID_00000bad0_any,1",
        "ID_6c5d82413_epidural,0.5",
        "nonsense,1",
    ]
    make.write_rsna(root, {1: {}, 2: {}, 3: {}}, rows)
    images = root / "stage_2_train"
    short = images / f"{make.rsna_name(3, 7)}.dcm"
    short.write_bytes(short.read_bytes()[:-100])
    (images / f"{make.rsna_name(3, 8)}.dcm").write_bytes(b"no header at all")
    shutil.copy(images / f"{make.rsna_name(1, 1)}.dcm", images / "ID_0000ffff0.dcm")
    imported = bring(root, catalogue)
    found = notes(imported)
    assert found["cohort.duplicate_row"] == 2
    assert (found["cohort.contradiction"], found["cohort.bad_row"]) == (1, 2)
    assert (found["cohort.slice_without_file"], found["cohort.file_unlabelled"]) == (1, 1)
    assert labels(imported, "rsna2019", rsna_uid(1)) == dict.fromkeys(BLEEDS, 0)
    expected = {key: 0 for key in BLEEDS if key != "subarachnoid_hemorrhage"}
    assert labels(imported, "rsna2019", rsna_uid(2)) == expected
    # A file cut short and one without header leave a gap, and a study with a gap was never seen whole.
    assert skipped(imported) == {"cohort.file_unreadable": 1, "scope.gap": 1}


def test_rsna_a_slice_whose_any_contradicts_its_kinds_says_nothing(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "rsna"
    table = make.write_rsna(root, {1: {4: ["epidural"], 5: ["subarachnoid"]}})
    text = table.read_text().replace(f"{make.rsna_name(1, 4)}_any,1", f"{make.rsna_name(1, 4)}_any,0")
    table.write_text(text)
    imported = bring(root, catalogue)
    assert labels(imported, "rsna2019", rsna_uid(1)) == {"subarachnoid_hemorrhage": 1}
    assert notes(imported)["cohort.slice_contradiction"] == 1


def test_rsna_a_slice_without_all_its_rows_proves_nothing_absent(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "rsna"
    table = make.write_rsna(root, {1: {4: ["epidural"]}})
    lines = [line for line in table.read_text().splitlines() if line != f"{make.rsna_name(1, 2)}_subarachnoid,0"]
    lines = [line for line in lines if line != f"{make.rsna_name(1, 2)}_any,0"]
    table.write_text("\n".join(lines) + "\n")
    known = labels(bring(root, catalogue), "rsna2019", rsna_uid(1))
    assert "subarachnoid_hemorrhage" not in known
    assert (known["epidural_hematoma"], known["intraventricular_hemorrhage"]) == (1, 0)


def test_cq500_takes_the_majority_of_three_readers(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "cq500"
    rows = [
        make.cq500_row(3, ["ICH", "SAH"], ["ICH", "SAH"], []),
        make.cq500_row(10, ["MassEffect"], [], []),
        make.cq500_row(7, *[["ICH", "SDH", "IPH"]] * 3),
    ]
    make.write_cq500(root, rows, (3, 7, 10))
    imported = bring(root, catalogue)
    third = labels(imported, "cq500", "CQ500-CT-3")
    assert (third["subarachnoid_hemorrhage"], third["epidural_hematoma"]) == (1, 0)
    tenth = labels(imported, "cq500", "CQ500-CT-10")
    exact = {"mass_effect": 0, "midline_shift": 0}
    assert tenth == dict.fromkeys((*BLEEDS, *FRACTURES), 0) | exact
    seventh = labels(imported, "cq500", "CQ500-CT-7")
    assert (seventh["acute_subdural_hematoma"], "chronic_subdural_hematoma" in seventh) == (1, False)
    assert not set(PARENCHYMAL) & set(seventh)
    assert notes(imported)["cohort.not_unanimous"] == 3


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (["ICH", "SDH", "ChronicBleed"], {"chronic_subdural_hematoma": 1}),
        (["ICH", "SDH", "SAH", "ChronicBleed"], {}),
        (["ICH", "SDH"], {"acute_subdural_hematoma": 1}),
        (["ICH", "IPH"], dict.fromkeys(SUBDURAL, 0)),
    ],
)
def test_cq500_the_age_of_a_subdural_bleed_is_known_only_where_the_reads_tell_it(
    tmp_path: Path, catalogue: Catalogue, seen: list[str], expected: dict[str, int]
) -> None:
    root = tmp_path / "cq500"
    make.write_cq500(root, [make.cq500_row(3, seen, seen, seen)], (3,))
    known = labels(bring(root, catalogue), "cq500", "CQ500-CT-3")
    assert {key: known[key] for key in SUBDURAL if key in known} == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (["Fracture", "CalvarialFracture"], {"calvarial_fracture": 1, "skull_base_fracture": 0, "mastoid_fracture": 0}),
        (["Fracture", "OtherFracture"], {"calvarial_fracture": 0}),
        (["CalvarialFracture"], {"skull_base_fracture": 0, "mastoid_fracture": 0}),
    ],
)
def test_cq500_fractures_and_a_contradiction_among_them(
    tmp_path: Path, catalogue: Catalogue, seen: list[str], expected: dict[str, int]
) -> None:
    root = tmp_path / "cq500"
    make.write_cq500(root, [make.cq500_row(3, seen, seen, seen)], (3,))
    imported = bring(root, catalogue)
    known = labels(imported, "cq500", "CQ500-CT-3")
    assert {key: known[key] for key in FRACTURES if key in known} == expected
    assert ("cohort.contradiction" in notes(imported)) is (seen == ["CalvarialFracture"])


def test_cq500_faults_of_the_table(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "cq500"
    blank = make.cq500_row(4, ["MidlineShift"], [], [])
    blank[2 + 2 * 14 + 13] = ""  # the third reader's midline shift: one says yes, one no, one nothing
    rows = [
        make.cq500_row(1, [], [], []),
        make.cq500_row(1, [], [], []),
        make.cq500_row(2, [], [], []),
        make.cq500_row(2, ["MassEffect"], [], []),
        ["CQ500-CT-3", "B1", *["2"] * 42],
        blank,
        make.cq500_row(5, [], [], []),
    ]
    make.write_cq500(root, rows, (1, 2, 3, 4))
    imported = bring(root, catalogue)
    assert skipped(imported) == {"cohort.rows_disagree": 1, "cohort.bad_cell": 1, "cohort.source_missing": 1}
    assert notes(imported)["cohort.duplicate_row"] == 1
    assert "midline_shift" not in labels(imported, "cq500", "CQ500-CT-4")
    assert labels(imported, "cq500", "CQ500-CT-1")["midline_shift"] == 0
    by_line = {item["line"]: item["code"] for item in imported.report["skipped"]["items"]}
    assert by_line == {4: "cohort.rows_disagree", 6: "cohort.bad_cell", 8: "cohort.source_missing"}


def test_cq500_the_plain_soft_series_is_chosen_and_why(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "cq500"
    make.write_cq500(root, [make.cq500_row(n, [], [], []) for n in (1, 2, 3)], ())
    one = root / "CQ500-CT-1" / "Unknown Study"

    def add(folder: Path, number: int, series: int, name: str, n_slices: int, **changes: Any) -> None:
        uid = f"{rsna_uid(number)}.{series}"
        make.write_slices(folder / name, number, n_slices=n_slices, SeriesInstanceUID=uid, **changes)

    add(one, 1, 1, "CT Plain", 20)
    add(one, 1, 2, "CT PRE CONTRAST THIN", 24)
    add(one, 1, 3, "CT POST CONTRAST", 30)
    add(one, 1, 4, "CT BONE", 40)
    add(one, 1, 5, "CT Plain sharp", 36, ConvolutionKernel="BONEPLUS")
    add(root / "CQ500CT2 CQ500CT2", 2, 1, "CT 4cc sec 150cc D3D on", 20)
    add(root / "CQ500CT3 CQ500CT3", 3, 1, "CT BONE", 20)
    imported = bring(root, catalogue)
    chosen = {study.study_key: study for study in imported.manifest.studies}
    first = chosen[cohort_study_key("cq500", "CQ500-CT-1")]
    assert (first.choice, first.n_slices) == ("series.plain_most_slices", 24)
    assert first.folder == "CQ500-CT-1/Unknown Study/CT PRE CONTRAST THIN"
    assert chosen[cohort_study_key("cq500", "CQ500-CT-3")].choice == "series.sharp_only"
    assert skipped(imported) == {"scope.contrast": 1}
    assert notes(imported)["cohort.series_set_aside"] == 4


@pytest.mark.parametrize("first_release", [False, True])
def test_ct_ich_slices_make_studies_in_both_releases(tmp_path: Path, catalogue: Catalogue, first_release: bool) -> None:
    root = tmp_path / "ct_ich"
    rows = [
        *make.ct_ich_rows(49, {2: ["Subdural"], 5: ["Epidural", "Fracture_Yes_No"]}),
        *make.ct_ich_rows(51, {}),
        *make.ct_ich_rows(59, {}),
    ]
    make.write_ct_ich(root, rows, (49, 51), first_release)
    imported = bring(root, catalogue)
    assert labels(imported, "ct-ich", "051") == dict.fromkeys((*BLEEDS, *FRACTURES), 0)
    known = labels(imported, "ct-ich", "049")
    assert known["epidural_hematoma"] == 1
    assert not {*SUBDURAL, *FRACTURES} & set(known)
    assert skipped(imported) == {"cohort.source_missing": 1}


def test_ct_ich_faults_of_table_scans_and_masks(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "ct_ich"
    contradicting = make.ct_ich_rows(51, {})
    contradicting[3][CT_ICH_NO_BLEED] = "0"
    rows = [
        *make.ct_ich_rows(49, {2: ["Subdural"]}, n_slices=N_SLICES - 3),
        *make.ct_ich_rows(50, {}),
        *contradicting,
        *make.ct_ich_rows(52, {}),
        make.ct_ich_rows(52, {1: ["Epidural"]})[0],
        *make.ct_ich_rows(53, {}),
        *make.ct_ich_rows(54, {}),
        ["Sum", *[""] * 8],
    ]
    make.write_ct_ich(root, rows, (49, 50, 51, 52, 53))
    (root / "ct_scans" / "054.nii").write_bytes(b"broken")
    mask = np.zeros((N_SLICES, 12, 16), np.uint8)
    make.write_scan(root / "masks" / "052.nii", mask)
    mask[4, 5, 6] = 255
    make.write_scan(root / "masks" / "053.nii", mask)
    make.write_scan(root / "masks" / "049.nii", mask)
    (root / "masks" / "051.nii").write_bytes(b"broken")
    imported = bring(root, catalogue)
    # Fewer rows than slices prove nothing absent, and a subdural bleed of unknown age names no finding.
    assert skipped(imported) == {"scope.age": 1, "cohort.no_image": 1, "cohort.no_label": 1}
    fracture = dict.fromkeys(FRACTURES, 0)
    # A slice that says "bleeding" and no kind leaves every kind open; the fracture stays.
    assert labels(imported, "ct-ich", "051") == fracture
    assert "epidural_hematoma" not in labels(imported, "ct-ich", "052")
    assert labels(imported, "ct-ich", "052")["subarachnoid_hemorrhage"] == 0
    # The mask shows what no label says.
    assert labels(imported, "ct-ich", "053") == fracture
    found = notes(imported)
    assert (found["cohort.mask_disagrees"], found["cohort.mask_unreadable"], found["cohort.bad_row"]) == (1, 1, 1)
    assert (found["cohort.duplicate_row"], found["cohort.contradiction"]) == (1, 1)
    assert found["cohort.slices_unlabelled"] == 1


CT_ICH_NO_BLEED = make.CT_ICH_HEADER.index("No_Hemorrhage")


def test_an_own_table_with_its_faults(tmp_path: Path, catalogue: Catalogue, shared_data: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    make.write_slices(root / "a", 1)
    make.write_slices(root / "b", 2, PatientAge="009Y")
    make.write_slices(root / "c", 3)
    shutil.copytree(root / "a", root / "copy_of_a")
    shutil.copytree(shared_data / "malformed", root / "broken")
    for path in sorted((root / "c").iterdir())[::3]:
        path.write_bytes(path.read_bytes()[:300])
    blank = {"patient": "", "lipoma": 1, "meningioma": ""}
    make.write_table(
        root / "table.csv",
        [
            {"path": "a", **blank},
            {"path": "a", **blank},
            {"path": "b", **blank},
            {"path": "c", **blank},
            {"path": "gone", **blank},
            {"path": "copy_of_a", **blank},
            {"path": "twice", **blank},
            {"path": "twice", **blank, "lipoma": 0},
            {"path": "broken", **blank},
        ],
    )
    imported = bring(root, catalogue)
    assert notes(imported)["cohort.duplicate_row"] == 1
    codes = {item["line"]: item["code"] for item in imported.report["skipped"]["items"]}
    assert codes == {
        4: "scope.age",
        5: "scope.gap",
        6: "cohort.source_missing",
        7: "cohort.twice",
        8: "cohort.rows_disagree",
        10: "scope.no_rescale",
    }
    assert labels(imported, "own", "a") == {"lipoma": 1}
    assert imported.manifest.keys == ("lipoma",)


def test_the_table_that_the_command_labels_writes_is_an_own_table(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "reports"
    root.mkdir()
    make.write_slices(root / "s1", 1)
    make.write_slices(root / "s2", 2)
    unknown = dict.fromkeys(catalogue, -1)
    found = [{**unknown, "hydrocephalus": 1, "lipoma": 0}, unknown]
    reports = [Report("s1", "", "", 2), Report("s2", "", "", 3)]
    write_labels(root / "labels.csv", reports, found, tuple(catalogue))
    imported = bring(root, catalogue)
    assert labels(imported, "own", "s1") == {"hydrocephalus": 1, "lipoma": 0}
    assert imported.manifest.keys == ("lipoma", "hydrocephalus")
    assert skipped(imported) == {"cohort.no_label": 1}


def test_tables_that_are_none_are_refused_by_name(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError) as caught:
        bring(tmp_path / "nowhere", catalogue)
    assert caught.value.code == "cohort.missing"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError) as caught:
        bring(tmp_path / "one", catalogue)
    assert caught.value.code == "cohort.unknown"
    with pytest.raises(ConfigError) as caught:
        import_cohort(tmp_path / "one" / "x.csv", tmp_path / "out", catalogue, kind="cq500")
    assert caught.value.code == "cohort.table_columns"
    with pytest.raises(ConfigError) as caught:
        import_cohort(tmp_path / "one", tmp_path / "out", catalogue, kind="mimic")
    assert (caught.value.code, "cq500" in caught.value.hint) == ("cohort.kind", True)
    for name in ("y.csv", "z.csv"):
        (tmp_path / "one" / name).write_text("path,lipoma\ns1,1\n")
    with pytest.raises(ConfigError) as caught:
        bring(tmp_path / "one", catalogue)
    assert caught.value.code == "cohort.ambiguous"
    with pytest.raises(TrainingError) as failed:
        import_cohort(tmp_path / "one" / "y.csv", tmp_path / "out", catalogue)
    assert failed.value.code == "cohort.nothing_usable"
    assert not (tmp_path / "out").exists()
