"""AdamW with a learning rate and a weight decay for each part, and the gradient's length.

The paper, section 2.2: 1e-3 for the classification head, 1e-4 for LoRA and MoLRE. A backbone that trains whole is a
part of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from engine.errors import TrainingError
from trainer.config import OptimiserConfig

PARTS = ("molre", "pooling", "fusion", "head", "lora", "backbone")
"""The parts of a model by the first component of a parameter's name; a backbone's adapters are one, and its own
parameters another. Checkpoints number parameters in this order."""


def part_of(name: str) -> str:
    """Return the part that a parameter belongs to, by its name in a classifier or in a classifier with its backbone."""
    names = name.split(".")
    if names[0] == "backbone":
        return "lora" if {"lora_A", "lora_B"} & set(names) else "backbone"
    return names[1] if names[0] == "classifier" else names[0]


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], config: OptimiserConfig
) -> list[dict[str, object]]:
    """Return the groups of AdamW: every trainable parameter is in exactly one, parts without any are left out.

    Parameters
    ----------
    parameters
        Names and parameters of the model.
    config
        Rates and decays; a decay that is None is `weight_decay`.
    """
    groups: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups[part_of(name)].append(parameter)
    return [
        {"params": members, "lr": config.learning_rate(part), "weight_decay": config.decay(part)}
        for part, members in groups.items()
        if members
    ]


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter, ICLR 2019) over the model's trainable parameters."""
    return torch.optim.AdamW(parameter_groups(model.named_parameters(), config))


def clip_gradients(parameters: Iterable[nn.Parameter], longest: float | None, studies: Iterable[str]) -> float | None:
    """Shorten the gradient, all parameters together, to at most `longest`; return its length before, None without one.

    Raises
    ------
    TrainingError
        If its length is not finite: the step would spoil every weight; the studies of the step are named.
    """
    if longest is None:
        return None
    length = float(nn.utils.clip_grad_norm_(list(parameters), longest))
    if length != length or length == float("inf"):
        named = list(studies)
        raise TrainingError(
            f"The gradient is not finite for a batch with {', '.join(named[:3])}"
            f"{f' and {len(named) - 3} more' if len(named) > 3 else ''}; training stopped before the weights changed.",
            hint="Lower the learning rates, or leave these studies out.",
            code="training.non_finite_gradient",
        )
    return length
