"""How the learning rates change over a run: warm-up, then constant or cosine. A function of the step alone."""

from __future__ import annotations

import math

import torch

from trainer.config import RateConfig


def rate_factor(step: int, n_steps: int, config: RateConfig) -> float:
    """Return what the learning rates are multiplied with at a step.

    Parameters
    ----------
    step
        Steps taken so far, from 0.
    n_steps
        Steps of the longest run that the configuration allows; the cosine ends there.
    config
        The first `warmup_steps` steps rise linearly, the last of them to the full rate. After them the cosine of
        Loshchilov and Hutter (SGDR, Eq. 5, one period) falls from 1 to `final_share`.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return 1.0
    done = min(1.0, (step - config.warmup_steps) / max(1, n_steps - config.warmup_steps))
    return config.final_share + (1.0 - config.final_share) * 0.5 * (1.0 + math.cos(math.pi * done))


class RateSchedule:
    """Sets the optimiser's rates before every step; its whole state is the number of steps taken.

    Parameters
    ----------
    optimiser
        Its groups' rates at this moment are the full ones.
    config, n_steps
        See `rate_factor`.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, config: RateConfig, n_steps: int) -> None:
        self._optimiser = optimiser
        self._full = [float(group["lr"]) for group in optimiser.param_groups]
        self._config = config
        self._n_steps = n_steps

    def set_for(self, step: int) -> None:
        """Set the rates that step number `step`, from 0, is taken with."""
        factor = rate_factor(step, self._n_steps, self._config)
        for group, full in zip(self._optimiser.param_groups, self._full, strict=True):
            group["lr"] = full * factor
