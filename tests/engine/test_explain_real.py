"""Explanations of the real scan by the model that ships, on its real backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.explain.counterfactual import compute_counterfactual
from engine.explain.ledger import compute_ledger
from engine.explain.maps import METHODS, SliceMapRequest
from engine.explain.slice_maps import expert_maps, explain_slice
from engine.explain.subject import Subject
from engine.inference.features import FeatureExtractor
from engine.models.backbones.efficientnet_lite0 import BACKBONE
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry
from engine.models.package import load_package
from engine.preprocess.prepare import prepare
from tests.support.heads import read_ge

KEY = "basal_ganglia_hemorrhage"


@pytest.fixture(scope="module")
def real(ge_tilt: Path, resources: Path) -> Subject:
    package = load_package(resources / "models" / "phantom-demo", BackboneRegistry([BACKBONE]))
    prepared = prepare(read_ge(ge_tilt), package.manifest.preprocessing)
    backbone = Backbone(BACKBONE)
    features_SD = FeatureExtractor(backbone, torch.device("cpu")).features(prepared)
    return Subject(package.classifier, backbone, package.manifest.finding_keys, features_SD, prepared)


def test_expert_maps_add_up_to_the_ledger_of_the_real_scan(real: Subject) -> None:
    features_BSD = torch.from_numpy(real.features_SD).unsqueeze(0)
    ledger_BCSK, _ = compute_ledger(real.classifier, features_BSD, real.classifier(features_BSD))
    index = int(ledger_BCSK[0, real.finding_row(KEY)].sum(dim=1).argmax())
    maps = expert_maps(real, KEY, index)
    expected = ledger_BCSK[0, real.finding_row(KEY), index].numpy()
    assert np.allclose([drawn.values.sum(dtype=np.float64) for drawn in maps], expected, atol=1e-5)
    assert all(drawn.exact for drawn in maps)


def test_every_method_gives_a_map_and_the_same_one_again(real: Subject) -> None:
    index = len(real.prepared.voxels_hu) // 2
    for method in METHODS:
        request = SliceMapRequest(KEY, index, method, faithfulness=method == "gradcam")
        first, second = explain_slice(real, request), explain_slice(real, request)
        assert first.values.shape == real.size_px
        assert np.isfinite(first.values).all()
        assert first.values.std() > 0
        assert np.array_equal(first.values, second.values)


def test_counterfactuals_of_the_real_scan(real: Subject) -> None:
    features_BSD = torch.from_numpy(real.features_SD).unsqueeze(0)
    output = real.classifier(features_BSD)
    without = compute_counterfactual(real.classifier, features_BSD, output)
    n_slices = features_BSD.shape[1]
    mask_BS = torch.ones(1, n_slices, dtype=torch.bool)
    mask_BS[0, n_slices // 2] = False
    again_BC = real.classifier(features_BSD, mask_BS).logits_BC
    assert torch.allclose(without.without_slice_BCS[:, :, n_slices // 2], again_BC, atol=1e-4)
    assert without.without_expert_BCK.shape == (1, len(real.finding_keys), 6)
