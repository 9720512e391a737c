"""LoRA on the backbone itself, through peft (the paper's section 2.2: rank 8, α 16).

A target is the end of a module's name, whole components of it: ``attn.proj`` means that layer in every block. On a
fused layer, ``attn.qkv`` means one adapter on all of it, ``attn.qkv.q``, ``attn.qkv.k`` and ``attn.qkv.v`` one on each
third.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from engine.errors import PackageError
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone
from engine.models.backbones.spec import BackboneSpec
from engine.models.manifest import LoraReference
from engine.models.package import LoadedPackage
from engine.models.settings import LoraSettings
from engine.models.thirds import part_names, split

ADAPTER_NAME = "default"
_MARKERS = (".lora_A.", ".lora_B.")
_ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def apply_lora(backbone: Backbone, settings: LoraSettings) -> None:
    """Add trainable low-rank adapters to the backbone's targets, in place.

    The adapters' second factor starts at zero, so that the outputs do not change at first, to the bit.

    Raises
    ------
    PackageError
        If a target matches no module or one that cannot be adapted, the network computes without calling a module
        that is to be adapted, or adapters are there already. The network is then as it was.
    """
    inject_lora(backbone.network, backbone.spec, settings)
    backbone.eval()


def inject_lora(network: nn.Module, spec: BackboneSpec, settings: LoraSettings) -> None:
    """Do what `apply_lora` does to a bare network, which may lie on the meta device. Raises PackageError as that."""
    if network_adapters(network):
        raise _lora_error(spec, "it has adapters already", "twice")
    modules = _adapted_modules(network, spec, settings)
    _require_in_path(network, spec, modules)
    parts = part_names(network)
    for fused in {parts[name]: None for name in modules if name in parts}:
        split(network, fused)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        # peft reads the patterns as regular expressions.
        rank_pattern={re.escape(name): rank for name, rank in settings.rank_pattern.items()},
        alpha_pattern={re.escape(name): alpha for name, alpha in settings.alpha_pattern.items()},
        target_modules=list(modules),
        lora_dropout=0.0,
        bias="none",
    )
    inject_adapter_in_model(config, network, adapter_name=ADAPTER_NAME)


def targets_of(spec: BackboneSpec, settings: LoraSettings) -> tuple[str, ...]:
    """Return the targets that the settings mean for this backbone: their own, else the spec's."""
    return settings.targets if settings.targets is not None else spec.lora_targets


def matched_modules(backbone: Backbone, target: str) -> tuple[str, ...]:
    """Return the names of the network's modules, or parts of fused ones, that one LoRA target means."""
    return tuple(name for name in module_names(backbone.network) if ends_in(name, target))


def module_names(network: nn.Module) -> list[str]:
    """Return what a target can mean: the names of all modules, and of the parts of fused ones."""
    return [*dict(network.named_modules()), *part_names(network)]


def ends_in(name: str, target: str) -> bool:
    """Whether whole last components of the module's name are the target."""
    return name == target or name.endswith(f".{target}")


def lora_reference(backbone: Backbone, settings: LoraSettings) -> LoraReference:
    """Return what a manifest states of the backbone's adapters; the targets are written out."""
    written_out = settings.model_copy(update={"targets": targets_of(backbone.spec, settings)})
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter_state(backbone).items()}
    return LoraReference(settings=written_out, tensors=shapes)


def adapter_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return the adapters' tensors by name; empty where there are none."""
    return network_adapters(backbone.network)


def network_adapters(network: nn.Module) -> dict[str, Tensor]:
    """Do what `adapter_state` does, for a bare network."""
    return {
        name: tensor.detach()
        for name, tensor in network.state_dict().items()
        if any(marker in name for marker in _MARKERS)
    }


def package_backbone(package: LoadedPackage, registry: BackboneRegistry) -> Backbone:
    """Return the backbone that a package was trained on, with its adapters where it has some.

    Raises
    ------
    PackageError
        If the backbone has no weights here, or the adapters do not fit it.
    """
    manifest = package.manifest
    backbone = build_backbone(manifest.backbone.name, registry, manifest.backbone.weights_digest)
    if manifest.lora is not None:
        apply_lora(backbone, manifest.lora.settings)
        load_adapter_state(backbone, package.adapter)
    return backbone


