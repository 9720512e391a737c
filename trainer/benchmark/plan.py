"""Which runs a benchmark has, which cannot be, and why; and how many parameters each model has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.errors import ConfigError
from engine.models.backbones.registry import BackboneRegistry
from engine.models.backbones.spec import BackboneSpec
from engine.models.manifest import Manifest
from engine.models.package import read_package
from engine.models.settings import LoraSettings, MoLRESettings
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
    """One run; `config` is already the backbone's, which carries adapters of the sizes `carried` where it does."""

    backbone: BackboneChoice
    arm: Arm
    seed: int
    config: TrainConfig
    weights_digest: str
    carried: LoraSettings | None = None

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
    package = None if config.adapters is None else read_adapters(config.adapters, config.backbones[0].name, registry)
    for choice in config.backbones:
        digest = registry.weights_digest(choice.name)
        if package is not None:
            digest = f"{digest}+{package.digest}"
        for arm in config.arms:
            reason = _impossible(config, arm, specs[choice.name])
            if reason is None:
                carried = None if package is None or package.lora is None else package.lora.settings
                cells.extend(_cells(config, choice, arm, specs[choice.name], (digest, carried)))
            else:
                gaps.append(Gap(choice.name, arm, reason))
    if package is not None:
        name = config.backbones[0].name
        shown = f"{specs[name].display_name} with the adapters of {package.name} {package.version}"
        specs = {name: replace(specs[name], display_name=shown)}
    return Plan(tuple(cells), tuple(gaps), specs)


def read_adapters(folder: Path, backbone: str, registry: BackboneRegistry) -> Manifest:
    """Return what a package says of itself that lends its adapters.

    Raises
    ------
    PackageError
        If it cannot be read or is damaged.
    ConfigError
        If it is another backbone's, or has no adapters.
    """
    manifest = read_package(folder, registry).manifest
    if manifest.backbone.name != backbone or manifest.lora is None:
        has = "no adapters" if manifest.lora is None else f"adapters of {manifest.backbone.name}"
        raise ConfigError(
            f"The package {manifest.name} in {folder} has {has}, but the benchmark's backbone is {backbone}.",
            hint="Name in adapters a package that was trained with LoRA on that backbone, or leave adapters out.",
            code="benchmark.adapters",
        )
    return manifest


def _cells(
    config: BenchmarkConfig,
    choice: BackboneChoice,
    arm: Arm,
    spec: BackboneSpec,
    weights: tuple[str, LoraSettings | None],
) -> Iterator[Cell]:
    settings = adapter_of(config, arm, spec.feature_width)
    for seed in config.seeds:
        run = config.train_config(choice, arm, seed, settings).for_backbone(spec)
        yield Cell(choice, arm, seed, run, *weights)


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


def count_parameters(
    config: TrainConfig, registry: BackboneRegistry, n_findings: int, carried: LoraSettings | None = None
) -> Parameters:
    """Count a run's model on shapes alone; no weights are read. Adapters that it only carries do not train.

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
        settings_of_lora = config.lora or carried
        if settings_of_lora is not None:
            inject_lora(network, spec, settings_of_lora)
    lora = sum(tensor.numel() for tensor in network_adapters(network).values())
    adapter = 0 if settings is None else molre_parameters(settings, spec.feature_width)
    trainable = (0 if config.lora is None else lora) + adapter + _numel(classifier)
    return Parameters(
        backbone + lora + adapter + _numel(classifier),
        trainable,
        adapter,
        lora,
        None if settings is None else settings.rank,
    )


def _classification_layer(network: nn.Module) -> nn.Module | None:
    """Return the layer of the network's own classes, which no feature depends on; None where it has none."""
    find = getattr(network, "get_classifier", None)
    layer: nn.Module | None = None if find is None else find()
    return layer


def _numel(module: nn.Module | None) -> int:
    return 0 if module is None else sum(tensor.numel() for tensor in module.parameters())
