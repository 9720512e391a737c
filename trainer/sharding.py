"""A backbone's frozen weights cut over the processes (FSDP2), for networks that do not fit each of them whole.

What trains (adapters, MoLRE, pooling, head) is small: every process keeps all of it, so that the optimiser, checkpoints
and averages are those of any other run, and gradients are averaged as with DDP. A block's frozen weights are brought
together when it computes, forward and backward, and let go again; while nothing trains they stay together, because the
processes then measure unequal numbers of studies, and the first one alone computes what is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard_frozen(backbone: nn.Module, device: torch.device) -> _Together:
    """Cut the frozen weights of a network over all processes, in place.

    Parameters
    ----------
    backbone
        The same in every process; called as a whole. Parameters that train are left as they are.
    device
        Where this process computes.

    Returns
    -------
    nn.Module
        To be made a child of the model that has the backbone, so that it hears of `train` and `eval`.
    """
    for parameter in backbone.parameters():
        # FSDP2 cuts along the first dimension and takes no other order of the rest, such as channels last.
        parameter.data = parameter.data.contiguous()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    trained = {parameter for parameter in backbone.parameters() if parameter.requires_grad}
    units = [*_blocks(backbone), backbone]
    for unit in units:
        fully_shard(unit, mesh=mesh, ignored_params=trained)
    return _Together([unit for unit in units if isinstance(unit, FSDPModule)])


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of the outermost sequences that hold frozen weights: what is brought together at once."""
    for child in module.children():
        if not isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child)
            continue
        for member in child:
            if isinstance(member, nn.ModuleList):
                yield from _blocks(member)
            elif any(not parameter.requires_grad for parameter in member.parameters()):
                yield member


class _Together(nn.Module):
    """A child without parameters that hears of `train` and `eval`, which every process calls at the same place."""

    def __init__(self, units: list[FSDPModule]) -> None:
        super().__init__()
        self._units = units

    def train(self, mode: bool = True) -> Self:
        """Let the weights be cut while the model trains, and whole while it does not."""
        for unit in self._units:
            unit.set_reshard_after_forward(mode)
            if mode:
                unit.reshard()
            else:
                unit.unshard()
        return super().train(mode)


def average_gradients(model: nn.Module) -> None:
    """Average over the processes what `backward` has added up in each; every process must have the same gradients."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    whole = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(whole)
    whole /= dist.get_world_size()
    for gradient, mean in zip(gradients, torch.split(whole, [item.numel() for item in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
