"""The catalogue of findings as a radiologist would check it."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.findings.catalogue import CATEGORY_LABELS, Catalogue, load_catalogue
from tests.conftest import SHARED

PAPER_TABLE_1 = {
    "hemorrhage": 12,
    "vascular": 8,
    "trauma": 6,
    "mass_lesion": 9,
    "structural": 11,
    "chronic_other": 29,
}


def test_the_75_findings_stand_in_the_agreed_order_with_the_agreed_words(catalogue: Catalogue) -> None:
    with (SHARED / "findings.csv").open(encoding="utf-8", newline="") as stream:
        agreed = [(row["key"], row["label"], row["category"], row["urgency"]) for row in csv.DictReader(stream)]
    ours = [(item.key, item.label, item.category, item.urgency) for item in catalogue.values()]
    assert ours == agreed
    assert len(ours) == 75


def test_categories_count_as_in_the_papers_table_1(catalogue: Catalogue) -> None:
    assert Counter(item.category for item in catalogue.values()) == PAPER_TABLE_1
    assert set(CATEGORY_LABELS) == set(PAPER_TABLE_1)


def test_every_definition_is_one_sentence_of_its_own(catalogue: Catalogue) -> None:
    for item in catalogue.values():
        assert item.definition.endswith("."), item.key
        assert item.definition.count(". ") == 0, f"{item.key}: more than one sentence"
        assert item.definition[0].isupper(), item.key
        assert 60 <= len(item.definition) <= 260, f"{item.key}: {len(item.definition)} characters"
    assert len({item.definition for item in catalogue.values()}) == 75


def test_every_finding_has_two_to_five_synonyms_that_are_not_its_label(catalogue: Catalogue) -> None:
    for item in catalogue.values():
        assert 2 <= len(item.synonyms) <= 5, item.key
        folded = [synonym.casefold() for synonym in item.synonyms]
        assert len(set(folded)) == len(folded), item.key
        assert item.label.casefold() not in folded, item.key
        assert all(synonym == synonym.strip() for synonym in item.synonyms), item.key


@pytest.mark.parametrize(
    ("key", "sign"),
    [
        ("epidural_hematoma", "biconvex"),
        ("acute_subdural_hematoma", "crescentic"),
        ("lipoma", "−50 to −120 HU"),
        ("pneumocephalus", "−1000 HU"),
        ("lacunar_infarct", "15 mm"),
        ("ventricular_enlargement", "Evans index above 0.3"),
    ],
)
def test_definitions_name_the_telling_sign(catalogue: Catalogue, key: str, sign: str) -> None:
    assert sign.casefold() in catalogue[key].definition.casefold()


def test_a_repeated_key_is_refused(resources: Path, tmp_path: Path) -> None:
    text = (resources / "findings" / "catalogue.csv").read_text(encoding="utf-8")
    copy = tmp_path / "catalogue.csv"
    copy.write_text(text + text.splitlines()[1] + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="basal_ganglia_hemorrhage stands twice"):
        load_catalogue(copy)
