"""How many parameters a model of the paper has, beside what its Table 2 prints. Counted on shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.models.backbones.registry import BackboneRegistry, default_registry
from engine.models.backbones.spec import BackboneEntry
from engine.models.settings import LoraSettings, MoLRESettings

if TYPE_CHECKING:
    from torch import Tensor

N_FINDINGS = 75


@dataclass(frozen=True)
class PaperRow:
    """One row of Table 2, in millions and as printed; `lora` says whether the paper adapts the backbone by LoRA."""

    total: str
    molre: str | None
    lora: bool = True


TABLE_2: Mapping[str, PaperRow] = {
    "DINOv3-Base": PaperRow("86.6", "0.28"),
    "DINOv3-Large": PaperRow("305.2", "0.37"),
    "MedImageInsight": PaperRow("364.3", "0.37"),
    "MedGemma": PaperRow("431.1", "0.41"),
    "Pillar0-HeadCT": PaperRow("113.9", "0.41", lora=False),
    "DeepCNTD": PaperRow("6.9", None, lora=False),
}


@dataclass(frozen=True)
class ParameterCount:
    """The parameters of one model, part by part.

    Attributes
    ----------
    row
        The model's name in the paper.
    backbone_name
        Ours.
    stand_in
        True where the published network's code is not public and ours is another one of its size.
    backbone, lora, query, fusion, head, molre
        Numbers of parameters; `molre` holds the router, which is `router` of it.
    paper
        What the paper prints.
    """

    row: str
    backbone_name: str
    stand_in: bool
    backbone: int
    lora: int
    query: int
    fusion: int
    head: int
    molre: int
    router: int
    paper: PaperRow

    @property
    def total(self) -> int:
        """All parts together."""
        return self.backbone + self.lora + self.query + self.fusion + self.head + self.molre

    @property
    def total_agrees(self) -> bool:
        """Whether the total is the paper's to the digit that it prints."""
        return f"{self.total / 1e6:.1f}" == self.paper.total

    @property
    def total_difference(self) -> float:
        """The total here minus the paper's, in millions."""
        return self.total / 1e6 - float(self.paper.total)

    @property
    def molre_difference(self) -> float | None:
        """MoLRE here minus the paper's, in millions; None where the paper has none."""
        return None if self.paper.molre is None else self.molre / 1e6 - float(self.paper.molre)


def count_parameters(registry: BackboneRegistry | None = None) -> tuple[ParameterCount, ...]:
    """Count every model of Table 2 that is registered, in the paper's order; no weights are needed.

    The sizes are the paper's: rank 8 for LoRA and experts, 6 experts, a router of width 256, 75 findings.
    """
    entries = registry if registry is not None else default_registry()
    by_row = {entry.spec.paper_row: entry for entry in entries.values() if entry.spec.paper_row is not None}
    return tuple(_count(row, paper, by_row[row]) for row, paper in TABLE_2.items() if row in by_row)


def _count(row: str, paper: PaperRow, entry: BackboneEntry) -> ParameterCount:
    import torch

    from engine.models.classifier import MoLREClassifier
    from engine.models.lora import inject_lora, network_adapters

    spec = entry.resolved(entry.reference_config)
    with torch.device("meta"):
        network = entry.build_network(entry.reference_config)
        settings = MoLRESettings() if spec.molre else None
        classifier = MoLREClassifier(spec.feature_width, N_FINDINGS, settings, fusion_hidden=spec.fusion_hidden)
    backbone = _numel(network.parameters())
    if paper.lora:
        with torch.device("meta"):
            inject_lora(network.eval(), spec, LoraSettings())
    parts: dict[str, int] = {}
    for name, tensor in classifier.named_parameters():
        part = "router" if ".router_" in name else name.partition(".")[0]
        parts[part] = parts.get(part, 0) + tensor.numel()
    return ParameterCount(
        row=row,
        backbone_name=spec.name,
        stand_in=spec.stand_in,
        backbone=backbone,
        lora=_numel(network_adapters(network).values()),
        query=parts["pooling"],
        fusion=parts.get("fusion", 0),
        head=parts["head"],
        molre=parts.get("molre", 0) + parts.get("router", 0),
        router=parts.get("router", 0),
        paper=paper,
    )


def _numel(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
