"""The split: by patient, once and for good, and never learnt from on its test side."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import TrainingError
from engine.findings.catalogue import Catalogue
from tests.support import cohorts as make
from trainer.cohorts.build import import_cohort
from trainer.cohorts.keys import cohort_patient_key, header_patient_key, series_key
from trainer.cohorts.manifest import (
    CohortManifest,
    SplitShares,
    TestPart,
    read_manifest,
    summary,
    trainable_keys,
    write_manifest,
)
from trainer.config import SPLITS

KNOWN_SIDES = {
    "CQ500-CT-4": "train",
    "CQ500-CT-5": "test",
    "CQ500-CT-8": "calibrate",
    "CQ500-CT-12": "validate",
    "CQ500-CT-19": "test",
}
HALVES = SplitShares.of((0.5, 0.1, 0.1, 0.3))


def write_studies(root: Path, patients: list[str]) -> Path:
    """Write an own table with one study a patient named; the first findings alternate."""
    root.mkdir(exist_ok=True)
    rows = []
    for number, patient in enumerate(patients):
        folder = root / f"study{number}"
        if not folder.exists():
            make.write_slices(folder, number)
        rows.append({"path": folder.name, "patient": patient, "lipoma": number % 2, "meningioma": ""})
    return make.write_table(root / "table.csv", rows)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=40))
def test_a_patients_side_depends_on_the_patient_alone(names: list[str]) -> None:
    keys = [cohort_patient_key("own", name) for name in names]
    sides = [SplitShares().side(key) for key in keys]
    assert sides == [SplitShares().side(key) for key in keys]
    assert set(sides) <= set(SPLITS)


def test_the_sides_get_their_shares_and_an_empty_share_nobody() -> None:
    keys = [cohort_patient_key("own", str(number)) for number in range(4000)]
    counts = Counter(HALVES.side(key) for key in keys)
    for split, expected in zip(SPLITS, HALVES.in_order(), strict=True):
        assert abs(counts[split] / len(keys) - expected) < 0.03
    none = SplitShares.of((0.9, 0.1, 0.0, 0.0))
    assert {none.side(key) for key in keys} == {"train", "validate"}


def test_the_side_of_a_known_patient_is_what_it_always_was() -> None:
    """Were this to change, patients of existing cohorts would move when they are imported again."""
    known = {name: SplitShares().side(cohort_patient_key("cq500", name)) for name in KNOWN_SIDES}
    assert known == KNOWN_SIDES
    assert header_patient_key("P-1", "1.2.3").startswith("3f2a72ecd3e9c321")


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5, 0.5), (0.0, 0.5, 0.2, 0.3), (0.7, 0.1, 0.1, 0.0999)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        SplitShares.of(shares)


def test_adding_studies_never_moves_a_patient_and_the_gone_keep_their_side(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    root, out = tmp_path / "own", tmp_path / "out"
    write_studies(root, [f"p{number}" for number in range(6)])
    before = import_cohort(root, out, catalogue, shares=HALVES).manifest
    write_studies(root, [*(f"p{number}" for number in range(5)), "p0", *(f"q{number}" for number in range(4))])
    after = import_cohort(root, out, catalogue).manifest
    assert set(before.patients) < set(after.patients)
    assert {key: after.patients[key] for key in before.patients} == before.patients
    assert (len(after.studies), len(after.patients)) == (10, 10)
    gone = set(after.patients) - {study.patient_key for study in after.studies}
    assert gone == {cohort_patient_key("own", "p5")}
    of_p0 = [study for study in after.studies if study.patient_key == cohort_patient_key("own", "p0")]
    assert len({after.side(study) for study in of_p0}) == 1
    assert len(of_p0) == 2
    assert sum(side["studies"] for side in summary(after).values()) == 10
    assert after.digest != before.digest


def test_a_side_that_was_drawn_is_believed_even_if_the_rule_would_draw_another(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    root, out = tmp_path / "own", tmp_path / "out"
    write_studies(root, ["a", "b"])
    drawn = import_cohort(root, out, catalogue).manifest
    moved = {key: "test" if side != "test" else "train" for key, side in drawn.patients.items()}
    write_manifest(CohortManifest.model_validate({**drawn.model_dump(by_alias=True), "patients": moved}), out)
    assert import_cohort(root, out, catalogue).manifest.patients == moved


def test_the_cohort_may_move_on_disk_without_another_digest(tmp_path: Path, catalogue: Catalogue) -> None:
    write_studies(tmp_path / "own", ["a", "b"])
    before = import_cohort(tmp_path / "own", tmp_path / "out", catalogue).manifest
    shutil.move(tmp_path / "own", tmp_path / "elsewhere")
    after = import_cohort(tmp_path / "elsewhere", tmp_path / "out", catalogue).manifest
    assert (after.digest, after.root) == (before.digest, str(tmp_path / "elsewhere"))


def test_other_shares_another_kind_or_a_changed_manifest_are_refused(tmp_path: Path, catalogue: Catalogue) -> None:
    root, out = tmp_path / "own", tmp_path / "out"
    write_studies(root, ["a", "b"])
    import_cohort(root, out, catalogue)
    written = (out / "cohort.json").read_bytes()
    with pytest.raises(TrainingError) as caught:
        import_cohort(root, out, catalogue, shares=HALVES)
    assert caught.value.code == "cohort.other_shares"
    (tmp_path / "ct").mkdir()
    with pytest.raises(TrainingError) as caught:
        import_cohort(make.make_ct_ich(tmp_path / "ct"), out, catalogue)
    assert caught.value.code == "cohort.other_cohort"
    assert (out / "cohort.json").read_bytes() == written

    document = json.loads(written)
    first = next(iter(document["patients"]))
    document["patients"][first] = "train" if document["patients"][first] != "train" else "test"
    (out / "cohort.json").write_text(json.dumps(document))
    with pytest.raises(TrainingError) as caught:
        import_cohort(root, out, catalogue)
    assert caught.value.code == "cohort.manifest_digest"
    (out / "cohort.json").write_text("{}")
    with pytest.raises(TrainingError) as caught:
        read_manifest(out)
    assert caught.value.code == "cohort.manifest_invalid"
    with pytest.raises(TrainingError) as caught:
        read_manifest(tmp_path / "nothing.json")
    assert caught.value.code == "cohort.manifest_unreadable"


def test_only_findings_with_both_kinds_of_study_to_train_on_are_learnt(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "own"
    write_studies(root, [f"p{number}" for number in range(12)])
    manifest = import_cohort(root, tmp_path / "out", catalogue, shares=HALVES).manifest
    assert (manifest.keys, trainable_keys(manifest)) == (("lipoma",), ("lipoma",))
    column = {study.study_key: "1" for study in manifest.on("train")}
    studies = tuple(
        study.model_copy(update={"labels": column.get(study.study_key, study.labels)}) for study in manifest.studies
    )
    assert trainable_keys(manifest.model_copy(update={"studies": studies})) == ()


def test_the_test_part_knows_its_series_and_its_patients_other_ones(tmp_path: Path, catalogue: Catalogue) -> None:
    root = tmp_path / "own"
    write_studies(root, [f"p{number}" for number in range(12)])
    manifest = import_cohort(root, tmp_path / "out", catalogue, shares=HALVES).manifest
    part = TestPart([manifest])
    assert manifest.on("test")
    assert manifest.on("train")
    for study in manifest.studies:
        tested = manifest.side(study) == "test"
        assert part.holds(study.series_key, "") is tested
        assert part.holds(series_key("of another study"), study.header_patient_key) is tested
    assert not TestPart().holds(manifest.studies[0].series_key, manifest.studies[0].header_patient_key)
