"""An exponential moving average of the weights (Polyak averaging as it is used with AdamW); off unless asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a model's trainable parameters: a ← d·a + (1 − d)·w after every step.

    Parameters
    ----------
    model
        The average starts at its weights.
    decay
        d, between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.weights = {name: value.detach().clone() for name, value in self._trained()}

    def update(self) -> None:
        """Take the present weights in."""
        with torch.no_grad():
            for name, value in self._trained():
                self.weights[name].lerp_(value, 1.0 - self._decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set the average; the names must be its own."""
        for name, value in self.weights.items():
            value.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the average inside the block, and its own weights again after it."""
        own = {name: value.detach().clone() for name, value in self._trained()}
        self._put(self.weights)
        try:
            yield
        finally:
            self._put(own)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._trained():
                value.copy_(weights[name])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self._model.named_parameters() if value.requires_grad)
