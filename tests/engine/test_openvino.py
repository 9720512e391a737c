"""The backbone through OpenVINO: torch's numbers, kept graphs, and torch where it cannot be used."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.inference import openvino_runtime
from engine.inference.compute import AUTOMATIC, EXACT, Computing
from engine.inference.features import FeatureExtractor
from engine.inference.openvino_runtime import KEPT_GRAPHS, graph_key
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import build_backbone
from engine.models.lora import adapter_state, apply_lora, load_adapter_state
from engine.models.package import load_package
from engine.models.settings import LoraSettings
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec
from tests.support.models import small_head, tiny_entry

CPU = torch.device("cpu")
SHAPE = (3, 224, 224)

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def head() -> PreparedVolume:
    return prepare(small_head(), PreprocessSpec(align=False))


def through(folder: Path | None, backbone: Backbone | None = None) -> FeatureExtractor:
    return FeatureExtractor(backbone or Backbone(tiny_entry()), CPU, Computing("float32", "openvino", folder))


@needs_openvino
def test_probabilities_are_torchs(head: PreparedVolume, resources: Path) -> None:
    backbone = build_backbone("efficientnet_lite0")
    classifier = load_package(resources / "models" / "phantom-demo").classifier
    plain, other = FeatureExtractor(backbone, CPU, EXACT), through(None, backbone)
    with torch.inference_mode():
        exact, found = (
            torch.sigmoid(classifier(torch.from_numpy(extractor.features(head))[None]).logits_BC)
            for extractor in (plain, other)
        )
    assert other.computed_on == "cpu float32 openvino"
    assert other.warnings == ()
    assert torch.allclose(found, exact, atol=1e-4, rtol=0)
    assert not torch.equal(found, exact)


@needs_openvino
def test_it_reports_to_nobody(head: PreparedVolume) -> None:
    through(None).features(head)
    assert sys.modules["openvino_telemetry"] is None


@needs_openvino
def test_adapters_are_in_the_graph_also_when_they_come_later(head: PreparedVolume, tmp_path: Path) -> None:
    backbone = Backbone(tiny_entry())
    extractor = through(tmp_path, backbone)
    before = extractor.features(head)
    apply_lora(backbone, LoraSettings())
    generator = torch.Generator().manual_seed(19)
    state = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in adapter_state(backbone).items()}
    load_adapter_state(backbone, state)
    after = extractor.features(head)
    assert extractor.computed_on.endswith("openvino")
    assert np.abs(after - before).max() > 0.1
    assert np.allclose(after, FeatureExtractor(backbone, CPU).features(head), rtol=1e-4, atol=1e-4)
    assert len(list(tmp_path.iterdir())) == 2


@needs_openvino
def test_a_graph_is_converted_once(head: PreparedVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = through(tmp_path).features(head)

    def forbidden(*arguments: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino_runtime, "_converted", forbidden)
    again = through(tmp_path)
    assert np.array_equal(again.features(head), first)
    assert again.computed_on.endswith("openvino")


@needs_openvino
@pytest.mark.parametrize("damage", ["weights", "structure"])
def test_a_damaged_graph_is_made_anew(head: PreparedVolume, tmp_path: Path, damage: str) -> None:
    first = through(tmp_path).features(head)
    place = tmp_path / graph_key(Backbone(tiny_entry()), SHAPE)
    if damage == "weights":
        weights = place / "graph.bin"
        weights.write_bytes(bytes(len(weights.read_bytes())))
    else:
        (place / "graph.xml").write_text("<net")
    again = through(tmp_path)
    assert np.array_equal(again.features(head), first)
    assert again.warnings == ()
    assert np.array_equal(through(tmp_path).features(head), first)


@needs_openvino
def test_the_oldest_graphs_leave(tmp_path: Path) -> None:
    picture = torch.rand(1, 3, 32, 32)
    for number in range(KEPT_GRAPHS + 2):
        backbone = Backbone(tiny_entry())
        backbone.network.conv.bias.data.fill_(number)
        with torch.no_grad():
            openvino_runtime.open_graph(backbone, picture, backbone(picture), tmp_path)
    assert len(list(tmp_path.iterdir())) == KEPT_GRAPHS


@needs_openvino
def test_a_folder_that_cannot_be_written_costs_only_the_conversion(head: PreparedVolume, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    extractor = through(file / "graphs")
    extractor.features(head)
    assert extractor.computed_on.endswith("openvino")


class NotTraceable(Backbone):
    """A backbone that cannot be traced."""

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("synthetic")
        return super().forward(x_NMHW)


class Different(Backbone):
    """A backbone that a trace does not get right."""

    def forward(self, x_NMHW: torch.Tensor) -> torch.Tensor:
        return super().forward(x_NMHW) * (1.01 if torch.jit.is_tracing() else 1.0)


@needs_openvino
@pytest.mark.parametrize(("kind", "words"), [(NotTraceable, "cannot run"), (Different, "away from torch")])
def test_what_it_cannot_do_torch_does_and_says_so(head: PreparedVolume, kind: type[Backbone], words: str) -> None:
    extractor = FeatureExtractor(kind(tiny_entry()), CPU, replace(AUTOMATIC, precision="float32"))
    found = extractor.features(head)
    assert extractor.computed_on == "cpu float32"
    assert len(extractor.warnings) == 1
    assert words in extractor.warnings[0]
    assert np.array_equal(found, FeatureExtractor(Backbone(tiny_entry()), CPU).features(head))


@pytest.mark.parametrize(("choice", "n_warnings"), [("auto", 0), ("torch", 0), ("openvino", 1)])
def test_where_it_is_not_installed_only_who_asked_is_told(
    head: PreparedVolume, choice: str, n_warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_runtime.importlib.util, "find_spec", lambda name: None)
    extractor = FeatureExtractor(Backbone(tiny_entry()), CPU, Computing("float32", choice))
    extractor.features(head)
    assert extractor.computed_on == "cpu float32"
    assert len(extractor.warnings) == n_warnings
