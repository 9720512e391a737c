"""Every method draws a map on every registered backbone, of slices and of volumes, whatever its last grid is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.explain.maps import METHODS, SliceMapRequest
from engine.explain.slice_maps import explain_slice
from engine.explain.subject import Subject
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import default_registry
from engine.models.backbones.spec import BackboneEntry
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from tests.support.backbones import small_entry
from tests.support.explain import KEYS, prepared

ENTRIES = [small_entry(entry) for entry in default_registry().values()]


@pytest.fixture(scope="module", params=ENTRIES, ids=lambda entry: entry.spec.name)
def study(request: pytest.FixtureRequest) -> Subject:
    """A head at the network's size and with as many windows as it has channels."""
    entry: BackboneEntry = request.param
    backbone = Backbone(entry)
    spec = entry.spec
    small = prepared(4)
    factors = [length / 32 for length in spec.native_size[-2:]]
    rows, columns = (np.minimum(np.arange(round(32 * factor)) / factor, 31).astype(int) for factor in factors)
    windows_hu = tuple((-100.0 * channel, 80.0 + 40.0 * channel) for channel in range(len(spec.mean)))
    study = replace(
        small,
        voxels_hu=small.voxels_hu[:, rows][:, :, columns],
        spec=small.spec.model_copy(update={"windows_hu": windows_hu}),
    )
    classifier = MoLREClassifier(spec.feature_width, len(KEYS), MoLRESettings(n_experts=2, rank=2, hidden=4))
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        classifier.eval().requires_grad_(False)
        subject = Subject(classifier, backbone, KEYS, np.zeros((1, spec.feature_width), dtype=np.float32), study)
        indices = range(1 if spec.dimensions == 3 else len(study.voxels_hu))
        features_SD = torch.cat([backbone(subject.network_input(index)) for index in indices]).numpy()
    return replace(subject, features_SD=features_SD)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_on_every_backbone(study: Subject, method: str) -> None:
    drawn = explain_slice(study, SliceMapRequest(KEYS[1], 1, method, faithfulness=False))
    assert drawn.values.shape == study.size_px
    assert drawn.values.dtype == np.float32
    assert np.isfinite(drawn.values).all()
    assert drawn.values.std() > 0
    if method == "ledger":
        assert drawn.exact == (study.backbone.spec.pooled == "mean")
    assert not any(module._forward_hooks for module in study.backbone.network.modules())
