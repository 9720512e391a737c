"""A small backbone and small packages for tests. Torch is imported inside the functions, not here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.geometry import Volume, VolumeGeometry
from engine.models.backbones.conversion import ConversionPlan, Shapes, same
from engine.models.backbones.efficientnet_lite0 import BACKBONE
from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, BundledWeights, Config
from engine.models.calibration import Calibration
from engine.models.manifest import BackboneReference, Manifest, ManifestDraft, TrainingRecord
from engine.models.package import write_package
from engine.models.settings import MoLRESettings
from engine.preprocess.spec import PreprocessSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.models.classifier import MoLREClassifier

TINY_WIDTH = 12
TINY_SPEC = BackboneSpec(
    name="tiny",
    display_name="Tiny test network",
    timm_name="none",
    dimensions=2,
    feature_width=TINY_WIDTH,
    native_size=(32, 32),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    lora_targets=("conv",),
    licence="Apache-2.0",
    origin="tests",
    pooled="mean",
    gradcam_layer="norm",
)


def build_tiny_network(config: Config | None = None) -> nn.Module:
    """One convolution, a batch normalisation and a mean, with timm's two methods."""
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, TINY_WIDTH, 4, stride=4)
            self.norm = nn.BatchNorm2d(TINY_WIDTH)
            self.classifier = nn.Linear(TINY_WIDTH, 5)

        def forward_features(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)).relu()

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            pooled = x.mean(dim=(2, 3))
            return pooled if pre_logits else self.classifier(pooled)

    return Tiny()


def tiny_checkpoint() -> Mapping[str, Tensor]:
    """The same weights on every call, under names of their own."""
    import torch

    generator = torch.Generator().manual_seed(7)
    state = build_tiny_network().state_dict()
    return {
        f"published.{name}": torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def plan_tiny(source: Shapes, target: Shapes) -> ConversionPlan:
    return ConversionPlan({name: same(f"published.{name}") for name in target})


def tiny_entry(digest: str = hashlib.sha256(b"tiny").hexdigest()) -> BackboneEntry:
    return BackboneEntry(
        spec=TINY_SPEC,
        build_network=build_tiny_network,
        plan=plan_tiny,
        bundled=BundledWeights(tiny_checkpoint, lambda: digest),
    )


def tiny_registry(digest: str = hashlib.sha256(b"tiny").hexdigest()) -> BackboneRegistry:
    return BackboneRegistry([tiny_entry(digest)])


def bundled_digest(entry: BackboneEntry) -> str:
    assert entry.bundled is not None
    return entry.bundled.digest()


def small_head(n_slices: int = 6, size: int = 64) -> Volume:
    """A shell of bone around grey matter, 5 mm slices, 3 mm pixels: enough to be prepared."""
    spacing_mm = (5.0, 3.0, 3.0)
    shape = (n_slices, size, size)
    axes = [(np.arange(count) - (count - 1) / 2) * step for count, step in zip(shape, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 70) ** 2 + (y / 85) ** 2 + (z / 70) ** 2)
    voxels = np.full(shape, -1000, dtype=np.int16)
    voxels[radius < 1.0] = 1000
    voxels[radius < 0.9] = 35
    origins = np.stack([np.full(n_slices, axes[2][0]), np.full(n_slices, axes[1][0]), axes[0]], axis=1)
    geometry = VolumeGeometry(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (3.0, 3.0), origins, size, size)
    return Volume(voxels, geometry, "HU", None, tuple(f"2.25.{index + 1}" for index in range(n_slices)))


def draft(keys: tuple[str, ...], entry: BackboneEntry, **changes: Any) -> ManifestDraft:
    """A manifest for a package that was trained on nothing."""
    fields: dict[str, Any] = {
        "name": "tests-only",
        "version": "1",
        "notice": "Random weights, for tests only.",
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "backbone": BackboneReference(
            name=entry.spec.name, weights_digest=bundled_digest(entry), feature_width=entry.spec.feature_width
        ),
        "finding_keys": keys,
        "preprocessing": PreprocessSpec(align=False),
        "molre": MoLRESettings(),
        "operating_points": dict.fromkeys(keys, 0.5),
        "training": TrainingRecord(
            description="None.", data_digest="0" * 64, seed=1, parent_digest=None, trained_on="nothing"
        ),
    }
    return ManifestDraft(**(fields | changes))


def random_classifier(width: int, n_findings: int, seed: int = 1) -> MoLREClassifier:
    """A classifier in which every part matters: experts are not zero."""
    import torch

    from engine.models.classifier import MoLREClassifier

    generator = torch.Generator().manual_seed(seed)
    classifier = MoLREClassifier(width, n_findings, MoLRESettings())
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return classifier


def write_random_package(
    folder: Path,
    keys: tuple[str, ...],
    registry: BackboneRegistry | None = None,
    *,
    seed: int = 1,
    calibration: dict[str, Any] | None = None,
    **changes: Any,
) -> Manifest:
    """Write a package with random weights on the registry's only backbone, the default one by default."""
    (entry,) = (registry or BackboneRegistry([BACKBONE])).values()
    return write_package(
        folder,
        draft(keys, entry, **changes),
        random_classifier(entry.spec.feature_width, len(keys), seed),
        calibration=Calibration.model_validate(calibration or {}),
        metrics={"auc": {}},
        card="# Tests only\n",
        registry=registry,
    )
