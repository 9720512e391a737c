"""A step of backbone and classifier: what a gradient is kept for, in which precision, and how much at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.models.backbones.registry import build_backbone
from engine.models.classifier import MoLREClassifier
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings, MoLRESettings
from engine.preprocess.spec import PreprocessSpec
from trainer.config import LossConfig, OptimiserConfig
from trainer.loop import FitSettings, Run
from trainer.sources import Draw
from trainer.volumes.model import CPU_SLICES, EndToEndModel
from trainer.volumes.source import PictureBatch

SPEC = PreprocessSpec(size_px=(32, 32))


def _model(*targets: str) -> EndToEndModel:
    torch.manual_seed(1)
    backbone = build_backbone("efficientnet_lite0")
    apply_lora(backbone, LoraSettings(rank=2, targets=targets))
    model = EndToEndModel(backbone, MoLREClassifier(1280, 3, MoLRESettings(n_experts=2, rank=2, hidden=8)))
    for name, value in model.named_parameters():
        if "lora_B" in name or name.endswith("up_KDR"):
            nn.init.normal_(value, std=0.05)
    return model


def _batch(*lengths: int) -> PictureBatch:
    random = torch.Generator().manual_seed(2)
    mask_BS = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return PictureBatch(
        identifiers=tuple(map(str, range(len(lengths)))),
        pictures_BMSHW=torch.rand((len(lengths), 3, max(lengths), *SPEC.size_px), generator=random),
        mask_BS=mask_BS,
        targets_BC=torch.ones((len(lengths), 3)),
        known_BC=torch.ones((len(lengths), 3), dtype=torch.bool),
        reviewed_B=torch.zeros(len(lengths), dtype=torch.bool),
    )


def test_slices_that_go_through_a_few_at_once_give_the_logits_and_gradients_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = _batch(CPU_SLICES + 3, 5)
    found = []
    for at_once in (CPU_SLICES, 100):
        monkeypatch.setattr("trainer.volumes.model.CPU_SLICES", at_once)
        model = _model("conv_pwl", "conv_head")
        logits_BC = model(batch)
        logits_BC.square().sum().backward()
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        found.append((logits_BC.detach(), gradients))
    (one, some), (other, all_of_them) = found
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    for name, gradient in some.items():
        assert torch.allclose(gradient, all_of_them[name], rtol=1e-3, atol=1e-4 * float(gradient.abs().max())), name


def test_blocks_before_the_first_adapter_keep_nothing_for_a_gradient() -> None:
    late = ("blocks.6.0.conv_pw", "conv_head")
    model = _model(*late)
    tracked: dict[str, bool] = {}
    for number, block in enumerate(model.backbone.network.blocks):
        block.register_forward_hook(
            lambda _, __, out, name=f"blocks.{number}": tracked.update({name: out.requires_grad})
        )
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    batch = _batch(6)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(batch).sum().backward()
    assert tracked == {f"blocks.{number}": number == 6 for number in range(7)}
    late_bytes, kept[:] = sum(kept), []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _model("conv_pw", "conv_pwl", "conv_head")(batch).sum().backward()
    assert late_bytes < 0.25 * sum(kept)


def test_in_bfloat16_the_classifier_and_its_gradients_are_float32() -> None:
    model = _model("conv_head")
    seen: dict[str, torch.dtype] = {}
    for name in ("router_hidden", "router_out"):
        model.classifier.molre.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out.dtype})
        )
    model.classifier.pooling.register_forward_hook(lambda _, __, out: seen.update(pooling=out.pooled_BD.dtype))
    model.backbone.register_forward_hook(lambda _, __, out: seen.update(backbone=out.dtype))
    batch = _batch(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits_BC = model(batch)
    logits_BC.sum().backward()
    single = torch.float32
    assert seen == {"router_hidden": single, "router_out": single, "pooling": single, "backbone": torch.bfloat16}
    assert logits_BC.dtype == single
    assert all(value.grad is None or value.grad.dtype == single for value in model.parameters())
    exact_BC = _model("conv_head")(batch).detach()
    assert not torch.equal(logits_BC, exact_BC)
    assert torch.allclose(logits_BC, exact_BC, atol=0.2 * float(exact_BC.abs().max()))


class _Watched:
    """A source that counts how many of its batches are alive."""

    labels_NC = np.ones((12, 3), dtype=np.int8)
    reviewed_N = np.zeros(12, dtype=np.bool_)

    def __init__(self) -> None:
        self.read = 0

    def batch(self, chosen: list[int], draw: Draw | None = None) -> PictureBatch:
        self.read += 1
        return replace(_batch(*[1] * len(chosen)), identifiers=tuple(map(str, chosen)))


def test_no_more_parts_of_a_step_are_read_than_are_needed_soon() -> None:
    source = _Watched()
    settings = FitSettings(
        seed=1,
        loss=LossConfig(),
        optimiser=OptimiserConfig(accumulate=6),
        min_epochs=1,
        max_epochs=1,
        patience=1,
        batch_size=6,
        keep="last",
        run_digest="parts",
        read_ahead=2,
    )
    run = Run(_model("conv_head"), ("a", "b", "c"), source, source, settings)
    steps: list[list[str]] = []
    for number, parts in enumerate(run.epoch(1)):
        steps.append([])
        for part in _counted(parts, source, 6 * number):
            steps[-1] += part.batch.identifiers
    assert [len(step) for step in steps] == [6, 6]
    assert sorted(steps[0] + steps[1], key=int) == [str(number) for number in range(12)]


def _counted(parts: Iterator[object], source: _Watched, before: int) -> Iterator[object]:
    for number, part in enumerate(parts):
        assert source.read <= before + number + 1 + 2, "two more than are in use"
        yield part
