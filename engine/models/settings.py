"""Sizes of the trained parts. No torch here: manifests and configurations use them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.config import FrozenConfig


class MoLRESettings(FrozenConfig):
    """Sizes of the mixture of low-rank experts; the defaults are the paper's (section 2.2).

    Attributes
    ----------
    n_experts
        K, number of experts.
    rank
        r, rank of every expert.
    hidden
        d_h, width of the router's hidden layer.
    """

    n_experts: int = Field(default=6, ge=1, le=64)
    rank: int = Field(default=8, ge=1, le=256)
    hidden: int = Field(default=256, ge=1, le=8192)


class LoraSettings(FrozenConfig):
    """Low-rank adaptation of the backbone itself: rank and scaling α (the paper's 8 and 16).

    Attributes
    ----------
    targets
        Modules that are adapted, by their last name components; None means those of the backbone's spec.
    rank_pattern, alpha_pattern
        Other ranks and α of some modules, by their last name components; the first that fits counts.
    """

    rank: int = Field(default=8, ge=1, le=256)
    alpha: int = Field(default=16, ge=1, le=1024)
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=4096)]] = {}
    alpha_pattern: dict[str, Annotated[int, Field(ge=1, le=16384)]] = {}
