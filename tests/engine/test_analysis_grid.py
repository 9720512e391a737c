"""Prepared grid, calibration and undefined counterfactuals: kept with an analysis."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.analysis import Analysis, Counterfactual, PreparedGrid
from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.models.calibration import Platt, Temperature
from engine.store.arrays import pack, unpack
from tests.support.store_values import make_analysis

GRID = PreparedGrid(
    ((0.1, 0.0, 1.0, -111.5), (0.0, 1.0, 0.25, -110.0), (4.0, 0.0, 0.0, 1.0 / 3), (0.0, 0.0, 0.0, 1.0)), (5, 224, 224)
)


def test_grid_and_calibration_survive_the_store_to_the_bit(catalogue: Catalogue) -> None:
    analysis = replace(
        make_analysis(catalogue), prepared_grid=GRID, calibration={"acute_subdural_hematoma": (1 / 3, 0.1)}
    )
    again = unpack(*pack(analysis), "store.sqlite")
    assert again.prepared_grid == GRID
    assert again.calibration == analysis.calibration


def test_an_older_analysis_has_neither(catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    document = json.loads(json.dumps(analysis.to_json()))
    del document["prepared_grid"], document["calibration"]
    again = Analysis.from_json(document, analysis.ledger, analysis.acquired_weights)
    assert again.prepared_grid is None
    assert again.calibration == {}


def test_an_undefined_counterfactual_is_kept_as_such_and_other_numbers_must_be_finite(catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    n_findings, n_slices = analysis.ledger.values.shape[:2]
    without = np.full((n_findings, n_slices), np.nan, dtype=np.float32)
    experts = np.ones((n_findings, 6), dtype=np.float32)
    kept = unpack(*pack(replace(analysis, counterfactual=Counterfactual(without, experts))), "store.sqlite")
    assert kept.counterfactual is not None
    assert np.isnan(kept.counterfactual.without_slice).all()
    infinite = np.full_like(without, np.inf)
    for broken in (Counterfactual(without, experts * np.nan), Counterfactual(infinite, experts)):
        with pytest.raises(StoreError):
            pack(replace(analysis, counterfactual=broken))


@pytest.mark.parametrize("method", [Temperature(temperature=2.5), Platt(slope=0.7, intercept=-0.4)])
def test_the_line_is_the_calibration(method: Temperature | Platt) -> None:
    slope, intercept = method.line
    for logit in (-3.0, 0.0, 1.7):
        assert method.probability(logit) == pytest.approx(1 / (1 + np.exp(-(slope * logit + intercept))), abs=1e-12)


def test_the_ledger_tells_how_far_it_misses_a_logit(catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    key = analysis.ledger.keys[2]
    assert analysis.ledger.error(key) < 1e-4
    off = replace(analysis.ledger, logits=analysis.ledger.logits + np.float32(0.5))
    assert off.error(key) == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(KeyError):
        analysis.ledger.error("no_such_finding")
