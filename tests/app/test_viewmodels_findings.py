"""Findings, evidence, and the small models: what they say and when they tell. No Qt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.viewmodels.evidence import EvidenceModel, prepared_place
from app.viewmodels.findings import FindingsModel
from app.viewmodels.jobs import JobRow, JobsModel
from app.viewmodels.notices import Notice, NoticesModel
from app.viewmodels.review import ReviewModels
from app.viewmodels.statements import FeedbackView
from app.viewmodels.status import AnalysisStatus
from app.viewmodels.training import Candidate, CurvePoint, TrainingModel
from engine.findings.catalogue import URGENCY_ORDER, Catalogue
from tests.support.analyses import HELD_OUT, acquired_weights, make_analysis, make_volume


@pytest.fixture
def findings(catalogue: Catalogue) -> FindingsModel:
    model = FindingsModel()
    model.set_analysis(catalogue, make_analysis(catalogue))
    return model


def test_an_uncovered_finding_has_no_value(findings: FindingsModel) -> None:
    for key in HELD_OUT:
        row = findings.row(key)
        assert not row.covered
        assert row.value is None
        assert row.positive is None
    assert findings.n_covered == 73


def test_uncalibrated_scores_are_called_so(findings: FindingsModel, catalogue: Catalogue) -> None:
    assert findings.rows[0].value_name == "uncalibrated score"
    findings.set_analysis(catalogue, make_analysis(catalogue, calibrated=True))
    assert findings.rows[0].value_name == "calibrated probability"


@pytest.mark.parametrize("grouped", [True, False])
def test_order_by_urgency_puts_positives_first_and_uncovered_last(findings: FindingsModel, grouped: bool) -> None:
    findings.grouped = grouped
    for _, rows in findings.groups():
        places = [
            (not row.covered, row.positive is not True, URGENCY_ORDER[row.finding.urgency], -(row.value or 0.0))
            for row in rows
        ]
        assert places == sorted(places)
    assert sum(len(rows) for _, rows in findings.groups()) == 75


def test_order_by_value(findings: FindingsModel) -> None:
    findings.sort_order = "value"
    findings.grouped = False
    values = [row.value for row in findings.visible_rows() if row.value is not None]
    assert values == sorted(values, reverse=True)
    assert [row.key for row in findings.visible_rows()][-2:] == [
        key for key in findings_order(findings) if key in HELD_OUT
    ]


def findings_order(findings: FindingsModel) -> list[str]:
    return [row.key for row in findings.rows]


def test_search_matches_labels_and_synonyms_without_accents(findings: FindingsModel) -> None:
    row = next(row for row in findings.rows if row.finding.synonyms)
    findings.filter_text = row.finding.synonyms[0].upper()
    assert row.key in {found.key for found in findings.visible_rows()}
    findings.filter_text = "épidural hématoma"
    assert [found.key for found in findings.visible_rows()] == ["epidural_hematoma"]
    findings.filter_text = "no such finding"
    assert findings.visible_rows() == ()


def test_next_goes_through_every_finding_uncovered_ones_too_and_stops_at_the_end(findings: FindingsModel) -> None:
    seen = [findings.selected_key]
    for _ in range(80):
        findings.select_next()
        seen.append(findings.selected_key)
    assert len(set(seen)) == 75
    assert set(HELD_OUT) <= set(seen)
    assert seen[-1] == seen[-2] == findings.visible_rows()[-1].key


def test_feedback_is_counted_and_told_row_by_row(findings: FindingsModel) -> None:
    told: list[str] = []
    findings.row_changed.connect(told.append)
    keys = findings_order(findings)[:2]
    feedback = {key: FeedbackView("present", reader="Dr Test") for key in keys}
    findings.set_feedback(feedback)
    findings.set_feedback(feedback)
    assert told == keys
    assert findings.n_reviewed == 2
    findings.set_feedback({})
    assert findings.n_reviewed == 0


def test_without_analysis_all_findings_are_listed_with_the_reason(catalogue: Catalogue) -> None:
    model = FindingsModel()
    model.set_analysis(catalogue, None)
    model.set_status(AnalysisStatus("refused", "Values are not Hounsfield units."))
    assert len(model.visible_rows()) == 75
    assert all(row.value is None for row in model.rows)
    assert "not Hounsfield" in model.status.text


# -- evidence ------------------------------------------------------------------------------------------------------


def test_what_is_drawn_sums_to_the_logit(catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    model = EvidenceModel()
    model.set_analysis(analysis)
    for key in ("epidural_hematoma", "cerebellar_hemorrhage"):
        model.selected_key = key
        view = model.view
        assert view is not None
        assert view.bias + float(view.net_S.sum()) == pytest.approx(view.logit, abs=1e-4)
        assert view.logit == pytest.approx(analysis.finding(key).logit, abs=1e-6)
        assert float(view.attention_S.sum()) == pytest.approx(1, abs=1e-5)
        assert view.gates_SK.sum(axis=1) == pytest.approx(np.ones(view.n_slices), abs=1e-5)
        assert f"{view.logit:+.2f}" in view.sentence
        assert f"{view.bias:+.2f}" in view.sentence


def test_empty_texts_say_why(catalogue: Catalogue) -> None:
    model = EvidenceModel()
    assert "No study" in model.empty_text
    model.set_status(AnalysisStatus("analysing"))
    assert "Analysing" in model.empty_text
    model.set_analysis(make_analysis(catalogue))
    assert "Select a finding" in model.empty_text
    model.selected_key = HELD_OUT[0]
    assert model.view is None
    assert "Not covered by this model" in model.empty_text


def test_acquired_and_prepared_slices_map_both_ways() -> None:
    weights = acquired_weights(15, 12)
    assert prepared_place(weights, 0) == pytest.approx(0, abs=0.5)
    assert prepared_place(weights, 11) == pytest.approx(14, abs=0.5)
    places = [prepared_place(weights, index) for index in range(12)]
    assert places == sorted(places)
    assert prepared_place(weights, 12) is None
    weights[:, 3] = 0
    assert prepared_place(weights, 3) is None


@pytest.mark.parametrize(
    ("under", "text"),
    [((), "no acquired slice"), ((13, 14), "acquired 14, 15"), ((13, 14, 15, 17), "acquired 14–16, 18")],
)
def test_acquired_slices_are_named_in_short(catalogue: Catalogue, under: tuple[int, ...], text: str) -> None:
    models = ReviewModels()
    models.show_analysis(catalogue, make_analysis(catalogue))
    view = models.evidence.view
    assert view is not None
    assert replace(view, acquired=(under, *view.acquired[1:])).acquired_text(0) == text


def test_a_jump_goes_to_the_acquired_slice_with_most_voxels(catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    models = ReviewModels()
    models.viewer.set_volume(make_volume(), None)
    models.show_analysis(catalogue, analysis)
    for prepared in range(15):
        models.evidence.jump_to(prepared)
        assert models.viewer.slice_index == int(np.argmax(analysis.acquired_weights[prepared]))


def test_jump_to_the_slice_that_pushed_most(catalogue: Catalogue) -> None:
    models = ReviewModels()
    analysis = make_analysis(catalogue)
    models.viewer.set_volume(make_volume(), None)
    models.show_analysis(catalogue, analysis)
    view = models.evidence.view
    assert view is not None
    for against, expected in ((False, int(np.argmax(view.net_S))), (True, int(np.argmin(view.net_S)))):
        models.evidence.jump_to_strongest(against)
        assert models.viewer.slice_index == int(np.argmax(analysis.acquired_weights[expected]))


def test_a_prepared_slice_without_acquired_voxels_jumps_to_the_nearest(catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    analysis.acquired_weights[14] = 0
    model = EvidenceModel()
    model.set_analysis(analysis)
    jumps: list[int] = []
    model.jump_requested.connect(jumps.append)
    model.jump_to(14)
    assert jumps == [int(np.argmax(analysis.acquired_weights[13]))]


def test_cursor_follows_the_viewer_and_selection_follows_the_panel(catalogue: Catalogue) -> None:
    models = ReviewModels()
    models.viewer.set_volume(make_volume(), None)
    models.show_analysis(catalogue, make_analysis(catalogue))
    models.viewer.slice_index = 3
    weights = acquired_weights(15, 12)
    assert models.evidence.cursor == pytest.approx(prepared_place(weights, 3))
    models.findings.selected_key = "cerebellar_hemorrhage"
    assert models.evidence.view is not None
    assert models.evidence.view.key == "cerebellar_hemorrhage"
    models.viewer.set_volume(None, None)
    assert models.evidence.cursor is None


# -- the small ones ------------------------------------------------------------------------------------------------


def test_ended_jobs_leave_and_running_ones_come_first() -> None:
    model = JobsModel()
    model.update(JobRow(1, "Export", state="queued"))
    model.update(JobRow(2, "Analysing", done=1, total=3))
    assert model.current is not None
    assert model.current.id == 2
    model.update(JobRow(2, "Analysing", state="succeeded"))
    assert [row.id for row in model.rows] == [1]
    model.remove(1)
    assert model.current is None


def test_a_repeated_notice_is_listed_once() -> None:
    model = NoticesModel()
    first, second = Notice("error", "One"), Notice("info", "Two")
    for notice in (first, second, first):
        model.post(notice)
    assert model.notices == (second, first)
    model.dismiss(second)
    assert model.notices == (first,)
    model.clear()
    assert model.notices == ()


def test_training_runs_through_its_states(tmp_path: Path) -> None:
    model = TrainingModel()
    model.start()
    model.add_epoch(CurvePoint(1, 0.7, 0.8))
    model.add_epoch(CurvePoint(2, 0.6, 0.75))
    assert model.state == "running"
    model.finish(Candidate(tmp_path, "r1", "ab" * 32, "notice"))
    assert model.state == "finished"
    assert len(model.curve) == 2
    model.reset()
    assert model.state == "idle"
    assert model.candidate is None
    model.start()
    assert model.curve == ()
    model.fail("The disk is full.")
    assert (model.state, model.message) == ("failed", "The disk is full.")
