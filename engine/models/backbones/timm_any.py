"""Any other network of timm by its name: ``timm:NAME``. Its facts are found from the network when it is converted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from engine.errors import PackageError
from engine.models.backbones._names import starting_with
from engine.models.backbones.conversion import ConversionPlan, Shapes, same
from engine.models.backbones.spec import BackboneEntry, BackboneSpec, Config
from engine.progress import NULL_CONTEXT, Context

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"
Pooled = Literal["token", "avg", "own"]

SPEC = BackboneSpec(
    name=PREFIX,
    display_name="Any network of timm",
    timm_name=None,
    dimensions=2,
    # What follows is replaced by what the network itself says; see `resolve`.
    feature_width=1,
    native_size=(224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    lora_targets=("qkv.q", "qkv.k", "qkv.v", "attn.proj"),
    licence="That of the weights; see their page",
    origin="model.safetensors of the network's page under huggingface.co/timm, or download through timm",
    pooled="own",
    gradcam_layer="",
)

_CLASSIFIER = re.compile(r"(head|heads|head_dist|classifier|classif|fc|last_linear)(\.(?!.*norm).+)?\.(weight|bias)")
_CONSTANT = re.compile(r".+\.(relative_position_index|attn_mask)")


def config_for(name: str, pooled: str | None = None, config: Config | None = None) -> dict[str, Any]:
    """Return the configuration that stands for a name and a choice of the pooled feature.

    Parameters
    ----------
    name
        ``timm:NAME`` or only ``NAME``, with or without the tag of its weights.
    pooled
        The class token, the average over positions, or what the network does by itself; None takes what `config`
        says, else the last.
    config
        The user's ``config.json`` from the network's page on Hugging Face, where there is one.

    Raises
    ------
    PackageError
        If the configuration is of another network.
    """
    architecture = name.removeprefix(PREFIX)
    given = config or {}
    described = given.get("architecture", architecture)
    if not isinstance(described, str) or described.split(".")[0] != architecture.split(".")[0]:
        raise PackageError(
            f"The configuration is of {described!r}, not of {architecture}.",
            hint=f"Give the config.json of {architecture}, or none.",
            code="backbone.config",
        )
    return {**given, "architecture": architecture, "pooled": pooled or given.get("pooled", "own")}


def build_network(config: Config | None = None) -> nn.Module:
    """Make the network with random weights and without its classification layer.

    Raises
    ------
    PackageError
        If there is no configuration, timm does not know the name, or the network has no such pooling.
    """
    from engine.models.backbones import _timm_facts

    return _timm_facts.build(_architecture(config), _pooled(config), *_arguments(config))


def resolve(config: Config | None) -> BackboneSpec:
    """Return the facts of the network that `config` names; builds it without weights. Imports torch.

    Raises
    ------
    PackageError
        As `build_network`, or if its facts cannot be found.
    """
    from engine.models.backbones import _timm_facts

    return _timm_facts.resolved(SPEC, _architecture(config), _pooled(config), *_arguments(config))


def plan(source: Shapes, target: Shapes) -> ConversionPlan:
    """Take timm's own names as they are; a classification layer and constant tables are left out."""
    unused = [name for name in source if _CLASSIFIER.fullmatch(name) or _CONSTANT.fullmatch(name)]
    # With another pooling than its own, the network has no attention pooling.
    unused += starting_with(source, ("attn_pool.",))
    return ConversionPlan({name: same(name) for name in target}, tuple(name for name in unused if name not in target))


def download(name: str, folder: Path, context: Context = NULL_CONTEXT) -> Path:
    """Download a network's weights through timm and write them as a file that can be converted.

    Parameters
    ----------
    name
        ``timm:NAME`` or only ``NAME``.
    folder
        Where to write ``NAME.safetensors``.
    context
        Told about the progress; cancelling is possible before the download, not during it.

    Raises
    ------
    PackageError
        If the name is not known, has no published weights, or the network cannot be reached.
    """
    from engine.models.backbones import _timm_facts

    context.raise_if_cancelled()
    architecture = _architecture(config_for(name))
    context.progress(0, 1, f"Downloading {architecture}")
    path = _timm_facts.download(architecture, folder)
    context.progress(1, 1, f"Downloaded {architecture}")
    return path


def _architecture(config: Config | None) -> str:
    name = None if config is None else config.get("architecture")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", name):
        found = "there is no configuration" if config is None else f"its configuration names {name!r}"
        raise PackageError(
            f"Which network of timm is meant is not known: {found}.",
            hint="Give its name, such as timm:vit_small_patch16_224, or the config.json from its page on Hugging Face.",
            code="backbone.config",
        )
    return name


def _pooled(config: Config | None) -> Pooled:
    pooled: Any = (config or {}).get("pooled", "own")
    if pooled not in get_args(Pooled):
        raise PackageError(
            f"The pooled feature {pooled!r} is not known.",
            hint=f"Choose one of: {', '.join(get_args(Pooled))}.",
            code="backbone.config",
        )
    chosen: Pooled = pooled
    return chosen


def _arguments(config: Config | None) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Return the sizes that the configuration gives the network, and what it says about its input."""
    arguments = (config or {}).get("model_args", {})
    about = (config or {}).get("pretrained_cfg")
    if not isinstance(arguments, Mapping) or not (about is None or isinstance(about, Mapping)):
        raise PackageError(
            "The configuration's model_args or pretrained_cfg is not an object.",
            hint="Use config.json from the network's page on Hugging Face.",
            code="backbone.config",
        )
    return arguments, about


BACKBONE = BackboneEntry(spec=SPEC, build_network=build_network, plan=plan, resolve=resolve, needs_config=True)
