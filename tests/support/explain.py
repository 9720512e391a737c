"""Small studies with small models, for explanations. Torch is imported inside the functions, not here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.models.backbones.conversion import ConversionPlan, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, BundledWeights, Config
from engine.models.settings import MoLRESettings
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec
from tests.support.models import TINY_SPEC, build_tiny_network, small_head

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.explain.subject import Subject
    from engine.models.backbones.network import Backbone
    from engine.models.classifier import MoLREClassifier

Kind = Literal["mean", "token", "linear", "volume"]
WIDTH = 12
KEYS = ("bleed", "fracture", "shift")
GRID = PreprocessSpec(spacing_mm=(5.0, 6.0, 6.0), size_px=(32, 32), align=False)


def build_token_network(config: Config | None = None) -> nn.Module:
    """Patches as tokens after a class token and a register; the class token ends as a linear mix of the others."""
    import torch
    from torch import nn

    class Tokens(nn.Module):
        num_prefix_tokens = 2

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, WIDTH, 8, stride=8)
            self.prefix = nn.Parameter(torch.zeros(1, 2, WIDTH))
            self.block = nn.Identity()
            self.mix = nn.Linear(WIDTH, WIDTH)

        def forward_features(self, x: Tensor) -> Tensor:
            patches = self.embed(x).flatten(2).mT.tanh()
            tokens = self.block(torch.cat([self.prefix.expand(len(x), -1, -1), patches], dim=1))
            return torch.cat([self.mix(tokens.mean(dim=1, keepdim=True)), tokens[:, 1:]], dim=1)

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return x[:, 0]

    return Tokens()


def build_linear_network(config: Config | None = None) -> nn.Module:
    """A convolution and its mean: nothing that a straight line does not describe."""
    from torch import nn

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, WIDTH, 4, stride=4)

        def forward_features(self, x: Tensor) -> Tensor:
            return self.conv(x)

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return x.mean(dim=(2, 3))

    return Linear()


def build_volume_network(config: Config | None = None) -> nn.Module:
    """A network of whole volumes, which halves the slices."""
    from torch import nn

    class Solid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(3, WIDTH, (2, 8, 8), stride=(2, 8, 8))

        def forward_features(self, x: Tensor) -> Tensor:
            return self.conv(x).tanh()

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return x.mean(dim=(2, 3, 4))

    return Solid()


_KINDS: dict[Kind, tuple[Callable[[Config | None], nn.Module], BackboneSpec]] = {
    "mean": (build_tiny_network, TINY_SPEC),
    "token": (build_token_network, replace(TINY_SPEC, pooled="token", gradcam_layer="block", lora_targets=("mix",))),
    "linear": (build_linear_network, replace(TINY_SPEC, gradcam_layer="conv")),
    "volume": (build_volume_network, replace(TINY_SPEC, dimensions=3, native_size=(4, 32, 32), gradcam_layer="conv")),
}


def backbone(kind: Kind) -> Backbone:
    """The same random weights on every call."""
    import torch

    from engine.models.backbones.network import Backbone

    build, spec = _KINDS[kind]
    generator = torch.Generator().manual_seed(3)
    whole = build(None).state_dict()
    for name, tensor in whole.items():
        if tensor.is_floating_point():
            drawn = 0.3 * torch.randn(tensor.shape, generator=generator)
            whole[name] = drawn.abs() + 0.1 if "var" in name else drawn
    entry = BackboneEntry(
        spec=spec,
        build_network=build,
        plan=lambda source, target: ConversionPlan({name: same(name) for name in target}),
        bundled=BundledWeights(lambda: whole, lambda: "0" * 64),
    )
    return Backbone(entry)


def classifier(
    molre: MoLRESettings | None = MoLRESettings(n_experts=3, rank=2, hidden=8), fusion_hidden: int | None = None
) -> MoLREClassifier:
    """Random weights large enough that every part matters."""
    import torch

    from engine.models.classifier import MoLREClassifier

    made = MoLREClassifier(WIDTH, len(KEYS), molre, fusion_hidden=fusion_hidden)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return made.eval().requires_grad_(False)


def prepared(n_slices: int = 5) -> PreparedVolume:
    """A small head with something bright to one side."""
    volume = prepare(small_head(n_slices), GRID)
    voxels_hu = volume.voxels_hu.copy()
    voxels_hu[1:3, 12:18, 18:24] = 75.0
    return replace(volume, voxels_hu=voxels_hu)


def subject(
    kind: Kind = "mean",
    head: MoLREClassifier | None = None,
    study: PreparedVolume | None = None,
    network: Backbone | None = None,
) -> Subject:
    """A study as an analysis would leave it."""
    import torch

    from engine.explain.subject import Subject
    from engine.preprocess.windows import to_channels, to_volume

    study, network = study or prepared(), network or backbone(kind)
    if kind == "volume":
        x = torch.from_numpy(to_volume(study.voxels_hu, study.spec)).unsqueeze(0)
    else:
        x = torch.from_numpy(to_channels(study.voxels_hu, study.spec.windows_hu))
    with torch.no_grad():
        features_SD = np.asarray(network(x).numpy(), dtype=np.float32)
    return Subject(head or classifier(), network, KEYS, features_SD, study)
