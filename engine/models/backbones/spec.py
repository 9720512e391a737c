"""What a backbone file states. No torch here at run time: manifests are checked against it without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class BackboneSpec:
    """The facts about one pretrained network.

    Attributes
    ----------
    name
        Stable key, used in manifests.
    display_name
        What a person reads.
    timm_name
        The architecture's name in timm.
    dimensions
        2 for a network of single slices, 3 for one of whole volumes.
    feature_width
        d, width of the pooled feature.
    native_size
        Height and width in pixels that the weights were trained at.
    mean, std
        Per channel; subtracted and divided after the windows are scaled to 0..1.
    lora_targets
        Names of the modules that LoRA adapts; a module matches by its last name components.
    licence, origin
        Of the weights, and where a user gets them.
    """

    name: str
    display_name: str
    timm_name: str
    dimensions: Literal[2, 3]
    feature_width: int
    native_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    lora_targets: tuple[str, ...]
    licence: str
    origin: str


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone file's whole content: its facts, and how to make it.

    Attributes
    ----------
    spec
        The facts.
    build_network
        Makes the network with random weights. It has timm's ``forward_features`` and
        ``forward_head(x, pre_logits=True)``.
    read_checkpoint
        Reads the published checkpoint, under its own key names. Raises PackageError where it is missing or damaged.
    convert_checkpoint
        Maps a checkpoint onto the names of the given state dict, each tensor used exactly once, shapes checked.
    weights_digest
        sha256 of the published checkpoint file, in hexadecimal; needs no torch.
    """

    spec: BackboneSpec
    build_network: Callable[[], nn.Module]
    read_checkpoint: Callable[[], Mapping[str, Tensor]]
    convert_checkpoint: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]
    weights_digest: Callable[[], str]
