"""Reasons without a window: sums, counterfactuals on the right scale, maps by what they belong to, geometry, hiding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.viewmodels.evidence import NOT_COVERED, VOLUME_TEXT, EvidenceModel
from app.viewmodels.explanation import CHOICES, EXPERTS, KEPT, ExplanationModel
from app.viewmodels.jobs import JobRow
from app.viewmodels.overlay import APART, NO_GRID, TOO_STEEP, meet, paint, prepared_slice_at
from app.viewmodels.reading import HIDDEN_TEXT
from app.viewmodels.review import ReviewModels
from app.viewmodels.viewer import SeriesInfo
from app.viewmodels.what_if import NO_CALIBRATION, NO_EXPERTS, NO_SLICE_OF_VOLUME, what_if
from engine.analysis import Analysis, Counterfactual
from engine.explain.maps import SliceMap
from engine.findings.catalogue import Catalogue
from tests.support.analyses import HELD_OUT, make_analysis, make_volume
from tests.support.why import grid_over, made_maps, with_reasons

KEY = "acute_subdural_hematoma"
GRID_RC = (80, 48)


@pytest.fixture
def analysis(catalogue: Catalogue) -> Analysis:
    geometry = make_volume().geometry
    assert geometry is not None
    return with_reasons(make_analysis(catalogue), geometry, GRID_RC)


@pytest.fixture
def evidence(analysis: Analysis) -> EvidenceModel:
    model = EvidenceModel()
    model.set_analysis(analysis)
    model.selected_key = KEY
    return model


@pytest.fixture
def models(catalogue: Catalogue, analysis: Analysis) -> ReviewModels:
    models = ReviewModels("Dr Test")
    models.viewer.set_volume(make_volume(), SeriesInfo("1.2.3"))
    models.show_analysis(catalogue, analysis)
    models.findings.selected_key = KEY
    return models


def as_volume(analysis: Analysis) -> Analysis:
    """Return what a model of whole volumes would have said: one entry, no slice to leave out."""
    without = analysis.counterfactual
    assert without is not None
    values = analysis.ledger.values.sum(axis=1, keepdims=True)
    return replace(
        analysis,
        unit="volume",
        ledger=replace(analysis.ledger, values=values),
        slices=analysis.slices[:1],
        acquired_weights=np.full((1, 12), 1 / 12, dtype=np.float32),
        counterfactual=Counterfactual(np.full((len(values), 1), np.nan, dtype=np.float32), without.without_expert),
    )


# -- the waterfall -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["slices", "paths"])
@pytest.mark.parametrize("order", ["largest", "place"])
def test_every_waterfall_runs_without_a_gap_from_the_bias_to_the_logit(
    evidence: EvidenceModel, analysis: Analysis, axis: str, order: str
) -> None:
    evidence.axis, evidence.order = axis, order  # type: ignore[assignment]
    waterfall = evidence.waterfall()
    assert waterfall is not None
    assert len(waterfall.steps) == (15 if axis == "slices" else 7)
    assert waterfall.steps[0].start == waterfall.bias
    for before, after in zip(waterfall.steps, waterfall.steps[1:], strict=False):
        assert after.start == pytest.approx(before.end)
    assert waterfall.steps[-1].end == pytest.approx(waterfall.logit, abs=1e-4)
    assert waterfall.total == pytest.approx(waterfall.logit, abs=1e-4)
    assert f"logit {waterfall.logit:+.2f}" in waterfall.sentence
    sizes = [abs(step.value) for step in waterfall.steps]
    assert (sizes == sorted(sizes, reverse=True)) is (order == "largest")
    labels = [step.label for step in waterfall.steps]
    in_order = [str(n + 1) for n in range(15)] if axis == "slices" else ["Frozen", *(f"E{k}" for k in range(1, 7))]
    assert sorted(labels) == sorted(in_order)
    assert (labels == in_order) is (order == "place")


def test_a_step_of_a_path_jumps_to_the_slice_that_pushed_most_of_it_that_way(
    evidence: EvidenceModel, analysis: Analysis
) -> None:
    evidence.axis, evidence.order = "paths", "place"
    waterfall, values = evidence.waterfall(), analysis.ledger.values[analysis.ledger.keys.index(KEY)]
    assert waterfall is not None
    for path, step in enumerate(waterfall.steps):
        column = values[:, path]
        expected = int(np.argmax(column)) if column.sum() >= 0 else int(np.argmin(column))
        assert step.jump == expected
        assert step.value == pytest.approx(float(column.sum()), abs=1e-5)


def test_a_ledger_that_does_not_add_up_is_told_and_not_drawn(analysis: Analysis) -> None:
    row = analysis.ledger.keys.index(KEY)
    logits = analysis.ledger.logits.copy()
    logits[row] += 0.01
    model = EvidenceModel()
    model.set_analysis(replace(analysis, ledger=replace(analysis.ledger, logits=logits)))
    model.selected_key = KEY
    assert model.view is None
    assert model.waterfall() is None
    assert model.what_if() is None
    assert model.usage is None
    assert "misses this finding's logit by 0.01" in model.empty_text
    model.selected_key = analysis.ledger.keys[(row + 1) % 5]
    assert model.view is not None, "another finding's ledger is not its fault"


# -- what if -------------------------------------------------------------------------------------------------------


def test_counterfactuals_stand_on_the_scale_of_the_operating_point(analysis: Analysis) -> None:
    row = analysis.ledger.keys.index(KEY)
    shown, without = what_if(analysis, KEY), analysis.counterfactual
    assert shown is not None
    assert without is not None
    assert shown.scale == "uncalibrated score"
    assert shown.operating_point == 0.4
    assert np.allclose(shown.without_slice_S, 1 / (1 + np.exp(-without.without_slice[row].astype(float))))
    finding = replace(analysis.finding(KEY), calibrated_probability=0.25, operating_point=0.2)
    findings = tuple(finding if item.key == KEY else item for item in analysis.findings)
    calibrated = replace(analysis, findings=findings, calibration={KEY: (0.5, -1.0)})
    shown = what_if(calibrated, KEY)
    assert shown is not None
    assert shown.scale == "calibrated probability"
    assert (shown.now, shown.operating_point, shown.note) == (0.25, 0.2, "")
    expected = 1 / (1 + np.exp(-(0.5 * without.without_expert[row].astype(float) - 1.0)))
    assert np.allclose(shown.without_expert_K, expected)
    unknown = what_if(replace(calibrated, calibration={}), KEY)
    assert unknown is not None
    assert unknown.operating_point is None, "a calibrated threshold means nothing on the raw scale"
    assert unknown.note == NO_CALIBRATION
    assert unknown.now == finding.probability


def test_crossing_the_operating_point_is_said_and_nothing_is_where_nothing_crosses(analysis: Analysis) -> None:
    shown = what_if(analysis, KEY)
    assert shown is not None
    assert shown.operating_point is not None
    other_side = 0.9 if shown.now < shown.operating_point else 0.1
    assert "the operating point 0.40" in shown.change_text("expert 2", other_side)
    assert "operating point" not in shown.change_text("expert 2", shown.now)


def test_a_value_near_its_end_tells_the_change_in_log_odds(analysis: Analysis) -> None:
    shown = what_if(analysis, KEY)
    assert shown is not None
    sure = replace(shown, now=1 / (1 + np.exp(-9.0)), operating_point=0.4)
    text = sure.change_text("expert 2", 1 / (1 + np.exp(-8.5)))
    assert text == "Without expert 2: 1.000 as it is, with log-odds +8.50 instead of +9.00."
    assert "0.90 instead of 1.00." in sure.change_text("expert 2", 0.9), "what can be seen is said in probability"
    assert "log-odds" in replace(sure, now=1.0).change_text("expert 2", 1.0), "certainty does not overflow"


def test_the_acquired_slice_named_under_a_prepared_one_is_where_a_jump_goes(analysis: Analysis) -> None:
    weights = np.zeros_like(analysis.acquired_weights)
    weights[:, 0] = 0.2
    weights[:, 3] = 0.8
    model = EvidenceModel()
    model.set_analysis(replace(analysis, acquired_weights=weights))
    model.selected_key = KEY
    went: list[int] = []
    model.jump_requested.connect(went.append)
    model.jump_to_strongest()
    assert model.view is not None
    assert went == [3]
    assert model.view.acquired_number(5) == "4"
    assert model.view.acquired_text(5) == "acquired 1, 4"
    waterfall = model.waterfall()
    assert waterfall is not None
    assert {step.second for step in waterfall.steps} == {"4"}


def test_what_is_not_defined_is_said_not_drawn(analysis: Analysis) -> None:
    without = analysis.counterfactual
    assert without is not None
    only = replace(analysis, counterfactual=replace(without, without_slice=without.without_slice * np.nan))
    shown = what_if(only, KEY)
    assert shown is not None
    assert "not defined" in shown.slices_text
    assert "not defined" in shown.change_text("prepared slice 1", float("nan"))
    assert "prepared slice" not in shown.sentence
    bare = replace(analysis, counterfactual=replace(without, without_expert=without.without_expert[:, :0]))
    shown = what_if(bare, KEY)
    assert shown is not None
    assert shown.experts_text == NO_EXPERTS
    assert what_if(replace(analysis, counterfactual=None), KEY) is None


# -- volumes, hiding, what is missing ------------------------------------------------------------------------------


def test_a_model_of_volumes_jumps_nowhere_and_says_why(analysis: Analysis) -> None:
    model, jumps = EvidenceModel(), []
    model.jump_requested.connect(jumps.append)
    model.set_analysis(as_volume(analysis))
    model.selected_key = KEY
    model.set_acquired_index(4)
    model.jump_to(0)
    model.jump_to_strongest()
    assert jumps == []
    assert model.cursor is None
    assert model.view is not None
    assert VOLUME_TEXT in model.view.sentence
    waterfall, shown = model.waterfall(), model.what_if()
    assert waterfall is not None
    assert [step.jump for step in waterfall.steps] == [None]
    assert shown is not None
    assert shown.slices_text == NO_SLICE_OF_VOLUME


def test_a_model_of_volumes_is_explained_on_the_slice_where_the_viewer_is(
    catalogue: Catalogue, analysis: Analysis
) -> None:
    models = ReviewModels()
    models.viewer.set_volume(make_volume(), SeriesInfo("1.2.3"))
    models.show_analysis(catalogue, as_volume(analysis))
    models.findings.selected_key = KEY
    for acquired, prepared in ((0, 0), (11, 14)):
        models.viewer.slice_index = acquired
        assert models.explanation.slice_index == prepared


def test_a_blind_read_hides_every_reason(models: ReviewModels) -> None:
    target = models.explanation.target
    assert target is not None
    read_from = (models.findings.selected_key, models.viewer.slice_index)
    models.explanation.finished(target, made_maps(target, GRID_RC))
    models.overlay.on = True
    assert models.overlay.picture is not None
    models.reading.open("1.2.3")
    models.reading.read_blind_here(True)
    assert models.evidence.view is None
    assert models.evidence.waterfall() is None
    assert models.evidence.what_if() is None
    assert models.evidence.usage is None
    assert models.evidence.empty_text == HIDDEN_TEXT
    assert models.explanation.current is None
    assert models.explanation.target is None
    assert not models.explanation.can_compute
    assert not models.explanation.wants_similar
    assert models.overlay.picture is None
    assert models.overlay.legend is None
    models.reading.read_blind_here(False)
    assert models.evidence.view is not None
    models.findings.selected_key, models.viewer.slice_index = read_from
    assert models.overlay.picture is not None


def test_what_the_model_does_not_cover_has_no_map(models: ReviewModels) -> None:
    models.findings.selected_key = HELD_OUT[0]
    assert models.explanation.target is None
    assert "Not covered" in models.explanation.reason
    assert models.evidence.empty_text == NOT_COVERED


# -- maps ----------------------------------------------------------------------------------------------------------


def test_a_map_is_found_again_by_what_it_belongs_to_and_by_nothing_else(models: ReviewModels) -> None:
    model = models.explanation
    models.viewer.slice_index = 5
    first = model.target
    assert first is not None
    assert model.can_compute
    model.started(first, 7)
    assert not model.can_compute
    model.follow_jobs([JobRow(3, "other", done=1, total=2), JobRow(7, "map", done=4, total=9)])
    assert model.progress is not None
    assert (model.progress.done, model.progress.total) == (4, 9)
    model.finished(first, made_maps(first, GRID_RC))
    assert model.current is not None
    assert model.running is None
    models.viewer.slice_index = 6
    assert model.current is None
    assert model.elsewhere == first.slice_index
    models.viewer.slice_index = 5
    assert model.current is not None
    assert model.analysis is not None
    models.findings.selected_key = next(key for key in model.analysis.ledger.keys if key != KEY)
    assert model.current is None
    assert model.elsewhere is None
    models.findings.selected_key = KEY
    model.method = "occlusion"
    assert model.current is None
    model.method = "ledger"
    assert model.current is not None
    assert not model.can_compute, "it is there already"


def test_a_failure_is_told_where_the_map_would_be_and_only_there(models: ReviewModels) -> None:
    model, target = models.explanation, models.explanation.target
    assert target is not None
    model.started(target, 1)
    model.failed(target, "The map does not add up; it is not drawn.")
    assert model.reason == "The map does not add up; it is not drawn."
    assert model.can_compute, "it may be tried again"
    model.method = "gradcam"
    assert "add up" not in model.reason
    model.method = "ledger"
    model.started(target, 2)
    assert "add up" not in model.reason
    model.stopped(target)
    assert model.running is None


def test_experts_share_one_scale(models: ReviewModels) -> None:
    model = models.explanation
    model.method = EXPERTS
    target = model.target
    assert target is not None
    model.finished(target, made_maps(target, GRID_RC))
    limits = set()
    for path in range(7):
        model.path = path
        assert model.current is not None
        assert model.current.expert == path
        limits.add(model.limit)
    assert len(limits) == 1
    model.path = 7
    assert model.path == 6


def test_the_oldest_maps_make_room(models: ReviewModels) -> None:
    model, target = models.explanation, models.explanation.target
    assert target is not None
    keys = [target._replace(slice_index=place) for place in range(KEPT + 3)]
    for key in keys:
        model.finished(key, made_maps(key, (4, 4)))
    assert sum(key in model._maps for key in keys) == KEPT
    assert keys[0] not in model._maps


def test_every_choice_says_what_it_means() -> None:
    assert set(CHOICES) == {"ledger", EXPERTS, "integrated_gradients", "occlusion", "gradcam"}
    assert all(choice.label and choice.meaning for choice in CHOICES.values())


# -- the overlay ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column"),
    [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((0, 1, 0), (1, 0, 0)), ((0.8, 0.6, 0), (-0.6, 0.8, 0))],
)
def test_a_map_pixel_lands_on_the_same_point_of_the_patient(row, column) -> None:  # type: ignore[no-untyped-def]
    geometry = make_volume(row_cosine=row, column_cosine=column).geometry
    assert geometry is not None
    grid = grid_over(geometry, 15, GRID_RC)
    meeting = meet(grid, 7, geometry, 5)
    assert meeting is not None
    affine = np.array(grid.lps_from_kji)
    for pixel in ((0.0, 0.0), (10.0, 33.0), (79.0, 47.0)):
        stored = meeting.stored_from_map @ (*pixel, 1.0)
        ours = geometry.kji_to_lps(np.array([5.0, *stored]))
        theirs = affine @ (7.0, *pixel, 1.0)
        assert ours[:2] == pytest.approx(theirs[:2], abs=1e-9), "in the plane they are one point"
    assert meeting.on_slice.all() or not meeting.on_slice.any(), "parallel slices meet everywhere or nowhere"


def test_a_map_is_drawn_only_where_the_slices_meet() -> None:
    geometry = make_volume().geometry
    assert geometry is not None
    grid = grid_over(geometry, 15, GRID_RC)
    near, far = meet(grid, 7, geometry, 5), meet(grid, 7, geometry, 9)
    assert near is not None
    assert far is not None
    assert near.on_slice.all()
    assert not far.on_slice.any()
    tilted = np.array(grid.lps_from_kji)
    angle = np.radians(12)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    tilted[:3] = turn @ tilted[:3]
    crossing = meet(replace(grid, lps_from_kji=tuple(map(tuple, tilted))), 7, geometry, 6)
    assert crossing is not None
    share = crossing.on_slice.mean()
    assert 0.05 < share < 0.8, "a band where the planes cross"
    assert crossing.on_slice.any(axis=1).sum() < 80
    across = make_volume(row_cosine=(0, 1, 0), column_cosine=(0, 0, 1)).geometry
    assert across is not None
    assert meet(grid, 7, across, 5) is None


def test_the_sign_is_the_colour_and_the_size_the_opacity() -> None:
    values = np.array([[2.0, 1.0, 0.0, -1.0, -4.0]], dtype=np.float32)
    drawn = SliceMap(KEY, 3, "ledger", "Ledger", values, True, "")
    rgba = paint(drawn, 2.0, 0.5, np.array([[True, True, True, True, True]]))
    assert rgba[0, :, 3].tolist() == [128, 64, 0, 64, 128]
    assert rgba[0, 0, 0] > rgba[0, 0, 2], "up is orange"
    assert rgba[0, 3, 2] > rgba[0, 3, 0], "down is blue"
    assert not paint(drawn, 2.0, 0.5, np.zeros((1, 5), dtype=bool))[..., 3].any()
    assert not paint(drawn, 0.0, 0.5, np.ones((1, 5), dtype=bool))[..., 3].any()


def test_the_overlay_is_off_until_asked_for_and_leaves_with_its_slice(models: ReviewModels) -> None:
    model, overlay = models.explanation, models.overlay
    models.viewer.slice_index = 5
    target = model.target
    assert target is not None
    model.finished(target, made_maps(target, GRID_RC))
    assert overlay.picture is None
    assert overlay.legend is None
    overlay.on = True
    assert overlay.picture is not None
    legend = overlay.legend
    assert legend is not None
    assert any(f"prepared slice {target.slice_index + 1}" in line for line in legend.lines)
    assert any("not a lesion outline" in line for line in legend.lines)
    models.viewer.slice_index = 9
    assert overlay.picture is None
    legend = overlay.legend
    assert legend is not None
    assert any(f"prepared slice {target.slice_index + 1}" in line for line in legend.lines), "says where it belongs"
    models.viewer.slice_index = 5
    models.findings.selected_key = HELD_OUT[0]
    assert overlay.picture is None
    models.findings.selected_key = KEY
    faint = overlay.picture
    overlay.opacity = 1.0
    assert faint is not None
    assert overlay.picture is not None
    assert overlay.picture.rgba[..., 3].max() > faint.rgba[..., 3].max()
    overlay.opacity = 5.0
    assert overlay.opacity == 1.0


def test_why_no_map_lies_on_the_image_is_said(models: ReviewModels, catalogue: Catalogue, analysis: Analysis) -> None:
    models.overlay.on = True
    models.show_analysis(catalogue, replace(analysis, prepared_grid=None))
    target = models.explanation.target
    assert target is not None
    models.explanation.finished(target, made_maps(target, GRID_RC))
    assert models.overlay.picture is None
    assert models.overlay.legend is not None
    assert NO_GRID in models.overlay.legend.lines
    grid = analysis.prepared_grid
    assert grid is not None
    steep = np.array(grid.lps_from_kji)[:, [1, 0, 2, 3]]
    for changed, reason in (
        (steep, TOO_STEEP),
        (
            np.array(grid.lps_from_kji) + np.eye(4)[2][:, None] * [0, 0, 0, 900],
            APART.format(number=target.slice_index + 1),
        ),
    ):
        moved = replace(grid, lps_from_kji=tuple(map(tuple, changed)))
        models.show_analysis(catalogue, replace(analysis, prepared_grid=moved))
        assert models.overlay.legend is not None
        assert reason in models.overlay.legend.lines


def test_the_prepared_slice_through_an_acquired_one() -> None:
    geometry = make_volume().geometry
    assert geometry is not None
    grid = grid_over(geometry, 15, GRID_RC)
    assert [prepared_slice_at(grid, geometry, acquired) for acquired in (0, 5, 11)] == [0, 6, 14]
    low = np.array(grid.lps_from_kji)
    low[2, 3] += 30.0
    assert prepared_slice_at(replace(grid, lps_from_kji=tuple(map(tuple, low))), geometry, 0) is None


def test_nothing_claims_more_than_is_known(models: ReviewModels) -> None:
    evidence = models.evidence
    waterfall, shown, view = evidence.waterfall(), evidence.what_if(), evidence.view
    assert waterfall is not None
    assert shown is not None
    assert view is not None
    texts = [waterfall.sentence, shown.sentence, view.sentence, *(step.text for step in waterfall.steps)]
    texts += [choice.meaning for choice in CHOICES.values()]
    for text in texts:
        for word in ("left side", "right side", "because of", "caused", "lesion is", "proves", "diagnos"):
            assert word not in text.casefold()


def test_an_empty_model_says_why() -> None:
    model = ExplanationModel()
    assert model.target is None
    assert "No analysis" in model.reason
    assert "No analysis" in model.similar_text
    assert not model.wants_similar
