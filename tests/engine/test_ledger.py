from __future__ import annotations

import pytest
import torch

from engine.errors import InferenceError
from engine.explain.ledger import check_ledger, compute_ledger
from engine.models.classifier import ClassifierOutput, MoLREClassifier
from engine.models.settings import MoLRESettings
from tests.support.explain import WIDTH
from tests.support.explain import classifier as small_classifier


@pytest.fixture
def classified() -> tuple[MoLREClassifier, torch.Tensor, ClassifierOutput]:
    """The real sizes: 1280 features, 75 findings, 6 experts; features as large as the backbone's."""
    torch.manual_seed(5)
    classifier = MoLREClassifier(1280, 75, MoLRESettings())
    torch.nn.init.normal_(classifier.molre.up_KDR, std=0.1)
    torch.nn.init.normal_(classifier.head.weight, std=0.1)
    features_BSD = torch.randn(2, 40, 1280).relu() * 0.5
    mask_BS = torch.ones(2, 40, dtype=torch.bool)
    mask_BS[1, 30:] = False
    features_BSD[1, 30:] = torch.nan
    with torch.inference_mode():
        return classifier, features_BSD, classifier(features_BSD, mask_BS)


def test_ledger_sums_to_the_logits_in_float32(
    classified: tuple[MoLREClassifier, torch.Tensor, ClassifierOutput],
) -> None:
    classifier, features_BSD, output = classified
    with torch.inference_mode():
        ledger_BCSK, bias_C = compute_ledger(classifier, features_BSD, output)
    assert ledger_BCSK.shape == (2, 75, 40, 7)
    assert check_ledger(ledger_BCSK, bias_C, output.logits_BC) < 1e-4
    assert (ledger_BCSK[1, :, 30:] == 0).all()
    # Both parts matter, so a ledger without one of them would be found out.
    assert ledger_BCSK[..., 0].abs().sum(dim=2).min() > 0.01
    assert ledger_BCSK[..., 1:].abs().sum(dim=(2, 3)).min() > 0.01


def test_one_entry_is_what_the_equation_says(
    classified: tuple[MoLREClassifier, torch.Tensor, ClassifierOutput],
) -> None:
    classifier, features_BSD, output = classified
    with torch.inference_mode():
        ledger_BCSK, _ = compute_ledger(classifier, features_BSD, output)
        b, c, s, k = 1, 20, 11, 3
        x_D, weight_D = features_BSD[b, s], classifier.head.weight[c]
        delta_DD = classifier.molre.up_KDR[k] @ classifier.molre.down_KRD[k]
        expert = output.attention_BS[b, s] * output.gates_BSK[b, s, k] * (weight_D @ delta_DD @ x_D)
        frozen = output.attention_BS[b, s] * (weight_D @ x_D)
    assert ledger_BCSK[b, c, s, 1 + k].item() == pytest.approx(expert.item(), rel=1e-3)
    assert ledger_BCSK[b, c, s, 0].item() == pytest.approx(frozen.item(), rel=1e-3)


@pytest.mark.parametrize("damage", [2e-4, float("nan"), float("inf")])
def test_a_ledger_that_does_not_add_up_is_refused(
    classified: tuple[MoLREClassifier, torch.Tensor, ClassifierOutput], damage: float
) -> None:
    classifier, features_BSD, output = classified
    with torch.inference_mode():
        ledger_BCSK, bias_C = compute_ledger(classifier, features_BSD, output)
        ledger_BCSK[0, 3, 7, 2] += damage
        with pytest.raises(InferenceError) as caught:
            check_ledger(ledger_BCSK, bias_C, output.logits_BC)
    assert caught.value.code == "inference.ledger"


SMALL = {
    "head only": (small_classifier(None), 1),
    "fusion": (small_classifier(None, 7), 1),
    "molre and fusion": (small_classifier(fusion_hidden=7), 4),
}


@pytest.mark.parametrize("n_slices", [1, 5])
@pytest.mark.parametrize(("classifier", "columns"), SMALL.values(), ids=SMALL)
def test_the_ledger_adds_up_without_a_mixture_and_through_a_fusion_layer(
    classifier: MoLREClassifier, columns: int, n_slices: int
) -> None:
    features_BSD = torch.randn(2, n_slices, WIDTH, generator=torch.Generator().manual_seed(4))
    output = classifier(features_BSD)
    ledger_BCSK, bias_C = compute_ledger(classifier, features_BSD, output)
    assert ledger_BCSK.shape == (2, 3, n_slices, columns)
    assert check_ledger(ledger_BCSK, bias_C, output.logits_BC) < 1e-5


def test_one_volume_through_a_fusion_layer_speaks_of_the_fused_feature() -> None:
    classifier = SMALL["fusion"][0]
    features_BSD = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(4))
    ledger_BCSK, _ = compute_ledger(classifier, features_BSD, classifier(features_BSD))
    fused_H = torch.relu(classifier.fusion(features_BSD[0, 0]))
    assert 0 < (fused_H > 0).sum() < len(fused_H)
    assert torch.allclose(ledger_BCSK[0, :, 0, 0], classifier.head.weight @ fused_H, atol=1e-5)
