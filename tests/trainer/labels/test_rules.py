"""The offline labeller: what a sentence states, hedges, denies or recalls, and what a wide denial covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.findings.catalogue import Catalogue
from engine.progress import Cancelled, CancelOnly, CancelToken
from trainer.labels.agreement import compare_with_table
from trainer.labels.lexicon import load_lexicon
from trainer.labels.rules import RuleLabeller
from trainer.labels.sections import impression_of
from trainer.labels.tables import read_reports
from trainer.labels.text import normalised, sentences
from trainer.labels.values import ABSENT, PRESENT, UNKNOWN, Report

ACUTE_BLOOD = {
    "basal_ganglia_hemorrhage", "thalamic_hemorrhage", "lobar_hemorrhage", "cerebellar_hemorrhage",
    "brainstem_hemorrhage", "intraventricular_hemorrhage", "subarachnoid_hemorrhage", "acute_subdural_hematoma",
    "epidural_hematoma", "hemorrhagic_transformation", "petechial_hemorrhage",
}  # fmt: skip
FRACTURES = {"calvarial_fracture", "skull_base_fracture", "mastoid_fracture"}


def known(rules: RuleLabeller, text: str) -> tuple[set[str], set[str]]:
    """Return what is present and what is absent."""
    labels = rules.label_impression(text)
    return (
        {key for key, label in labels.items() if label == PRESENT},
        {key for key, label in labels.items() if label == ABSENT},
    )


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("Small left acute subdural hematoma.", {"acute_subdural_hematoma"}, set()),
        ("Acute 5 mm right-sided subdural haematoma.", {"acute_subdural_hematoma"}, set()),
        ("Subdural hematoma.", set(), set()),
        ("No subdural hematoma.", set(), {"acute_subdural_hematoma", "chronic_subdural_hematoma"}),
        (
            "No subdural, epidural or subarachnoid hemorrhage.",
            set(),
            {"acute_subdural_hematoma", "chronic_subdural_hematoma", "epidural_hematoma", "subarachnoid_hemorrhage"},
        ),
        ("No acute intracranial hemorrhage.", set(), ACUTE_BLOOD),
        (
            "There is a thalamic hemorrhage. No other hemorrhage.",
            {"thalamic_hemorrhage"},
            ACUTE_BLOOD - {"thalamic_hemorrhage"},
        ),
        ("Possible thalamic hemorrhage. No other bleed.", set(), ACUTE_BLOOD - {"thalamic_hemorrhage"}),
        ("No new hemorrhage.", set(), set()),
        ("No change in the meningioma.", {"meningioma"}, set()),
        ("Meningioma is not significantly changed.", {"meningioma"}, set()),
        ("Hydrocephalus cannot be excluded.", set(), set()),
        ("Hydrocephalus has resolved.", set(), {"hydrocephalus"}),
        ("Interval resolution of pneumocephalus.", set(), {"pneumocephalus"}),
        ("History of meningioma.", set(), set()),
        ("Craniotomy for resection of meningioma.", {"craniotomy"}, set()),
        ("No hydrocephalus, but there is midline shift.", {"midline_shift"}, {"hydrocephalus"}),
        ("No hydrocephalus, mild mass effect.", {"mass_effect"}, {"hydrocephalus"}),
        ("No hydrocephalus, old infarct, or mass effect.", set(), {"hydrocephalus", "mass_effect", "chronic_infarct"}),
        ("Midline shift without hydrocephalus.", {"midline_shift"}, {"hydrocephalus"}),
        ("Aneurysm versus meningioma.", set(), set()),
        ("Likely meningioma.", {"meningioma"}, set()),
        ("? meningioma", set(), set()),
        ("No fracture.", set(), FRACTURES),
        ("Old left MCA infarct.", {"chronic_infarct"}, set()),
        ("Left MCA territory infarct.", {"acute_infarct"}, set()),
        ("No infarct.", set(), {"acute_infarct"}),
        (
            "The ventricles and sulci are normal.",
            set(),
            {"ventricular_enlargement", "hydrocephalus", "sulcal_effacement"},
        ),
        ("Epidural abscess.", {"sinus_intracranial_complication"}, set()),
        ("Deep intracerebral hemorrhage.", set(), set()),  # a synonym of two findings: which, it does not say
    ],
)  # fmt: skip
def test_what_a_sentence_says(rules: RuleLabeller, text: str, present: set[str], absent: set[str]) -> None:
    assert known(rules, text) == (present, absent)


def test_every_finding_is_found_by_its_own_label_and_denied_by_it(rules: RuleLabeller, catalogue: Catalogue) -> None:
    stated = {key for key, finding in catalogue.items() if rules.label_impression(finding.label)[key] != PRESENT}
    denied = {key for key, finding in catalogue.items() if rules.label_impression(f"No {finding.label}")[key] != ABSENT}
    # These labels hold a comma, "or", or words such as "multiple lesions suspicious for" that no report puts so.
    assert stated <= {"extra_axial_lesion", "focal_lesion"}
    assert denied <= {"metastases", "extra_axial_lesion", "focal_lesion"}


def test_a_global_negative_leaves_what_it_does_not_cover(rules: RuleLabeller) -> None:
    present, absent = known(rules, "Normal head CT.")
    assert not present
    assert ACUTE_BLOOD | {"midline_shift", "craniotomy", "chronic_subdural_hematoma"} <= absent
    assert not absent & {"scalp_hematoma", "sinusitis", "vascular_calcification", "cavum_septum_pellucidum"}
    assert known(rules, "Otherwise unremarkable examination of the brain.") == (set(), set())


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("FINDINGS: a.\nIMPRESSION: b.\nRECOMMENDATION: c.", "b."),
        ("Findings: a. IMPRESSION: b.", "b."),
        ("Conclusion\nb.\n\nDictated by: d", "b."),
        ("IMPRESSION: b.\r\nADDENDUM: e.", "b.\n\ne."),
        ("HISTORY: x\nIMPRESSION:\n1. b\n2. c", "1. b\n2. c"),
        ("no section at all", "no section at all"),
        ("FINDINGS: a.", None),
        ("FINDINGS: a.\nIMPRESSION:\n", None),
        ("  \n", None),
        ("The impression is that of a bleed.", "The impression is that of a bleed."),
    ],
)
def test_the_impression(report: str, expected: str | None) -> None:
    assert impression_of(report) == expected


def test_sentences() -> None:
    text = "1. A shift of 3.2 mm, as seen by Dr. Who. No bleed;\nmild atrophy.\n2. Old\ninfarct. 3. Shunt.\n- Lipoma"
    assert sentences(text) == [
        "A shift of 3.2 mm, as seen by Dr Who",
        "No bleed",
        "mild atrophy",
        "Old infarct",
        "Shunt",
        "Lipoma",
    ]


def test_side_size_and_spelling_do_not_matter() -> None:
    assert normalised("Large left sub-dural haematoma, 12 x 3 mm") == "subdural hematoma ,"
    assert normalised("Grey-white oedema w/o tumour") == "gray white edema without tumor"


# As measured when these sets were last judged; docs/labels.md says how they came about.
@pytest.mark.parametrize(
    ("name", "false_positives", "false_negatives", "three_way"),
    [
        ("dev", 0.04, 0.0, 0.999),
        ("heldout", 0.04, 0.0, 0.999),
        ("late", 0.1, 0.04, 0.996),
        ("unseen", 0.1, 0.57, 0.989),
    ],
)
def test_the_synthetic_reports(
    rules: RuleLabeller,
    catalogue: Catalogue,
    synthetic: Path,
    name: str,
    false_positives: float,
    false_negatives: float,
    three_way: float,
) -> None:
    reports = read_reports(synthetic / f"{name}_reports.csv")
    found = rules.label(reports)
    judged = compare_with_table(synthetic / f"{name}_manual.csv", reports, found.labels, catalogue)
    assert judged.n_cases == len(reports) >= 30
    assert len(judged.findings) == 75
    assert judged.false_positives <= false_positives
    assert judged.false_negatives <= false_negatives
    assert judged.three_way >= three_way
    assert judged.denied_though_present == 0.0


def test_reports_without_an_impression_are_counted_and_unknown(rules: RuleLabeller) -> None:
    found = rules.label([Report("a", "FINDINGS: Lipoma."), Report("b", "IMPRESSION: Lipoma.")])
    assert found.without_impression == 1
    assert set(found.labels[0].values()) == {UNKNOWN}
    assert found.labels[1]["lipoma"] == PRESENT


def test_labelling_can_be_stopped(rules: RuleLabeller) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        rules.label([Report("a", "IMPRESSION: Lipoma.")], CancelOnly(token))


def test_hostile_text_takes_no_long_time(rules: RuleLabeller) -> None:
    """Expressions that backtrack without bound would not come back from this within the suite's limit."""
    rules.label_impression("old old old old " * 2000 + "hemorrhage in the " * 2000)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('lipoma = ["lipomas?"]', 'lipomma = ["lipomas?"]', "lipomma"),
        ('"lipomas?"', '"lip(oma"', "no regular expression"),
    ],
)
def test_a_lexicon_with_a_fault_is_refused(
    tmp_path: Path, resources: Path, catalogue: Catalogue, old: str, new: str, reason: str
) -> None:
    text = (resources / "findings" / "report_lexicon.toml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "report_lexicon.toml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=reason) as caught:
        load_lexicon(file, catalogue)
    assert caught.value.code == "labels.lexicon"
