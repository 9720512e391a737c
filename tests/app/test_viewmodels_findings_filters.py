"""Filters, what is hidden, what accepting the rest states, and where the numbers come from. No Qt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.operations.track_record import finding_text, track_record
from app.viewmodels.finding_filters import FILTERS, FilterKey
from app.viewmodels.finding_row import FindingRow
from app.viewmodels.findings import FindingsModel
from app.viewmodels.reading import HIDDEN_TEXT
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import FeedbackView
from engine.analysis import FindingResult
from engine.findings.catalogue import URGENCY_ORDER, Catalogue
from tests.support.analyses import HELD_OUT, IDENTITY, make_analysis

ABSENT = FeedbackView("absent", reader="Dr Test")


@pytest.fixture
def findings(catalogue: Catalogue) -> FindingsModel:
    model = FindingsModel()
    model.set_analysis(catalogue, make_analysis(catalogue, calibrated=True))
    return model


def shown(model: FindingsModel) -> set[str]:
    return {row.key for row in model.visible_rows()}


def row_with(catalogue: Catalogue, value: float, point: float, calibrated: bool) -> FindingRow:
    finding = catalogue["epidural_hematoma"]
    words = (finding.key, finding.label, finding.category)
    result = FindingResult(*words, True, 0.0, value, value if calibrated else None, point, value >= point)
    return FindingRow(finding, result, None)


@pytest.mark.parametrize(
    ("value", "point", "calibrated", "uncertain"),
    [
        (0.41, 0.50, True, True),
        (0.39, 0.50, True, False),
        (0.59, 0.50, True, True),
        (0.61, 0.50, True, False),
        (0.39, 0.50, False, True),
        (0.29, 0.50, False, False),
        (0.02, 0.06, True, False),  # a low operating point does not make everything near 0 uncertain
        (0.04, 0.06, True, True),
        (0.93, 0.90, True, True),
        (0.96, 0.90, False, False),
    ],
)
def test_uncertain_is_near_the_operating_point_and_at_most_half_way_to_the_end(
    catalogue: Catalogue, value: float, point: float, calibrated: bool, uncertain: bool
) -> None:
    assert row_with(catalogue, value, point, calibrated).uncertain is uncertain


def test_each_filter_lets_pass_what_it_says_and_together_they_must_all(findings: FindingsModel) -> None:
    findings.set_feedback({"epidural_hematoma": ABSENT})
    expected: dict[FilterKey, set[str]] = {
        "positive": {row.key for row in findings.rows if row.positive},
        "uncertain": {row.key for row in findings.rows if row.value is not None and 0.3 <= row.value <= 0.5},
        "urgent": {row.key for row in findings.rows if row.finding.urgency in ("critical", "urgent")},
        "not_reviewed": {row.key for row in findings.rows} - {"epidural_hematoma"},
        "covered": {row.key for row in findings.rows} - set(HELD_OUT),
    }
    assert set(expected) == set(FILTERS)
    for key, keys in expected.items():
        assert 0 < len(keys) < 75
        findings.toggle_filter(key)
        assert shown(findings) == keys
        assert findings.count_text == f"{len(keys)} of 75 shown"
        assert findings.n_passing(key) == len(keys)
        findings.toggle_filter(key)
    findings.toggle_filter("positive")
    findings.toggle_filter("urgent")
    findings.filter_text = "HEMATOMA"
    both = expected["positive"] & expected["urgent"]
    assert shown(findings) < both
    findings.clear_filters()
    assert (len(shown(findings)), findings.filter_text, findings.filters) == (75, "", frozenset())


def test_the_search_folds_case_as_unicode_does(findings: FindingsModel, catalogue: Catalogue) -> None:
    odd = replace(catalogue["epidural_hematoma"], synonyms=("Straßenbluterguss", "ﬁssural bleed"))
    findings.set_analysis({**catalogue, "epidural_hematoma": odd}, None)  # type: ignore[arg-type]
    for typed in ("STRASSENBLUTERGUSS", "straßen", "FISSURAL", "épidural"):
        findings.filter_text = typed
        assert "epidural_hematoma" in shown(findings), typed


def test_a_finding_just_reviewed_stays_until_the_reader_moves_on(findings: FindingsModel) -> None:
    findings.toggle_filter("not_reviewed")
    first, second = (row.key for row in findings.visible_rows()[:2])
    findings.selected_key = first
    findings.set_feedback({first: ABSENT})
    assert first in shown(findings)
    findings.select_next()
    assert findings.selected_key == second
    assert first not in shown(findings)
    findings.set_feedback({})
    assert first in shown(findings)


def test_next_unreviewed_passes_over_what_is_stated_and_begins_again_at_the_top(findings: FindingsModel) -> None:
    keys = [row.key for row in findings.visible_rows()]
    findings.set_feedback(dict.fromkeys(keys[1:-1], ABSENT))
    findings.selected_key = keys[0]
    findings.select_unreviewed()
    assert findings.selected_key == keys[-1]
    findings.select_unreviewed()
    assert findings.selected_key == keys[0]
    findings.set_feedback(dict.fromkeys(keys, ABSENT))
    findings.select_unreviewed()
    assert findings.selected_key == keys[0]


def test_catalogue_order_does_not_move_with_values(findings: FindingsModel, catalogue: Catalogue) -> None:
    findings.order_by("catalogue", True)
    assert [row.key for row in findings.visible_rows()] == list(catalogue)


# -- blind ---------------------------------------------------------------------------------------------------------


def test_while_hidden_nothing_that_the_model_said_can_be_had(catalogue: Catalogue) -> None:
    models = ReviewModels("Dr Test")
    models.reading.open("1.2.3")
    models.reading.read_blind_here(True)
    with_model = make_analysis(catalogue, calibrated=True)
    other = make_analysis(catalogue, calibrated=True, seed=5)
    findings = models.findings
    findings.toggle_filter("positive")
    seen = []
    for analysis in (with_model, other):
        models.show_analysis(catalogue, analysis)
        assert all(row.result is None and row.value is None and row.positive is None for row in findings.rows)
        assert (findings.n_positive, findings.n_covered, findings.n_passing("uncertain")) == (0, 0, 0)
        orders = []
        for order in ("catalogue", "urgency", "value"):
            findings.order_by(order, False)
            orders.append([row.key for row in findings.visible_rows()])
        seen.append(orders)
    assert seen[0] == seen[1]  # no order depends on what was said
    assert findings.status_text == HIDDEN_TEXT
    for key in ("positive", "uncertain", "covered"):
        assert findings.filter_problem(key) == HIDDEN_TEXT
        findings.toggle_filter(key)
    assert findings.filters == frozenset()
    assert findings.filter_problem("urgent") == ""
    models.reading.read_blind_here(False)
    assert findings.n_positive == sum(bool(result.positive) for result in other.findings)


# -- the rest ------------------------------------------------------------------------------------------------------


def test_the_rest_leaves_out_what_is_called_present_unless_named(findings: FindingsModel) -> None:
    reviewed = [row.key for row in findings.rows if row.positive][:2] + [
        row.key for row in findings.rows if row.positive is False
    ][:5]
    findings.set_feedback(dict.fromkeys(reviewed, ABSENT))
    findings.filter_text = "hemorrhage"  # filters do not change what the rest is
    plan = findings.plan_rest()
    called = {row.key for row in findings.rows if row.positive} - set(reviewed)
    assert called
    assert {row.key for row in plan.called_present} == called
    assert set(plan.keys()) == {row.key for row in findings.rows} - set(reviewed) - called
    assert set(HELD_OUT) <= set(plan.keys())
    assert sum(plan.counts().values()) == len(plan.keys())
    one = min(called)
    assert set(plan.keys({one})) == set(plan.keys()) | {one}
    urgency = findings.row(one).finding.urgency
    assert plan.counts({one})[urgency] == plan.counts()[urgency] + 1
    places = [URGENCY_ORDER[row.finding.urgency] for row in plan.rest]
    assert places == sorted(places)
    assert not {row.key for row in plan.uncertain} & called


def test_the_rest_of_a_blind_reading_tells_nothing_of_the_model(findings: FindingsModel) -> None:
    findings.set_hidden(True)
    plan = findings.plan_rest()
    assert plan.hidden
    assert plan.called_present == ()
    assert plan.uncertain == ()
    assert len(plan.keys()) == 75


def test_absent_for_many_is_one_request_with_one_statement_each(catalogue: Catalogue) -> None:
    models = ReviewModels("Dr Test")
    models.reading.open("1.2.3")
    models.show_analysis(catalogue, make_analysis(catalogue))
    given: list[tuple[object, ...]] = []
    models.feedback.given.connect(lambda statements: given.append(statements))
    keys = models.findings.plan_rest().keys()
    models.feedback.absent(keys)
    assert len(given) == 1
    assert [item.finding_key for item in given[0]] == list(keys)  # type: ignore[attr-defined]
    assert {item.content.answer for item in given[0]} == {"absent"}  # type: ignore[attr-defined]


# -- how it was measured -------------------------------------------------------------------------------------------


def test_the_measured_text_is_that_of_the_model_in_view(findings: FindingsModel) -> None:
    findings.set_measured("another", {"epidural_hematoma": "elsewhere"})
    assert findings.measured_text("epidural_hematoma") == ""
    findings.set_measured(IDENTITY.digest, {"epidural_hematoma": "here"})
    assert findings.measured_text("epidural_hematoma") == "here"
    assert findings.measured_text("meningioma") == ""


def test_the_shipped_model_says_how_it_was_measured(resources: Path) -> None:
    folder = resources / "models" / "phantom-demo"
    texts = track_record(folder)
    heldout = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["heldout"]["findings"]
    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert set(texts) == set(heldout)
    assert {key for key, text in texts.items() if "Calibrated by platt" in text} == set(calibration)
    assert {key for key, text in texts.items() if "Not calibrated" in text} == set(texts) - set(calibration)
    for key, item in heldout.items():
        if item["auc"] is not None:
            counts = f"on {item['n_pos']} with and {item['n_neg']} without, synthetic phantoms"
            assert f"AUC {item['auc']:.2f} {counts}" in texts[key]


def test_measures_of_own_studies_say_whether_the_fit_saw_them() -> None:
    share = {"value": 0.9, "low": 0.7, "high": 0.98, "count": 18, "n": 20}
    part = {"description": "own studies", "n_studies": 60, "in_sample": True}
    description = {
        "calibration": {"a": {"method": "platt"}},
        "metrics": {
            "calibration": {
                "method": "platt",
                "fit": part,
                "test": None,
                "findings": {
                    "a": {"n_pos": 20, "n_neg": 40, "note": "", "fit": {"sensitivity": share, "specificity": None}},
                    "b": {"kept_from_parent": True, "note": "too few"},
                },
            }
        },
    }
    text = finding_text("a", description)
    assert "20 with and 40 without own studies" in text
    assert "sensitivity 0.90 (95 % 0.70 to 0.98, n = 20); the studies of the fit: expect less on others" in text
    assert "as in the parent package (too few)" in finding_text("b", description)
    assert finding_text("c", {"calibration": {}, "metrics": {}}) == "Not calibrated: the score is no probability."
