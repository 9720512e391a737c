"""The processes that train one model together; here the team of one. See `trainer.accelerated` for several."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from engine.errors import TrainingError


class Team(Protocol):
    """What the loop asks of the processes."""

    @property
    def rank(self) -> int:
        """This process's number; number 0 writes."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    def shared(self, model: nn.Module) -> nn.Module:
        """Return the model to call forward on: its gradients are averaged over the processes."""

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Inside the block, gradients are only added up, each process for itself."""

    def computing(self) -> AbstractContextManager[Any]:
        """Inside the block, forward passes have the precision of the run."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss."""

    def gathered(self, item: object) -> list[Any]:
        """Return every process's item, in the order of their numbers."""

    def wait(self) -> None:
        """Wait until every process is here."""


class Alone:
    """One process.

    Parameters
    ----------
    device
        Where it computes.
    """

    rank = 0
    size = 1

    def __init__(self, device: torch.device = torch.device("cpu")) -> None:
        self.device = device

    def shared(self, model: nn.Module) -> nn.Module:
        """Return the model itself."""
        return model

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Do nothing: there is nobody to share with."""
        return nullcontext()

    def computing(self) -> AbstractContextManager[Any]:
        """Compute in float32."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient."""
        loss.backward()  # type: ignore[no-untyped-call]

    def gathered(self, item: object) -> list[Any]:
        """Return the one item."""
        return [item]

    def wait(self) -> None:
        """Return: nobody else is to come."""


_REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
_REFUSED_OF_FSDP = {
    "FSDP_OFFLOAD_PARAMS": "--fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "--fsdp_activation_checkpointing",
}


@dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes
    ----------
    size
        How many processes there are.
    sharded
        Whether ``accelerate launch`` was asked for FSDP.
    """

    size: int
    sharded: bool

    @classmethod
    def of(cls, environment: Mapping[str, str], precision: str, whole: bool = False) -> Self:
        """Read what torchrun or ``accelerate launch`` left in the environment.

        Parameters
        ----------
        environment
            Such as `os.environ`.
        precision
            What the configuration of the run says.
        whole
            Whether the run trains all of the backbone.

        Raises
        ------
        TrainingError
            If the launcher was asked for something that the trainer would not do: nothing is left out without a word.
        """
        size, sharded = int(environment.get("WORLD_SIZE", "1")), _on(environment, "ACCELERATE_USE_FSDP")
        asked = [name for key, name in _REFUSED.items() if _on(environment, key)]
        asked += [name for key, name in _REFUSED_OF_FSDP.items() if sharded and _on(environment, key)]
        if asked:
            raise _not_done(
                f"{' and '.join(asked)}, which the trainer does not use",
                "Start it with torchrun, or with accelerate launch and --multi_gpu, or --use_fsdp without its options.",
            )
        said = environment.get("ACCELERATE_MIXED_PRECISION", "no")
        if said not in ("no", precision):
            raise _not_done(
                f"the precision {said}, but the run's configuration says {precision}",
                f'Say precision = "bf16" in the section end_to_end, and leave --mixed_precision {said} out.',
            )
        if sharded and size == 1:
            raise _not_done(
                "FSDP, but there is only one process to cut the backbone for",
                "Say --num_processes with 2 or more, or leave --use_fsdp out.",
            )
        if sharded and whole:
            raise _not_done(
                "FSDP, which cuts a backbone's frozen weights here, but the run trains them all",
                "Leave --use_fsdp out, so that every process holds the backbone, or train it with LoRA.",
            )
        return cls(size, sharded)


def _on(environment: Mapping[str, str], key: str) -> bool:
    return environment.get(key, "false").lower() in ("true", "1", "yes")


def _not_done(what: str, hint: str) -> TrainingError:
    return TrainingError(f"accelerate launch was asked for {what}.", hint=hint, code="training.launch")
