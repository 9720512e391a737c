"""PEFT's own adapter folder: ``adapter_config.json`` and ``adapter_model.safetensors``, names ``base_model.model.*``.

PEFT knows the published network, where q, k and v are one fused layer. An adapter on each third is therefore written as
one adapter of the summed rank on the whole layer, its second factor block-diagonal, which is the same sum; reading
takes it apart again where the blocks still hold.

Legend: I features in, O features out, R rank.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine.errors import PackageError
from engine.models.lora import ADAPTER_NAME, ends_in
from engine.models.manifest import parse_json
from engine.models.settings import LoraSettings
from engine.models.thirds import PARTS

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A", ".lora_B"
# What may differ from PEFT's defaults without changing what the adapter computes; the tensors tell the target modules.
_READ = frozenset({"r", "lora_alpha", "rank_pattern", "alpha_pattern"})
_WITHOUT_EFFECT = frozenset(
    {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "megatron_core"}
    | {"loftq_config", "qalora_group_size", "lora_ga_config", "eva_config"}
)
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, eq=False)
class Factors:
    """One module's adapter: ``up @ down * alpha / rank`` is added to its weight.

    Attributes
    ----------
    down
        A, (R, I), for convolutions (R, I, *kernel), float32.
    up
        B, (O, R), for convolutions (O, R, 1, …), float32.
    alpha
        α.
    """

    down: Tensor
    up: Tensor
    alpha: int

    @property
    def rank(self) -> int:
        """R."""
        return self.down.shape[0]


def factors_by_module(settings: LoraSettings, state: Mapping[str, Tensor]) -> dict[str, Factors]:
    """Sort the adapters' tensors, as `engine.models.lora.adapter_state` gives them, by module."""
    ending = f"{_DOWN}.{ADAPTER_NAME}.weight"
    modules = [name.removesuffix(ending) for name in state if name.endswith(ending)]
    return {
        module: Factors(state[module + ending], state[f"{module}{_UP}.{ADAPTER_NAME}.weight"], _alpha(settings, module))
        for module in modules
    }


