"""From a raw logit to a calibrated probability, per finding. No torch here."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, RootModel

from engine.config import FrozenConfig


class Temperature(FrozenConfig):
    """Sigmoid of the logit divided by a temperature."""

    method: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0)

    def probability(self, logit: float) -> float:
        """Return the calibrated probability."""
        return sigmoid(logit / self.temperature)

    @property
    def line(self) -> tuple[float, float]:
        """Slope and intercept on the logit, before the sigmoid."""
        return 1.0 / self.temperature, 0.0


class Platt(FrozenConfig):
    """Sigmoid of ``slope * logit + intercept``."""

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    intercept: float

    def probability(self, logit: float) -> float:
        """Return the calibrated probability."""
        return sigmoid(self.slope * logit + self.intercept)

    @property
    def line(self) -> tuple[float, float]:
        """Slope and intercept on the logit, before the sigmoid."""
        return self.slope, self.intercept


class Calibration(RootModel[dict[str, Annotated[Temperature | Platt, Field(discriminator="method")]]]):
    """The content of ``calibration.json``: a method per finding key; ``{}`` where nothing was calibrated."""

    def probability(self, key: str, logit: float) -> float | None:
        """Return the calibrated probability, or None where this finding has no calibration."""
        method = self.root.get(key)
        return None if method is None else method.probability(logit)


def sigmoid(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)), without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    growth = math.exp(logit)
    return growth / (1.0 + growth)
