"""The ledger over positions: exact where the feature is a mean, first order and said so where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import InferenceError
from engine.explain.ledger import compute_ledger
from engine.explain.slice_maps import expert_maps
from engine.explain.spatial import spatial_ledger
from engine.explain.subject import Subject
from tests.support.explain import KEYS, classifier, prepared, subject

HEADS = {
    "molre": classifier(),
    "head only": classifier(None),
    "molre and fusion": classifier(fusion_hidden=7),
}


def ledger_of(study: Subject) -> np.ndarray:
    features_BSD = torch.from_numpy(study.features_SD).unsqueeze(0)
    ledger_BCSK, _ = compute_ledger(study.classifier, features_BSD, study.classifier(features_BSD))
    return ledger_BCSK[0].numpy()


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_positions_sum_to_every_entry_of_the_ledger(head) -> None:
    study = subject("mean", head)
    ledger_CSK = ledger_of(study)
    for row, key in enumerate(KEYS):
        values = np.stack([spatial_ledger(study, key, index).values for index in range(len(study.features_SD))])
        assert values.shape == (5, ledger_CSK.shape[2], 8, 8)
        assert np.allclose(values.sum(axis=(2, 3)), ledger_CSK[row], atol=1e-5)
    assert values.std(axis=(2, 3)).max() > 1e-4


def test_one_position_by_hand() -> None:
    """``α g_k w·B_k A_k x_p / P`` with the matrices multiplied out, which the code never does."""
    study = subject("mean")
    head, row, s, k, position = study.classifier, 1, 2, 2, (3, 5)
    features_BSD = torch.from_numpy(study.features_SD).unsqueeze(0)
    output = head(features_BSD)
    x_D = study.backbone.feature_grid(study.picture(s))[0][position]
    delta_DD = head.molre.up_KDR[k] @ head.molre.down_KRD[k]
    weighted = output.attention_BS[0, s] / 64 * head.head.weight[row]
    values = spatial_ledger(study, KEYS[row], s).values
    assert values[1 + k][position] == pytest.approx(
        float(output.gates_BSK[0, s, k] * (weighted @ delta_DD @ x_D)), rel=1e-4
    )
    assert values[0][position] == pytest.approx(float(weighted @ x_D), rel=1e-4)


def test_a_volume_is_split_over_its_own_grid_and_its_slices_share_it() -> None:
    study = subject("volume", study=prepared(6))
    split = spatial_ledger(study, KEYS[0], 3)
    assert split.exact
    assert split.values.shape == (4, len(study.prepared.voxels_hu) // 2, 4, 4)
    assert np.allclose(split.entries, ledger_of(study)[0, 0], atol=1e-6)
    n_slices = len(study.prepared.voxels_hu)
    maps = [expert_maps(study, KEYS[0], index) for index in range(n_slices)]
    totals = [sum(float(maps[index][path].values.sum()) for index in range(n_slices)) for path in range(4)]
    assert totals == pytest.approx(split.entries.tolist(), abs=1e-4)


def test_a_split_that_is_not_the_ledgers_is_refused() -> None:
    """Features that the backbone does not give: the map would speak of another slice."""
    study = subject("mean")
    features_SD = study.features_SD.copy()
    features_SD[2] += 0.05
    with pytest.raises(InferenceError) as caught:
        spatial_ledger(replace(study, features_SD=features_SD), KEYS[0], 2)
    assert (caught.value.code, caught.value.kind) == ("inference.ledger", "environment")
    assert "not drawn" in caught.value.message


def test_a_feature_that_is_no_mean_is_split_to_first_order_with_the_remainder_said() -> None:
    """The tokens' class token is linear in them, so that only the bias and the two prefix tokens are left over."""
    study = subject("token")
    split = spatial_ledger(study, KEYS[1], 2)
    assert not split.exact
    assert split.values.shape == (4, 4, 4)
    sums = split.values.reshape(4, -1).sum(axis=1)
    assert np.allclose(sums + split.residual, split.entries)
    head, mix = study.classifier, study.backbone.network.mix
    output = head(torch.from_numpy(study.features_SD).unsqueeze(0))
    tokens_PD = study.backbone.network.prefix[0].mean(dim=0) * 2 / 18
    left_over_D = mix.weight @ tokens_PD + mix.bias
    weighted = output.attention_BS[0, 2] * head.head.weight[1]
    assert split.residual[0] == pytest.approx(float(weighted @ left_over_D), rel=1e-3)
    maps = expert_maps(study, KEYS[1], 2)
    assert [drawn.exact for drawn in maps] == [False] * 4
    assert maps[3].residual == pytest.approx(split.residual[3], rel=1e-5)
    assert "First order" in maps[0].note


def test_expert_maps_are_drawn_one_a_path() -> None:
    study = subject("mean")
    maps = expert_maps(study, KEYS[2], 1)
    assert [drawn.label for drawn in maps] == ["Ledger, frozen path", *(f"Ledger, expert {k}" for k in (1, 2, 3))]
    assert np.allclose([drawn.values.sum() for drawn in maps], ledger_of(study)[2, 1], atol=1e-5)
    assert all(drawn.exact and drawn.values.shape == (32, 32) for drawn in maps)


def test_a_gradient_hook_leaves_the_backbone_as_it_was() -> None:
    study = subject("token")
    spatial_ledger(study, KEYS[0], 0)
    assert not study.backbone.network.block._forward_hooks
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in study.backbone.parameters())
