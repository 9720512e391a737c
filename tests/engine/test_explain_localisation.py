from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from engine.explain.localisation import mask_auc, points_at, prepared_mask
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec


def test_the_area_is_scikit_learns_with_ties_and_without() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((30, 40)) < 0.2
    for scores in (rng.normal(size=mask.shape), rng.integers(0, 4, size=mask.shape).astype(np.float64)):
        assert mask_auc(scores, mask) == pytest.approx(roc_auc_score(mask.ravel(), scores.ravel()))
    assert mask_auc(mask.astype(np.float64), mask) == 1.0
    assert math.isnan(mask_auc(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool)))


def test_pointing() -> None:
    mask = np.array([[False, True], [False, False]])
    assert points_at(np.array([[0.0, 3.0], [2.0, -9.0]]), mask)
    assert not points_at(np.array([[0.0, 3.0], [3.5, -9.0]]), mask)


@pytest.mark.parametrize("tilt_deg", [0.0, 12.0])
def test_a_bleeds_mask_lies_on_the_bleed_after_alignment(tilt_deg: float) -> None:
    """Where the mask comes to lie the prepared picture is bright, and just the volume that was painted."""
    key = "basal_ganglia_hemorrhage"
    study = generate(900_000_003, PhantomSpec(tilt_deg=tilt_deg, noise_hu=0.0), [key])
    prepared = prepare(study.volume, PreprocessSpec())
    mask = prepared_mask(study.masks[key], study.volume, prepared)
    assert prepared.voxels_hu[mask].mean() > 50
    geometry = study.volume.require_geometry()
    painted_mm3 = study.masks[key].sum() * np.prod(geometry.pixel_spacing_mm) * geometry.normal_spacing_mm[0]
    assert mask.sum() * 4.0 == pytest.approx(painted_mm3, rel=0.15)