def load_adapter_state(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Set the adapters' tensors.

    Raises
    ------
    PackageError
        If a tensor is missing, is not one of the adapters', or has another shape.
    """
    current = adapter_state(backbone)
    different = sorted(set(current) ^ set(state))
    if different:
        raise _lora_error(
            backbone.spec, f"missing or unexpected adapter tensors: {', '.join(different[:5])}", "tensors"
        )
    misshapen = [name for name, tensor in state.items() if tensor.shape != current[name].shape]
    if misshapen:
        raise _lora_error(backbone.spec, f"wrong shape: {', '.join(misshapen[:5])}", "tensors")
    backbone.network.load_state_dict(dict(state), strict=False)


def _adapted_modules(network: nn.Module, spec: BackboneSpec, settings: LoraSettings) -> tuple[str, ...]:
    """Return the modules that the targets mean, each once; every target and every pattern must mean some."""
    targets = targets_of(spec, settings)
    names = module_names(network)
    matches = {target: [name for name in names if ends_in(name, target)] for target in targets}
    unmatched = [target for target, names in matches.items() if not names]
    if unmatched or not targets:
        raise _lora_error(spec, f"no module matches {', '.join(unmatched) or 'an empty list of targets'}", "target")
    modules = tuple(dict.fromkeys(name for found in matches.values() for name in found))
    parts = part_names(network)
    twice = sorted({parts[name] for name in modules if name in parts} & set(modules))
    if twice:
        raise _lora_error(spec, f"{twice[0]} is a target as a whole and in parts", "target")
    _require_adaptable(network, spec, settings, [name for name in modules if name not in parts])
    for pattern in {**settings.rank_pattern, **settings.alpha_pattern}:
        if not any(ends_in(name, pattern) for name in modules):
            raise _lora_error(spec, f"no adapted module matches the pattern {pattern}", "target")
    return modules


def _require_adaptable(network: nn.Module, spec: BackboneSpec, settings: LoraSettings, names: Iterable[str]) -> None:
    for name in names:
        module = network.get_submodule(name)
        if not isinstance(module, _ADAPTABLE):
            raise _lora_error(spec, f"{name} is a {type(module).__name__}, no linear layer or convolution", "target")
        if int(getattr(module, "groups", 1)) > 1:
            raise _lora_error(
                spec, f"{name} is a grouped convolution, which has no matrix of low rank to adapt", "target"
            )


def _require_in_path(network: nn.Module, spec: BackboneSpec, modules: Iterable[str]) -> None:
    """Refuse modules that the network never calls: some of timm's read a layer's weight, and pass its adapter by."""
    parts = part_names(network)
    names = dict.fromkeys(parts.get(name, name) for name in modules)
    calls = _called_modules(network, spec, names)
    mute = [name for name in names if name not in calls]
    if mute:
        reason = f"the network computes without calling {', '.join(mute[:3])}; an adapter there would change nothing"
        raise _lora_error(spec, f"{reason} ({len(mute)} of {len(names)} modules)", "bypassed")


def _called_modules(network: nn.Module, spec: BackboneSpec, names: Iterable[str]) -> set[str]:
    """Run the network once on shapes alone, or where it needs values on one black picture; the modules it called."""
    shape = (1, len(spec.mean), *spec.native_size)
    try:
        return _calls(on_meta(network), torch.zeros(shape, device="meta"), names)
    except RuntimeError:
        parameter = next(network.parameters())
        if parameter.device.type == "meta":
            return set(names)  # It has no values to run on; a network that computes is looked at when it gets adapters.
        return _calls(network, torch.zeros(shape, device=parameter.device, dtype=parameter.dtype), names)


def _calls(network: nn.Module, x: Tensor, names: Iterable[str]) -> set[str]:
    called: set[str] = set()
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(lambda module, inputs, name=name: called.add(name))
        for name in names
    ]
    try:
        with torch.no_grad():
            network.forward_head(network.forward_features(x), pre_logits=True)  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    return called


def on_meta(network: nn.Module) -> nn.Module:
    """Return a frozen copy that has the shapes of all tensors and the values of none: it costs no memory."""
    memo: dict[int, object] = {}
    for module in network.modules():
        for tensor in (*module.parameters(recurse=False), *vars(module).values()):
            if isinstance(tensor, nn.Parameter):
                memo[id(tensor)] = nn.Parameter(tensor.detach().to("meta"), requires_grad=False)
            elif isinstance(tensor, Tensor):
                memo[id(tensor)] = tensor.detach().to("meta")
        for buffer in module.buffers(recurse=False):
            memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(network, memo)


def _lora_error(spec: BackboneSpec, reason: str, code: str) -> PackageError:
    return PackageError(
        f"LoRA cannot be applied to {spec.display_name}: {reason}.",
        hint="Use a model package that was made for this backbone.",
        code=f"lora.{code}",
    )
