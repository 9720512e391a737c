"""Several processes through Hugging Face accelerate: started by ``torchrun`` or ``accelerate launch``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from trainer.sharding import average_gradients, shard_frozen

MixedPrecision = Literal["no", "bf16"]
_PATIENCE = timedelta(days=7)
"""How long processes wait for the first, which may be preparing a cohort."""


class AcceleratedTeam:
    """What `trainer.team.Team` asks, by an `Accelerator`.

    Parameters
    ----------
    device
        ``cpu`` keeps to the CPU (gloo); anything else leaves the choice to accelerate.
    precision
        Of the forward passes.
    sharded
        Whether a model's ``backbone`` is cut over the processes, see `trainer.sharding`; what ``accelerate launch
        --use_fsdp`` asks for. Of accelerate only the start of the processes is used for it: its own FSDP would cut
        what trains as well, and refuses to be where there is no GPU.
    """

    def __init__(self, device: str = "auto", precision: MixedPrecision = "no", sharded: bool = False) -> None:
        self._sharded = sharded
        self._apart = False
        self._model: nn.Module | None = None
        if sharded:
            os.environ.pop("ACCELERATE_USE_FSDP", None)  # Else the Accelerator would make its own.
        waiting = InitProcessGroupKwargs(timeout=_PATIENCE)
        self._accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=[waiting])

    @property
    def rank(self) -> int:
        """This process's number."""
        return int(self._accelerator.process_index)

    @property
    def size(self) -> int:
        """How many processes there are."""
        return int(self._accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self._accelerator.device
        return device

    def shared(self, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training; where it is sharded it is changed in place."""
        if self._sharded:
            model.add_module("sharding", shard_frozen(model.get_submodule("backbone"), self.device))
            self._model = model
            return model
        wrapped: nn.Module = self._accelerator.prepare_model(model)
        return wrapped

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Inside the block, gradients are not exchanged."""
        if self._sharded:
            return self._not_averaging()
        context: AbstractContextManager[Any] = self._accelerator.no_sync(model)
        return context

    def computing(self) -> AbstractContextManager[Any]:
        """Inside the block, forward passes have the precision of the run."""
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradient."""
        self._accelerator.backward(loss)
        if self._model is not None and not self._apart:
            average_gradients(self._model)

    @contextmanager
    def _not_averaging(self) -> Iterator[None]:
        self._apart = True
        try:
            yield
        finally:
            self._apart = False

    def gathered(self, item: object) -> list[Any]:
        """Return every process's item, in the order of their numbers."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def wait(self) -> None:
        """Wait until every process is here."""
        self._accelerator.wait_for_everyone()