def state_of(modules: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Return the adapters' tensors under the names of `engine.models.lora.adapter_state`."""
    state: dict[str, Tensor] = {}
    for module, factors in modules.items():
        state[f"{module}{_DOWN}.{ADAPTER_NAME}.weight"] = factors.down
        state[f"{module}{_UP}.{ADAPTER_NAME}.weight"] = factors.up
    return state


def fuse_parts(modules: Mapping[str, Factors]) -> dict[str, Factors]:
    """Join the adapters on parts of a fused layer into one on the layer; the others stay as they are."""
    fused: dict[str, Factors] = {}
    for module, factors in modules.items():
        whole, _, part = module.rpartition(".")
        parts = PARTS.get(whole.rpartition(".")[2], ())
        if part not in parts:
            fused[module] = factors
        elif whole not in fused:
            fused[whole] = _joined([modules.get(f"{whole}.{name}") for name in parts])
    return fused


def split_fused(modules: Mapping[str, Factors], targets: Sequence[str]) -> dict[str, Factors]:
    """Take adapters on fused layers apart into those on the parts that `targets` mean.

    Where one of them is no longer block-diagonal, which training in PEFT brings about, all are left as they are.
    """
    apart: dict[str, Factors] = {}
    for module, factors in modules.items():
        parts = PARTS.get(module.rpartition(".")[2], ())
        wanted = [any(ends_in(f"{module}.{part}", target) for target in targets) for part in parts]
        if not any(wanted):
            apart[module] = factors
            continue
        blocks = _blocks(factors, wanted)
        if blocks is None:
            return dict(modules)
        apart |= {f"{module}.{part}": block for part, block in zip(parts, blocks, strict=True) if block is not None}
    return apart


def peft_files(modules: Mapping[str, Factors], settings: LoraSettings) -> dict[str, bytes]:
    """Return the two files of a PEFT folder, by name, for adapters that stand on layers of the published network.

    Parameters
    ----------
    modules
        By module name, after `fuse_parts`.
    settings
        Give the rank and α that most modules have; others are written as patterns.
    """
    config = {
        "peft_type": "LORA",
        "task_type": None,
        # PEFT would look a name up on its hub; which backbone it is stands in our own file beside.
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(modules),
        "rank_pattern": {name: item.rank for name, item in modules.items() if item.rank != settings.rank},
        "alpha_pattern": {name: item.alpha for name, item in modules.items() if item.alpha != settings.alpha},
    }
    tensors = {}
    for name, item in modules.items():
        tensors[f"{_PREFIX}{name}{_DOWN}.weight"] = item.down.detach().float().cpu().contiguous()
        tensors[f"{_PREFIX}{name}{_UP}.weight"] = item.up.detach().float().cpu().contiguous()
    return {
        CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
        WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
    }


def read_peft_folder(folder: Path) -> tuple[dict[str, Factors], tuple[str, ...]]:
    """Read a LoRA adapter that PEFT wrote.

    Returns
    -------
    tuple
        The adapters by module of the plain network, and the configuration's target modules where it lists them.

    Raises
    ------
    PackageError
        If a file is missing or damaged, the adapter is not a plain LoRA, or tensors and configuration do not agree.
    """
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    config = _config(config_path)
    _require_plain_lora(config, config_path)
    try:
        tensors: dict[str, Tensor] = load(_read(weights_path))
    except SafetensorError as error:
        raise peft_error(str(weights_path), "it is not a safetensors file, or it is damaged", "damaged") from error
    modules = _modules_of(tensors, config, weights_path)
    targets = config.get("target_modules")
    return modules, tuple(targets) if isinstance(targets, list) else ()


def peft_error(source: str, reason: str, code: str) -> PackageError:
    """Return the error for a PEFT folder that is not accepted."""
    return PackageError(
        f"The adapter is refused: {source}: {reason}.",
        hint="Use a plain LoRA adapter that PEFT saved for the backbone of the model; nothing of it was used.",
        code=f"adapter.{code}",
    )


def _alpha(settings: LoraSettings, module: str) -> int:
    return next((a for name, a in settings.alpha_pattern.items() if ends_in(module, name)), settings.alpha)


def _joined(parts: Sequence[Factors | None]) -> Factors:
    """Stack the first factors and lay the second ones along the diagonal; a part without an adapter gets zero rows."""
    present = [part for part in parts if part is not None]
    rank = sum(part.rank for part in present)
    rows = present[0].up.shape[0]
    # One α for all: where α / R differs between parts, or does not come out whole, the scaling goes into the factor.
    exact = len({part.alpha / part.rank for part in present}) == 1
    alpha = sum(part.alpha for part in present) if exact else rank
    up = present[0].up.new_zeros(len(parts) * rows, rank)
    column = 0
    for index, part in enumerate(parts):
        if part is not None:
            scale = 1.0 if exact else part.alpha / part.rank
            up[index * rows : (index + 1) * rows, column : column + part.rank] = part.up * scale
            column += part.rank
    return Factors(torch.cat([part.down for part in present]), up, alpha)


def _blocks(factors: Factors, wanted: Sequence[bool]) -> list[Factors | None] | None:
    """Return the part's own factors, None for a part that has none; None where they are not independent."""
    n_wanted, rows = sum(wanted), factors.up.shape[0] // len(wanted)
    if factors.rank % n_wanted or factors.alpha % n_wanted or factors.up.shape[0] % len(wanted):
        return None
    rank, rest = factors.rank // n_wanted, factors.up.clone()
    blocks: list[Factors | None] = []
    column = 0
    for index, is_wanted in enumerate(wanted):
        if not is_wanted:
            blocks.append(None)
            continue
        place = slice(index * rows, (index + 1) * rows), slice(column, column + rank)
        blocks.append(Factors(factors.down[place[1]].clone(), rest[place].clone(), factors.alpha // n_wanted))
        rest[place] = 0
        column += rank
    return None if bool(rest.any()) else blocks


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise peft_error(str(path), f"it cannot be read ({error.strerror})", "missing") from error


def _config(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        return parse_json(content, str(path))
    except PackageError as error:
        raise peft_error(str(path), "it is not a JSON object", "damaged") from error


def _require_plain_lora(config: Mapping[str, Any], path: Path) -> None:
    """Refuse every option that would change what the adapter computes and that is not read here."""
    if config.get("peft_type") != "LORA":
        raise peft_error(str(path), f"its peft_type is {config.get('peft_type')}, not LORA", "kind")
    start = config.get("init_lora_weights", True)
    defaults: dict[str, Any] = LoraConfig().to_dict()  # type: ignore[no-untyped-call]
    options = config.keys() - _READ - _WITHOUT_EFFECT - {"init_lora_weights"}
    changed = sorted(name for name in options if config[name] != defaults.get(name) and config[name])
    if not any(start == plain for plain in _PLAIN_STARTS):
        changed.append("init_lora_weights")
    if changed:
        raise peft_error(str(path), f"it uses {', '.join(changed[:5])}, which is not plain LoRA", "kind")


def _modules_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> dict[str, Factors]:
    """Pair the tensors by module, and check ranks against the configuration."""
    modules = dict.fromkeys(_module_name(name, path) for name in tensors)
    if not modules:
        raise peft_error(str(path), "it holds no tensors", "tensors")
    found = {}
    for module in modules:
        down, up = (tensors.get(f"{_PREFIX}{module}{kind}.weight") for kind in (_DOWN, _UP))
        if down is None or up is None:
            raise peft_error(str(path), f"one of the two factors of {module} is missing", "tensors")
        found[module] = _checked(module, down.float(), up.float(), config, path)
    return found


def _module_name(name: str, path: Path) -> str:
    for ending in (f"{_DOWN}.weight", f"{_UP}.weight"):
        if name.startswith(_PREFIX) and name.endswith(ending):
            return name.removeprefix(_PREFIX).removesuffix(ending)
    raise peft_error(str(path), f"{name} is no tensor of a plain LoRA adapter", "tensors")


def _checked(module: str, down: Tensor, up: Tensor, config: Mapping[str, Any], path: Path) -> Factors:
    rank = _number(config, "r", "rank_pattern", module, path)
    alpha = _number(config, "lora_alpha", "alpha_pattern", module, path)
    if down.ndim < 2 or up.ndim != down.ndim or (down.shape[0], up.shape[1]) != (rank, rank):
        reason = f"{module} has factors {list(down.shape)} and {list(up.shape)}; the configuration says rank {rank}"
        raise peft_error(str(path), reason, "shape")
    if not bool(torch.isfinite(down).all() and torch.isfinite(up).all()):
        raise peft_error(str(path), f"{module} holds values that are not finite", "not_finite")
    return Factors(down, up, alpha)


def _number(config: Mapping[str, Any], name: str, pattern_name: str, module: str, path: Path) -> int:
    """Read r or α of one module: its pattern's, else that of all; both are whole numbers here."""
    source = str(path.with_name(CONFIG_FILE))
    patterns = config.get(pattern_name) or {}
    if not isinstance(patterns, dict):
        raise peft_error(source, f"{pattern_name} is no JSON object", "config")
    try:
        key = get_pattern_key(tuple(patterns), module)
    except re.error as error:
        raise peft_error(source, f"{pattern_name} holds an expression that cannot be read", "config") from error
    # PEFT's own default where the file leaves the number out.
    value = patterns.get(key, config.get(name, 8))
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 1 or value != int(value):
        raise peft_error(source, f"{name} of {module} is {value}, no whole number", "config")
    return int(value)
