"""What a backbone file states. No torch here at run time: manifests are checked against it without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from engine.models.backbones.conversion import ConversionPlan, Shapes
from engine.preprocess.spec import PreprocessSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

Config = Mapping[str, Any]
"""The user's ``config.json`` beside the weights, for networks whose shape it decides."""


@dataclass(frozen=True)
class TrainingProtocol:
    """How a network of volumes is trained further, as far as that is published; a run end to end follows it.

    Attributes
    ----------
    source
        Where it is stated.
    fine_tune
        ``full`` trains every parameter of the network, ``none`` leaves it frozen.
    learning_rate
        One for network, pooling and head, constant; None: not published.
    weight_decay
        Of all of them; None: not published.
    batch_size, accumulate
        Studies a step, and into how many parts they are split; None: not published.
    rotations_only
        True where random rotations are the only augmentation; False: not published.
    """

    source: str
    fine_tune: Literal["none", "full"]
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    rotations_only: bool = False


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
        The architecture's name in timm; None where it is not one of timm's.
    dimensions
        2 for a network of single slices, 3 for one of whole volumes.
    feature_width
        d, width of the pooled feature.
    native_size
        What the weights were trained at, in pixels: height and width, for volumes slices before them.
    mean, std
        Per channel; subtracted and divided after the windows are scaled to 0..1.
    lora_targets
        Names of the modules that LoRA adapts; a module matches by its last name components. ``qkv.q``, ``qkv.k`` and
        ``qkv.v`` mean the thirds of a fused layer, each with an adapter of its own.
    licence, origin
        Of the weights, and where a user gets them.
    pooled
        How the feature comes from the last grid: a class token, the plain spatial mean (then the exact ledger reaches
        image positions), a learnt attention pooling (MAP), or the network's own way.
    gradcam_layer
        Dotted name of the module whose output is the last grid that gradients still reach, for Grad-CAM.
    size_rule, size_multiple
        Which sizes the network takes: any, multiples of `size_multiple`, or only its native one.
    paper_row
        Its name in the paper's Table 2; None where it is not in it.
    molre
        False where the paper applies no MoLRE.
    fusion_hidden
        Width of a trained hidden layer before the head (DeepCNTD); None where there is none.
    stand_in
        True where the published network's code is not public and this is another one of its size.
    preprocessing
        How volumes are prepared for it unless a package says otherwise.
    training
        The published protocol of a network of volumes; None: the paper's own, as for every network of slices.
    """

    name: str
    display_name: str
    timm_name: str | None
    dimensions: Literal[2, 3]
    feature_width: int
    native_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    lora_targets: tuple[str, ...]
    licence: str
    origin: str
    pooled: Literal["token", "mean", "map", "own"]
    gradcam_layer: str
    size_rule: Literal["any", "multiple", "fixed"] = "any"
    size_multiple: int = 1
    paper_row: str | None = None
    molre: bool = True
    fusion_hidden: int | None = None
    stand_in: bool = False
    preprocessing: PreprocessSpec = field(default_factory=PreprocessSpec)
    training: TrainingProtocol | None = None

    def input_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size at which the network sees a prepared picture or volume of `size`."""
        if self.size_rule == "any":
            return size
        if self.size_rule == "fixed":
            return self.native_size
        return tuple(self.size_multiple * math.ceil(length / self.size_multiple) for length in size)


RESOLVED_FIELDS = (
    "feature_width",
    "native_size",
    "mean",
    "std",
    "pooled",
    "gradcam_layer",
    "size_rule",
    "size_multiple",
    "lora_targets",
    "preprocessing",
)
"""Facts that a network's own configuration may decide; they are kept with its stored weights."""


def resolved_facts(spec: BackboneSpec) -> dict[str, Any]:
    """Return the facts of `RESOLVED_FIELDS` as plain values for the record of stored weights."""
    facts = {name: getattr(spec, name) for name in RESOLVED_FIELDS}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
    return {**plain, "preprocessing": spec.preprocessing.model_dump(mode="json")}


def with_facts(spec: BackboneSpec, facts: Mapping[str, Any]) -> BackboneSpec:
    """Return the spec with recorded facts in place of its own."""
    known = {item.name for item in fields(spec)} & set(RESOLVED_FIELDS)
    changed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in facts.items() if name in known
    }
    if "preprocessing" in changed:
        changed["preprocessing"] = PreprocessSpec.model_validate(changed["preprocessing"])
    return replace(spec, **changed)


@dataclass(frozen=True)
class BundledWeights:
    """Weights that install with the program, or beside it from a package of their own.

    Attributes
    ----------
    read
        Gives them under their published names.
    digest
        Gives their file's sha256; both raise `PackageError` where they are not installed.
    installed
        Whether they are; the packages of some are optional.
    """

    read: Callable[[], Mapping[str, Tensor]]
    digest: Callable[[], str]
    installed: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class BackboneEntry:
    """A backbone file's whole content: its facts, and how to make it.

    Attributes
    ----------
    spec
        The facts.
    build_network
        ``build_network(config=None)`` makes the network with random weights, from the user's configuration where it
        needs one. It has timm's
        ``forward_features`` and ``forward_head(x, pre_logits=True)``, and can be built on the meta device.
    plan
        Maps the published names and shapes of a file onto the network's.
    bundled
        Weights that are installed with pip; None where the user brings them.
    resolve
        The facts for one configuration, where it decides some; None where it never does.
    needs_config
        Whether the network cannot be built without the user's ``config.json``.
    reference_config
        One of the published size, for tables and tests only; None where the network needs none.
    """

    spec: BackboneSpec
    build_network: Callable[..., nn.Module]
    plan: Callable[[Shapes, Shapes], ConversionPlan]
    bundled: BundledWeights | None = None
    resolve: Callable[[Config | None], BackboneSpec] | None = None
    needs_config: bool = False
    reference_config: Config | None = None

    def bundled_digest(self) -> str | None:
        """Return the sha256 of the bundled weights; None where there are none, or they are not installed.

        Raises
        ------
        PackageError
            If they are installed and cannot be read.
        """
        return self.bundled.digest() if self.bundled is not None and self.bundled.installed() else None

    def resolved(self, config: Config | None) -> BackboneSpec:
        """Return the facts of the network that `config` describes."""
        return self.spec if self.resolve is None else self.resolve(config)
