"""Building a network of timm and finding out what it is, without weights. Imports torch; only `timm_any` imports this.

Legend: N picture, M channel, H row, W column, P token, D feature width.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from engine.errors import PackageError
from engine.models.backbones.spec import BackboneSpec

# Arguments of timm.create_model that reach files or the network, or change what comes out.
_NOT_SIZES = frozenset(
    {
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "scriptable",
        "exportable",
        "no_jit",
        "features_only",
        "num_classes",
        "global_pool",
    }
)
_ATTENTION_LAYER = re.compile(r"(.*\.)?(?!\w*pool)\w*attn\w*\.(qkv|q|k|v|kv|q_proj|k_proj|v_proj|proj|out_proj)")
_FALLBACK_MULTIPLE = 32
_PUBLISHED_FILES = ("model.safetensors", "pytorch_model.bin")


def build(architecture: str, pooled: str, arguments: Mapping[str, Any], about: Mapping[str, Any] | None) -> nn.Module:
    """Make the network with random weights, no classification layer, and the chosen pooling.

    Parameters
    ----------
    architecture
        Its name in timm, with or without the tag of its weights.
    pooled
        ``token``, ``avg`` or ``own``.
    arguments, about
        ``model_args`` and ``pretrained_cfg`` of a configuration from Hugging Face.

    Raises
    ------
    PackageError
        If timm does not know the name, refuses the arguments, or the network has no such pooling.
    """
    _check_known(architecture)
    sizes = {name: value for name, value in arguments.items() if name not in _NOT_SIZES}
    try:
        network: nn.Module = timm.create_model(
            architecture,
            pretrained=False,
            num_classes=0,
            pretrained_cfg=None if about is None else dict(about),
            **sizes,
        )
        if pooled != "own":
            network.reset_classifier(0, global_pool=pooled)  # type: ignore[operator]
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise _unusable(architecture, f"timm cannot build it with pooling {pooled!r}: {error}") from error
    if pooled == "token" and getattr(network, "cls_token", None) is None:
        raise _unusable(architecture, "it has no class token")
    _use_every_layer(network)
    return network


def resolved(
    spec: BackboneSpec, architecture: str, pooled: str, arguments: Mapping[str, Any], about: Mapping[str, Any] | None
) -> BackboneSpec:
    """Return the spec with the network's own facts.

    Raises
    ------
    PackageError
        As `build`, or if the network does not take three channels, or cannot be followed.
    """
    with torch.device("meta"):
        network = build(architecture, pooled, arguments, about)
    described = _described(network)
    channels, *size = described["input_size"]
    if channels != len(spec.mean):
        raise _unusable(architecture, f"it takes {channels} channels, not {len(spec.mean)}")
    traced = _traced(network, architecture, (channels, *size))
    rule, multiple = _size_rule(network, described)
    return replace(
        spec,
        name=f"{spec.name}{architecture}",
        display_name=f"{architecture} (timm)",
        timm_name=architecture,
        feature_width=traced.width,
        native_size=tuple(size),
        mean=tuple(described["mean"]),
        std=tuple(described["std"]),
        pooled=_pooling(network, traced.grid_shape),
        gradcam_layer=_gradcam_layer(network, traced),
        size_rule=rule,
        size_multiple=multiple,
        lora_targets=_lora_targets(network, architecture, traced.called),
    )


def download(architecture: str, folder: Path) -> Path:
    """Write the weights that timm publishes for a network as ``folder/ARCHITECTURE.safetensors``.

    Raises
    ------
    PackageError
        If the name is not known, nothing is published, it cannot be reached, or the file cannot be written.
    """
    _check_known(architecture)
    path = folder / f"{architecture}.safetensors"
    try:
        about = timm.get_pretrained_cfg(architecture)
        if about is None or not about.has_weights:
            raise _unusable(architecture, "timm knows no published weights of it")
        with _quiet_hub():
            _require_reachable(about.hf_hub_id)
            network = timm.create_model(architecture, pretrained=True)
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise PackageError(
            f"The weights of {architecture} were not downloaded ({type(error).__name__}): {error}",
            hint="Connect this computer to the internet and try again. Or download model.safetensors from the page of "
            f"timm/{architecture} on Hugging Face elsewhere, and convert it here: "
            f"models convert FILE --backbone timm:{architecture}",
            code="backbone.download",
            kind="environment",
        ) from error
    return path


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the hub's library from writing to the console what our own error says."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


def _require_reachable(hub_id: str | None) -> None:
    """Ask the hub once, unless the weights are in its cache: its own downloads try for most of a minute.

    Raises
    ------
    ConnectionError
        If no answer comes.
    """
    import httpx2

    if hub_id is None or huggingface_hub.constants.HF_HUB_OFFLINE:
        return
    repository, _, revision = hub_id.partition("@")
    for name in _PUBLISHED_FILES:
        if isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None), str):
            return
    try:
        url = huggingface_hub.hf_hub_url(repository, _PUBLISHED_FILES[0], revision=revision or None)
        huggingface_hub.get_hf_file_metadata(url)
    except HfHubHTTPError:
        return  # It answered; whether there are other files, timm finds out.
    except httpx2.TransportError as error:
        raise ConnectionError(f"the hub cannot be reached, {error}") from error


def _check_known(architecture: str) -> None:
    if not timm.is_model(architecture):
        known = timm.list_models(f"*{architecture.split('.')[0].split('_')[0]}*")[:5]
        raise PackageError(
            f"timm {timm.__version__} knows no network named {architecture}.",
            hint=f"Check its name{'; similar: ' + ', '.join(known) if known else ''}.",
            code="backbone.config",
        )


def _use_every_layer(network: nn.Module) -> None:
    """Have attention call its fused layer, instead of using the layer's weight alone past any adapter around it."""
    for module in network.modules():
        if hasattr(module, "qkv_bias_separate"):
            setattr(module, "qkv_bias_separate", True)  # noqa: B010 - torch declares attributes to be modules


