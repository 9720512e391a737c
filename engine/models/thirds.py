"""A fused qkv layer seen as separate layers, so that each can have an adapter of its own.

Legend: I features in, O features out; ``...`` any leading axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PARTS = {"qkv": ("q", "k", "v"), "kv": ("k", "v")}
"""Names of the parts, in the order of their rows, of the fused layers that can be taken apart."""


class PartLinear(nn.Linear):
    """The rows of a fused layer that make one of its parts, with no tensor of its own.

    peft takes it for the linear layer that it stands for and adds the adapter's output to what `forward` returns. That
    is the part of the fused layer's output, computed already: the sum cannot differ from the fused layer by a rounding.
    """

    def __init__(self, fused: nn.Linear, index: int, n_parts: int) -> None:
        nn.Module.__init__(self)
        self.in_features = fused.in_features
        self.out_features = fused.out_features // n_parts
        # In a tuple, so that torch does not list the fused layer's tensors a second time.
        self._owner = (fused,)
        self._rows = slice(index * self.out_features, (index + 1) * self.out_features)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The part's rows (O, I), a view of the fused layer's weight."""
        return self._owner[0].weight[self._rows]

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The part's rows (O,) of the bias, a view; None where the fused layer has none."""
        bias = self._owner[0].bias
        return None if bias is None else bias[self._rows]

    def forward(self, x: Tensor, output: Tensor) -> Tensor:  # type: ignore[override]
        """Return the part's output, which the fused layer has computed."""
        return output


class SplitLinear(nn.Module):
    """A fused linear layer in front of which stand its parts, ``q``, ``k`` and ``v``, as sub-modules.

    The output is the fused layer's, to the bit, until a part gets an adapter.

    Parameters
    ----------
    fused
        The layer; it is kept as it is.
    names
        The parts, in the order of their rows. They divide the output features.
    """

    def __init__(self, fused: nn.Linear, names: tuple[str, ...]) -> None:
        super().__init__()
        self.fused = fused
        self.names = names
        for index, name in enumerate(names):
            self.add_module(name, PartLinear(fused, index, len(names)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the fused layer's output with the parts' adapters added, (..., I) → (..., O)."""
        outputs = self.fused(x).chunk(len(self.names), dim=-1)
        parts = [self.get_submodule(name)(x, output) for name, output in zip(self.names, outputs, strict=True)]
        return torch.cat(parts, dim=-1)


def part_names(network: nn.Module) -> dict[str, str]:
    """Return the parts that whole fused layers can be taken into, each with the layer's name:
    ``blocks.0.attn.qkv.q`` → ``blocks.0.attn.qkv``.

    A layer whose rows its parts do not divide has none.
    """
    found: dict[str, str] = {}
    for name, module in network.named_modules():
        parts = PARTS.get(name.rpartition(".")[2], ())
        if parts and isinstance(module, nn.Linear) and module.out_features % len(parts) == 0:
            found |= {f"{name}.{part}": name for part in parts}
    return found


def split(network: nn.Module, fused_name: str) -> None:
    """Put a `SplitLinear` in the place of a fused layer.

    Raises
    ------
    TypeError
        If it is no linear layer.
    """
    fused = network.get_submodule(fused_name)
    if not isinstance(fused, nn.Linear):
        raise TypeError(f"{fused_name} is a {type(fused).__name__}, not a linear layer")
    parent_name, _, child = fused_name.rpartition(".")
    setattr(network.get_submodule(parent_name), child, SplitLinear(fused, PARTS[child]))
