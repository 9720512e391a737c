"""Which runs a benchmark has, which cannot be, and why; and how many parameters each model has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneSpec
from engine.models.settings import MoLRESettings
from trainer.benchmark.config import (
    LORA_ARMS,
    MIXTURE_ARMS,
    SINGLE_ARMS,
    Arm,
    BackboneChoice,
    BenchmarkConfig,
    molre_parameters,
    single_adapter,
)
from trainer.config import TrainConfig, canonical_digest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Cell:
    """One run; `config` is already the backbone's."""

    backbone: BackboneChoice
    arm: Arm
    seed: int
    config: TrainConfig
    weights_digest: str

    @property
    def title(self) -> str:
        """What a person reads."""
        return f"{self.backbone.name} {self.arm} seed {self.seed}"

    @property
    def place(self) -> str:
        """Its folder below that of the runs."""
        return f"{self.backbone.slug}/{self.arm}/seed-{self.seed}"

    @cached_property
    def digest(self) -> str:
        """The sha256 of what decides the result but for the studies' voxels and labels."""
        return canonical_digest({"config": self.config.digest(), "weights": self.weights_digest})


@dataclass(frozen=True)
class Gap:
    """An arm that a backbone cannot have, and why."""

    backbone: str
    arm: Arm
    reason: str


@dataclass(frozen=True)
class Plan:
    """All runs, backbone by backbone, what cannot be, and the backbones' facts by name."""

    cells: tuple[Cell, ...]
    gaps: tuple[Gap, ...]
    specs: dict[str, BackboneSpec]

    def gap(self, backbone: str, arm: Arm) -> str | None:
        """Return why there is no such run; None where there is one, or none was asked for."""
        return next((gap.reason for gap in self.gaps if (gap.backbone, gap.arm) == (backbone, arm)), None)


def make_plan(config: BenchmarkConfig, registry: BackboneRegistry) -> Plan:
    """List the runs before any of them begins.

    Raises
    ------
    PackageError
        If a backbone is not known or has no weights here.
    ConfigError
        If a preparation does not fit a backbone.
    """
    cells: list[Cell] = []
    gaps: list[Gap] = []
    specs = {choice.name: registry.entry(choice.name).spec for choice in config.backbones}
    for choice in config.backbones:
        digest = registry.weights_digest(choice.name)
        for arm in config.arms:
            reason = _impossible(config, arm, specs[choice.name])
            if reason is None:
                cells.extend(_cells(config, choice, arm, specs[choice.name], digest))
            else:
                gaps.append(Gap(choice.name, arm, reason))
    return Plan(tuple(cells), tuple(gaps), specs)


def _cells(
    config: BenchmarkConfig, choice: BackboneChoice, arm: Arm, spec: BackboneSpec, digest: str
) -> Iterator[Cell]:
    settings = adapter_of(config, arm, spec.feature_width)
    for seed in config.seeds:
        run = config.train_config(choice, arm, seed, settings).for_backbone(spec)
        yield Cell(choice, arm, seed, run, digest)


def adapter_of(config: BenchmarkConfig, arm: Arm, width: int) -> MoLRESettings | None:
    """Return the sizes of what an arm puts on the features; None where it puts nothing."""
    if arm in MIXTURE_ARMS:
        return config.molre
    return single_adapter(config.molre, width) if arm in SINGLE_ARMS else None


def _impossible(config: BenchmarkConfig, arm: Arm, spec: BackboneSpec) -> str | None:
    if arm in LORA_ARMS and not (spec.lora_targets or config.lora.targets):
        return "no layer of it is named to be adapted by LoRA"
    if arm in MIXTURE_ARMS | SINGLE_ARMS:
        if not spec.molre:
            return "the paper applies no MoLRE to it: it has no attention pooling"
        try:
            adapter_of(config, arm, spec.feature_width)
        except ValidationError:
            return "an adapter of the mixture's size would need a rank above 256"
    return None


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters of a model; none that the output does not depend on is in any of them.

    Attributes
    ----------
    total
        Backbone without its classification layer, LoRA, pooling, head, and what stands on the features.
    trainable
        Those that train and can change the output: the dead router of a single adapter is left out.
    adapter
        MoLRE with its router, or the single adapter; 0 with neither.
    rank
        Of the experts, or of the single adapter; None with neither.
    """

    total: int
    trainable: int
    adapter: int
    lora: int
    rank: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def count_parameters(config: TrainConfig, registry: BackboneRegistry, n_findings: int) -> Parameters:
    """Count a run's model on shapes alone; no weights are read.

    Raises
    ------
    PackageError
        If LoRA cannot be applied to the backbone.
    """
    import torch

    from engine.models.classifier import MoLREClassifier
    from engine.models.lora import inject_lora, network_adapters

    entry = registry.entry(config.backbone)
    stored = registry.stored(config.backbone)
    spec, settings = entry.spec, config.molre
    with torch.device("meta"):
        network = entry.build_network(None if stored is None else stored.record.config).eval()
        # Without the adapter: `molre_parameters` counts what of it does something.
        classifier = MoLREClassifier(spec.feature_width, n_findings, None, fusion_hidden=spec.fusion_hidden)
        backbone = _numel(network) - _numel(_classification_layer(network))
        if config.lora is not None:
            inject_lora(network, spec, config.lora)
    lora = sum(tensor.numel() for tensor in network_adapters(network).values())
    adapter = 0 if settings is None else molre_parameters(settings, spec.feature_width)
    trainable = lora + adapter + _numel(classifier)
    return Parameters(backbone + trainable, trainable, adapter, lora, None if settings is None else settings.rank)


def _classification_layer(network: nn.Module) -> nn.Module | None:
    """Return the layer of the network's own classes, which no feature depends on; None where it has none."""
    find = getattr(network, "get_classifier", None)
    layer: nn.Module | None = None if find is None else find()
    return layer


def _numel(module: nn.Module | None) -> int:
    return 0 if module is None else sum(tensor.numel() for tensor in module.parameters())
