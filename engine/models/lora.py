"""LoRA on the backbone itself, through peft (the paper's section 2.2: rank 8, α 16)."""

from __future__ import annotations

from collections.abc import Mapping

from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from engine.errors import PackageError
from engine.models.backbones.network import Backbone
from engine.models.settings import LoraSettings

ADAPTER_NAME = "default"
_MARKERS = (".lora_A.", ".lora_B.")


def apply_lora(backbone: Backbone, settings: LoraSettings) -> None:
    """Add trainable low-rank adapters to the backbone's targets, in place.

    The adapters' second factor starts at zero, so that the outputs do not change at first, to the bit.

    Raises
    ------
    PackageError
        If one of the spec's targets matches no module, or adapters are there already.
    """
    if adapter_state(backbone):
        raise _lora_error(backbone, "it has adapters already", "twice")
    unmatched = [target for target in backbone.spec.lora_targets if not matched_modules(backbone, target)]
    if unmatched or not backbone.spec.lora_targets:
        raise _lora_error(backbone, f"no module matches {', '.join(unmatched) or 'an empty list of targets'}", "target")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(backbone.spec.lora_targets),
        lora_dropout=0.0,
        bias="none",
    )
    inject_adapter_in_model(config, backbone.network, adapter_name=ADAPTER_NAME)
    backbone.eval()


def matched_modules(backbone: Backbone, target: str) -> tuple[str, ...]:
    """Return the names of the network's modules that one LoRA target means."""
    return tuple(name for name, _ in backbone.network.named_modules() if name == target or name.endswith(f".{target}"))


def adapter_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return the adapters' tensors by name; empty where there are none."""
    return {
        name: tensor.detach()
        for name, tensor in backbone.network.state_dict().items()
        if any(marker in name for marker in _MARKERS)
    }


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
        raise _lora_error(backbone, f"missing or unexpected adapter tensors: {', '.join(different[:5])}", "tensors")
    misshapen = [name for name, tensor in state.items() if tensor.shape != current[name].shape]
    if misshapen:
        raise _lora_error(backbone, f"wrong shape: {', '.join(misshapen[:5])}", "tensors")
    backbone.network.load_state_dict(dict(state), strict=False)


def _lora_error(backbone: Backbone, reason: str, code: str) -> PackageError:
    return PackageError(
        f"LoRA cannot be applied to {backbone.spec.display_name}: {reason}.",
        hint="Use a model package that was made for this backbone.",
        code=f"lora.{code}",
    )