def _described(network: nn.Module) -> Mapping[str, Any]:
    described: Mapping[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    return described


def _size_rule(network: nn.Module, described: Mapping[str, Any]) -> tuple[Any, int]:
    about: Any = network.pretrained_cfg
    dynamic = bool(getattr(network, "dynamic_img_size", False))
    if about.get("fixed_input_size") and not dynamic:
        return "fixed", 1
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return "multiple", max(patch) if dynamic and isinstance(patch, tuple) else _FALLBACK_MULTIPLE


@dataclass(frozen=True)
class _Trace:
    """What one pass without data showed."""

    width: int
    grid_shape: tuple[int, ...]
    called: Mapping[str, tuple[int, ...] | None]
    """Modules in the order in which they finished, with the shape of what they gave where that is one tensor."""
    grid_layer: str | None
    """The module that gave the last grid itself."""


def _traced(network: nn.Module, architecture: str, size: tuple[int, ...]) -> _Trace:
    called: dict[str, tuple[int, ...] | None] = {}
    outputs: dict[str, Any] = {}
    hooks = []
    for name, module in network.named_modules():
        if name:
            hooks.append(module.register_forward_hook(_recorder(name, called, outputs)))
    network.eval()
    try:
        with torch.no_grad():
            grid = network.forward_features(torch.empty(1, *size, device="meta"))  # type: ignore[operator]
            grid_layer = next((name for name in reversed(outputs) if outputs[name] is grid), None)
            features_ND = network.forward_head(grid, pre_logits=True)  # type: ignore[operator]
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise _unusable(architecture, f"it has no features that can be followed ({error})") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(grid, Tensor) or grid.ndim not in (3, 4) or features_ND.ndim != 2:
        raise _unusable(architecture, "its features are neither a map nor tokens")
    return _Trace(features_ND.shape[1], tuple(grid.shape), called, grid_layer)


def _recorder(name: str, called: dict[str, tuple[int, ...] | None], outputs: dict[str, Any]) -> Any:
    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        called.pop(name, None)
        called[name] = tuple(output.shape) if isinstance(output, Tensor) else None
        outputs.pop(name, None)
        outputs[name] = output

    return record


def _pooling(network: nn.Module, grid_shape: tuple[int, ...]) -> Literal["token", "mean", "own"]:
    """Whether the feature is the class token, or the mean over positions, and nothing else; tried on random features.

    The head's parameters, where it has any, are left as the memory had them: a head that uses one gives another value.
    """
    network.to_empty(device="cpu")
    grid = torch.rand(2, *grid_shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled_ND = network.forward_head(grid, pre_logits=True)  # type: ignore[operator]
    if grid.ndim == 3:
        mean_ND = grid[:, int(getattr(network, "num_prefix_tokens", 0)) :].mean(dim=1)
    else:
        mean_ND = grid.mean(dim=(1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else (2, 3))
    if pooled_ND.shape != mean_ND.shape:
        return "own"
    if torch.allclose(pooled_ND, mean_ND, atol=1e-5):
        return "mean"
    return "token" if grid.ndim == 3 and torch.equal(pooled_ND, grid[:, 0]) else "own"


def _gradcam_layer(network: nn.Module, traced: _Trace) -> str:
    """Return the last layer whose whole grid reaches the feature."""
    blocks = [name for name in traced.called if re.fullmatch(r"blocks\.\d+\.norm1", name)]
    if blocks and getattr(network, "global_pool", None) == "token":
        return blocks[-1]
    if traced.grid_layer is not None:
        return traced.grid_layer
    same_shape = [name for name, shape in traced.called.items() if shape == traced.grid_shape]
    return same_shape[-1] if same_shape else ""


def _lora_targets(network: nn.Module, architecture: str, called: Mapping[str, Any]) -> tuple[str, ...]:
    """Return queries, keys, values, outputs and the patch convolution; without attention, the dense layers."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    all_names = [name for name, _ in network.named_modules()]
    usable = {name: module for name, module in layers.items() if name in called and _has_matrix(module)}
    attention = [name for name in usable if _ATTENTION_LAYER.fullmatch(name)]
    chosen = [*attention, *(name for name in usable if name == "patch_embed.proj")] if attention else _dense(usable)
    targets: list[str] = []
    for name in chosen:
        target = _shortest_name(name, all_names, usable, n_least=2 if attention else 1)
        whole = not target.endswith(".qkv") or not isinstance(layers[name], nn.Linear)
        targets += [target] if whole else [f"{target}.{letter}" for letter in "qkv"]
    if not targets:
        raise _unusable(architecture, "it has no layer that LoRA could adapt")
    return tuple(dict.fromkeys(targets))


def _shortest_name(name: str, all_names: list[str], usable: Mapping[str, Any], n_least: int) -> str:
    """Return the fewest last components that mean usable layers only and begin with no number."""
    parts = name.split(".")
    for n_shown in range(n_least, len(parts)):
        target = ".".join(parts[-n_shown:])
        matched = [other for other in all_names if other == target or other.endswith(f".{target}")]
        if not parts[-n_shown].isdigit() and all(other in usable for other in matched):
            return target
    return name


def _has_matrix(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _dense(layers: Mapping[str, Any]) -> list[str]:
    """Return linear layers and pointwise convolutions; all layers where these hold little of the network."""
    dense = [name for name, layer in layers.items() if getattr(layer, "kernel_size", (1, 1)) == (1, 1)]
    n_dense, n_all = (sum(layers[name].weight.numel() for name in names) for names in (dense, layers))
    return dense if n_dense > n_all / 4 else list(layers)


def _unusable(architecture: str, reason: str) -> PackageError:
    return PackageError(
        f"The network {architecture} of timm cannot be used: {reason}.",
        hint="Choose another network or pooling; vision transformers and most convolutional networks of timm work.",
        code="backbone.config",
    )
