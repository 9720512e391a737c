"""The processes that train one model together; here the team of one. See `trainer.accelerated` for several."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn


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
