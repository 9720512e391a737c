"""MoLRE and the classifier against independently computed values of the paper's equations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.explain.ledger import compute_ledger
from engine.models.classifier import MoLREClassifier
from engine.models.molre import MoLRE
from engine.models.settings import MoLRESettings

TOLERANCES = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    path = Path(__file__).resolve().parents[3] / "shared" / "reference" / "molre_vectors.npz"
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def reference_classifier(vectors: dict[str, Tensor], dtype: torch.dtype) -> MoLREClassifier:
    """A classifier with the weights of the reference, its W0 included (which is not the identity)."""
    n_findings, width = vectors["Wc"].shape
    settings = MoLRESettings(n_experts=vectors["A"].shape[0], rank=vectors["A"].shape[1], hidden=vectors["W1"].shape[0])
    classifier = MoLREClassifier(width, n_findings, settings, vectors["W0"]).to(dtype)
    names = {
        "molre.down_KRD": "A",
        "molre.up_KDR": "B",
        "molre.router_hidden.weight": "W1",
        "molre.router_hidden.bias": "b1",
        "molre.router_out.weight": "W2",
        "molre.router_out.bias": "b2",
        "pooling.query_D": "q",
        "head.weight": "Wc",
        "head.bias": "bc",
    }
    classifier.load_state_dict({name: vectors[source] for name, source in names.items()})
    return classifier


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES, ids=["float64", "float32"])
def test_every_quantity_equals_the_reference(vectors: dict[str, Tensor], dtype: torch.dtype, tolerance: float) -> None:
    classifier = reference_classifier(vectors, dtype)
    features_BSD = vectors["F"].to(dtype)
    with torch.inference_mode():
        output = classifier(features_BSD, vectors["mask"])
        ledger_BCSK, bias_C = compute_ledger(classifier, features_BSD, output)
    computed = {
        "gates": output.gates_BSK,
        "features": output.adapted_BSD,
        "attention": output.attention_BS,
        "pooled": output.pooled_BD,
        "logits": output.logits_BC,
        "probabilities": output.probabilities_BC,
        "ledger": ledger_BCSK,
        "bc": bias_C,
    }
    for name, value in computed.items():
        assert value.dtype == dtype
        assert value.shape == vectors[name].shape, name
        assert (value.double() - vectors[name]).abs().max() < tolerance, name


@pytest.mark.parametrize(("width", "expected"), [(768, 272_134), (1024, 362_246), (1152, 407_302)])
def test_parameter_counts_are_the_papers(width: int, expected: int) -> None:
    molre = MoLRE(width)
    assert sum(parameter.numel() for parameter in molre.parameters()) == expected


def test_a_new_module_changes_nothing_to_the_bit() -> None:
    torch.manual_seed(1)
    x_SD = torch.randn(9, 96)
    adapted, gates = MoLRE(96)(x_SD)
    assert torch.equal(adapted, x_SD)
    assert torch.allclose(gates.sum(dim=-1), torch.ones(9))
    frozen_DD = torch.randn(96, 96)
    with_weight = MoLRE(96, frozen_weight_DD=frozen_DD)
    assert torch.equal(with_weight(x_SD).adapted, x_SD @ frozen_DD.T)


def test_frozen_weight_is_neither_trained_nor_saved() -> None:
    molre = MoLRE(16, frozen_weight_DD=torch.eye(16))
    assert all("frozen" not in name for name, _ in molre.named_parameters())
    assert "frozen_weight_DD" not in molre.state_dict()
    with pytest.raises(ValueError, match="W0"):
        MoLRE(16, frozen_weight_DD=torch.eye(8))


def test_one_expert_is_plain_lora() -> None:
    """With K = 1 the gate is 1 everywhere, and Eq. (1) is W0 x + B A x."""
    torch.manual_seed(2)
    molre = MoLRE(20, MoLRESettings(n_experts=1, rank=3, hidden=7)).double()
    torch.nn.init.normal_(molre.up_KDR)
    x_SD = torch.randn(5, 20, dtype=torch.float64)
    expected = x_SD + x_SD @ (molre.up_KDR[0] @ molre.down_KRD[0]).T
    assert torch.allclose(molre(x_SD).adapted, expected, atol=1e-12)


def test_all_parts_are_float32_and_get_a_gradient() -> None:
    torch.manual_seed(3)
    classifier = MoLREClassifier(32, 4, MoLRESettings())
    torch.nn.init.normal_(classifier.molre.up_KDR)
    classifier(torch.randn(2, 5, 32)).logits_BC.square().sum().backward()
    for name, parameter in classifier.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
