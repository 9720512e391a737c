"""The draft impression: only what the reader stated, merged with what the reader wrote. No Qt."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.viewmodels.impression import ALL_CLEAR, CLEAR, HEADING, NOTHING_PRESENT, assemble
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import FeedbackView
from app.viewmodels.text_merge import merge
from engine.analysis import RESEARCH_NOTICE
from engine.findings.catalogue import Catalogue
from tests.support.analyses import make_analysis


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    opened = ReviewModels("Dr Test")
    opened.reading.open("1.2.3")
    opened.show_analysis(catalogue, make_analysis(catalogue, calibrated=True))
    return opened


def absent() -> FeedbackView:
    return FeedbackView("absent", reader="Dr Test")


def present(**details: object) -> FeedbackView:
    return FeedbackView("present", reader="Dr Test", **details)  # type: ignore[arg-type]


def test_silence_says_nothing(models: ReviewModels) -> None:
    text = models.impression.text
    assert NOTHING_PRESENT in text
    assert "Nothing was stated absent." in text
    assert "75 of 75 findings; nothing is said about them." in text
    for row in models.findings.rows:
        assert row.finding.label not in text
    assert not any(sentence in text for sentence in CLEAR.values())
    assert "No acute" not in text


def test_statements_stand_with_side_certainty_and_comment_the_most_urgent_first(models: ReviewModels) -> None:
    models.findings.set_feedback(
        {
            "cerebral_atrophy": present(),
            "meningioma": present(laterality="bilateral"),
            "acute_subdural_hematoma": present(laterality="left", certainty=80, comment="11 mm,\n frontal"),
            "thalamic_hemorrhage": FeedbackView("unsure", reader="Dr Test", certainty=40),
            "lipoma": absent(),
        }
    )
    lines = models.impression.text.splitlines()
    stated = lines[lines.index("IMPRESSION") + 1 : lines.index("UNCERTAIN") - 1]
    assert stated == [
        "- Acute subdural hematoma, left, reader's certainty 80 %: 11 mm, frontal",
        "- Meningioma, both sides",
        "- Cerebral atrophy",
    ]
    assert lines[lines.index("UNCERTAIN") + 1] == "- Thalamic hemorrhage, reader's certainty 40 %"
    assert "- Lipoma" in lines[lines.index("STATED ABSENT") :]
    assert "70 of 75 findings; nothing is said about them." in lines


def test_no_number_of_the_model_is_in_it(models: ReviewModels, catalogue: Catalogue) -> None:
    models.findings.set_feedback({key: present() for key in catalogue})
    assert not re.search(r"\d\.\d", models.impression.text)
    without = models.impression.text
    models.show_analysis(catalogue, make_analysis(catalogue, seed=3))
    models.findings.set_feedback({key: present() for key in catalogue})
    assert models.impression.text == without


def test_no_acute_abnormality_only_if_every_urgent_finding_was_stated_absent(
    models: ReviewModels, catalogue: Catalogue
) -> None:
    urgent = [key for key, finding in catalogue.items() if finding.urgency != "routine"]
    sentence = ALL_CLEAR.format(n=len(urgent))
    models.findings.set_feedback({key: absent() for key in urgent})
    assert sentence in models.impression.text
    for other in (None, FeedbackView("unsure", reader="Dr Test"), present()):
        statements = {key: absent() for key in urgent}
        del statements["midline_shift"]
        models.findings.set_feedback(statements | ({} if other is None else {"midline_shift": other}))
        text = models.impression.text
        assert "No acute intracranial abnormality" not in text
        assert CLEAR["structural"] not in text
        assert CLEAR["hemorrhage"] in text
        assert "- Mass effect" in text.split("STATED ABSENT")[1]


def test_other_readers_statements_are_not_the_readers(models: ReviewModels) -> None:
    models.findings.set_feedback({"meningioma": FeedbackView("present", reader="Dr Other"), "lipoma": absent()})
    assert "Meningioma" not in models.impression.text
    assert "Meningioma" in assemble(models.findings.rows)


def test_the_heading_goes_along_whatever_was_written(models: ReviewModels) -> None:
    models.impression.edit("Normal.")
    assert models.impression.document == f"{HEADING}\n\nNormal.\n"
    assert RESEARCH_NOTICE in HEADING
    assert "DRAFT" in HEADING


def test_an_unchanged_draft_follows_and_a_changed_one_stays_until_taken_over(models: ReviewModels) -> None:
    impression = models.impression
    told: list[None] = []
    impression.changed.connect(lambda: told.append(None))
    models.findings.set_feedback({"meningioma": present()})
    assert told
    assert "Meningioma" in impression.text
    mine = impression.text.replace("- Meningioma", "- Meningioma at the falx, 2 cm")
    impression.edit(mine)
    assert impression.edited
    assert not impression.stale
    models.findings.set_feedback({"meningioma": present(), "epidural_hematoma": present()})
    assert impression.stale
    assert impression.text == mine
    impression.take_over()
    assert not impression.stale
    assert "- Meningioma at the falx, 2 cm" in impression.text
    assert "- Epidural hematoma" in impression.text
    assert "73 of 75" in impression.text
    impression.start_over()
    assert impression.text == impression.draft


def test_edits_are_kept_by_series_and_reader(models: ReviewModels, catalogue: Catalogue) -> None:
    models.impression.edit("Mine.")
    models.reading.open("9.9")
    models.show_analysis(catalogue, None)
    assert models.impression.text != "Mine."
    models.reading.reader = "Dr Other"
    models.reading.open("1.2.3")
    assert models.impression.text != "Mine."
    models.reading.reader = "Dr Test"
    assert models.impression.text == "Mine."


lines = st.lists(st.sampled_from("abcdef"), max_size=7).map("\n".join)


@given(base=lines, mine=lines, theirs=lines)
def test_merging_takes_the_one_side_that_changed_and_loses_no_line_of_mine(base: str, mine: str, theirs: str) -> None:
    assert merge(base, base, theirs).text == theirs
    assert merge(base, mine, base).text == mine
    assert merge(base, mine, mine).text == mine
    merged = merge(base, mine, theirs)
    added = set(mine.split("\n")) - set(base.split("\n"))
    assert added <= set(merged.text.split("\n"))


def test_where_both_changed_the_same_line_both_are_kept() -> None:
    merged = merge("x\na\ny", "x\nmine\ny", "x\ntheirs\ny")
    assert merged.text == "x\nmine\ntheirs\ny"
    assert merged.n_conflicts == 1
