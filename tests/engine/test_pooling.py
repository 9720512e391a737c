from __future__ import annotations

import pytest
import torch

from engine.models.classifier import MoLREClassifier
from engine.models.pooling import AttentionPooling
from engine.models.settings import MoLRESettings


def test_query_starts_small_and_truncated() -> None:
    torch.manual_seed(0)
    query_D = AttentionPooling(20_000).query_D
    assert query_D.abs().max() <= 0.04
    # A normal distribution cut at two standard deviations keeps 0.88 of its width.
    assert query_D.std().item() == pytest.approx(0.02 * 0.88, rel=0.02)


def test_masked_slices_have_no_weight_and_no_influence() -> None:
    torch.manual_seed(0)
    pooling = AttentionPooling(8).double()
    features_BSD = torch.randn(2, 6, 8, dtype=torch.float64)
    mask_BS = torch.tensor([[True] * 6, [True, True, False, True, False, False]])
    garbage_BSD = features_BSD.masked_fill(~mask_BS.unsqueeze(-1), torch.nan)
    pooled_BD, attention_BS = pooling(garbage_BSD, mask_BS)
    assert (attention_BS[~mask_BS] == 0).all()
    assert torch.allclose(attention_BS.sum(dim=1), torch.ones(2, dtype=torch.float64))
    alone = pooling(features_BSD[1:, [0, 1, 3]])
    assert torch.allclose(pooled_BD[1], alone.pooled_BD[0])


def test_temperature_is_the_root_of_the_width() -> None:
    pooling = AttentionPooling(4)
    torch.nn.init.ones_(pooling.query_D)
    features_BSD = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]])
    attention_BS = pooling(features_BSD).attention_BS
    assert attention_BS[0, 1].item() == pytest.approx(torch.sigmoid(torch.tensor(4.0 / 2.0)).item())


def test_a_study_without_slices_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        AttentionPooling(4)(torch.zeros(2, 3, 4), torch.tensor([[True, True, True], [False, False, False]]))


def test_order_of_slices_does_not_matter_to_the_logits() -> None:
    torch.manual_seed(4)
    classifier = MoLREClassifier(12, 3, MoLRESettings()).double()
    torch.nn.init.normal_(classifier.molre.up_KDR)
    features_BSD = torch.randn(1, 7, 12, dtype=torch.float64)
    order = torch.randperm(7)
    shuffled = classifier(features_BSD[:, order])
    plain = classifier(features_BSD)
    assert torch.allclose(shuffled.logits_BC, plain.logits_BC, atol=1e-12)
    assert torch.allclose(shuffled.attention_BS, plain.attention_BS[:, order], atol=1e-12)
