"""What was drawn for one study: all that is needed to make the same volume again. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.config import AugmentConfig

Triple = tuple[float, float, float]

_SALT = 3
_SEEDS = 2**31


@dataclass(frozen=True)
class AugmentParameters:
    """One draw; axes are slice, row, column.

    Attributes
    ----------
    elastic_alpha, elastic_sigma, elastic_seed
        Strength and smoothness in millimetres, and the seed of the field.
    rotation_rad, scale, mirror
        Per axis.
    brightness, noise_variance, noise_seed
        Factor, variance, and the seed of the noise, on windowed values.
    """

    elastic_alpha: float
    elastic_sigma: float
    elastic_seed: int
    rotation_rad: Triple
    scale: Triple
    mirror: tuple[bool, bool, bool]
    brightness: float
    noise_variance: float
    noise_seed: int


def draw_parameters(config: AugmentConfig, seed: int, epoch: int, place: int) -> AugmentParameters:
    """Draw for what stands at a place of an epoch's order; the same arguments give the same numbers on any machine."""
    random = np.random.default_rng([seed, epoch, place, _SALT])
    angles = random.uniform(-config.rotation_rad, config.rotation_rad, 3)
    scales = random.uniform(*config.scale, 3)
    mirrored = random.random(3) < config.mirror
    return AugmentParameters(
        elastic_alpha=float(random.uniform(*config.elastic_alpha)),
        elastic_sigma=float(random.uniform(*config.elastic_sigma)),
        elastic_seed=int(random.integers(_SEEDS)),
        rotation_rad=(float(angles[0]), float(angles[1]), float(angles[2])),
        scale=(float(scales[0]), float(scales[1]), float(scales[2])),
        mirror=(bool(mirrored[0]), bool(mirrored[1]), bool(mirrored[2])),
        brightness=float(random.uniform(*config.brightness)),
        noise_variance=float(random.uniform(*config.noise_variance)),
        noise_seed=int(random.integers(_SEEDS)),
    )
