"""What a benchmark is: frozen, complete, unknown keys refused. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from engine.config import FrozenConfig
from engine.models.settings import LoraSettings, MoLRESettings
from engine.preprocess.spec import PreprocessSpec
from trainer.config import (
    AugmentConfig,
    CohortConfig,
    EndToEndConfig,
    LossConfig,
    OptimiserConfig,
    PhantomCohortConfig,
    RateConfig,
    ReferenceConfig,
    SamplingConfig,
    ScheduleConfig,
    TrainConfig,
)
from trainer.statistics.bootstrap import BootstrapSettings

Arm = Literal["head", "molre", "single", "lora", "lora_molre", "lora_single"]
MAX_SEEDS = 100


@dataclass(frozen=True)
class Block:
    """Arms that are held against each other: the same backbone, frozen or with LoRA.

    Attributes
    ----------
    base, molre, single
        Without adaptation of the features, with the mixture, and with one adapter of the mixture's size.
    """

    key: str
    title: str
    base: Arm
    molre: Arm
    single: Arm

    @property
    def arms(self) -> tuple[Arm, Arm, Arm]:
        """All three."""
        return (self.base, self.molre, self.single)


BLOCKS = (
    Block("frozen", "Frozen backbone, features computed once", "head", "molre", "single"),
    Block("lora", "LoRA in the backbone, trained end to end", "lora", "lora_molre", "lora_single"),
)
LORA_ARMS = frozenset(BLOCKS[1].arms)
MIXTURE_ARMS = frozenset(block.molre for block in BLOCKS)
SINGLE_ARMS = frozenset(block.single for block in BLOCKS)


class BackboneChoice(FrozenConfig):
    """A backbone by its registered name; `preprocessing` goes before the benchmark's and the backbone's own."""

    name: str = Field(min_length=1)
    preprocessing: PreprocessSpec | None = None

    @property
    def slug(self) -> str:
        """The name as a part of a path and of a run's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


class BenchmarkConfig(FrozenConfig):
    """Backbones × arms × seeds on one cohort; whatever is not said is as in `trainer.config.TrainConfig`.

    Attributes
    ----------
    arms
        ``head``: frozen backbone, attention pooling and head. ``molre``: the same with the mixture on the features.
        ``single``: with one low-rank adapter of the mixture's size in its place. ``lora``, ``lora_molre``,
        ``lora_single``: the same three with LoRA in the backbone, trained end to end.
    seeds
        Of the runs; each arm has one run a seed.
    workers, threads
        Processes that prepare and compute features, and threads of a run; neither is in a digest.
    shards
        Folder of the prepared cohort, which benchmarks and trainings may share; None keeps it under the output folder.
        What is missing there is prepared there. It is in no digest.
    adapters
        A model package of the one backbone named, whose LoRA adapters the backbone carries in all arms, as they are:
        what the arms are held against each other on is then an adapted backbone, without training it in each run. The
        package must not have learnt from the test studies. None: the backbone is as published.
    molre
        Of the arms with a mixture; the control's rank follows from it.
    augment, lora, end_to_end
        Of the arms with LoRA; `end_to_end.studies_per_shard` is also how the cohort lies in shards.
    bootstrap
        Resamples for the intervals of mean differences.
    """

    cohort: CohortConfig = PhantomCohortConfig()
    backbones: tuple[BackboneChoice, ...] = Field(min_length=1)
    arms: tuple[Arm, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1, max_length=MAX_SEEDS)
    workers: PositiveInt = 1
    threads: PositiveInt | None = None
    shards: Path | None = None
    adapters: Path | None = None
    preprocessing: PreprocessSpec | None = None
    molre: MoLRESettings = MoLRESettings()
    lora: LoraSettings = LoraSettings()
    augment: AugmentConfig | None = None
    end_to_end: EndToEndConfig = EndToEndConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    rate: RateConfig = RateConfig()
    sampling: SamplingConfig = SamplingConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    bootstrap: BootstrapSettings = BootstrapSettings()

    @field_validator("arms", "seeds")
    @classmethod
    def _each_once(cls, values: Sequence[Any]) -> Sequence[Any]:
        twice = sorted({str(value) for value in values if list(values).count(value) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return values

    @field_validator("backbones")
    @classmethod
    def _names_apart(cls, backbones: tuple[BackboneChoice, ...]) -> tuple[BackboneChoice, ...]:
        by_slug: dict[str, str] = {}
        for choice in backbones:
            if choice.slug in by_slug:
                raise ValueError(f"{by_slug[choice.slug]} and {choice.name} would be one name of a folder")
            by_slug[choice.slug] = choice.name
        return backbones

    @field_validator("seeds")
    @classmethod
    def _seeds_are_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= seed < 2**31 for seed in seeds):
            raise ValueError("a seed lies between 0 and 2147483647")
        return seeds

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse pairs that cannot be meant together, naming both keys."""
        arms = set(self.arms)
        for name in ("lora", "augment"):
            if name in self.model_fields_set and not arms & LORA_ARMS:
                raise ValueError(f"the section {name} needs one of the arms {', '.join(BLOCKS[1].arms)}")
        if "molre" in self.model_fields_set and not arms & (MIXTURE_ARMS | SINGLE_ARMS):
            raise ValueError("the section molre needs an arm with MoLRE")
        if self.adapters is not None and (arms & LORA_ARMS or len(self.backbones) > 1):
            raise ValueError("adapters needs one backbone, and no arm that trains LoRA of its own")
        if arms & MIXTURE_ARMS and self.molre.n_experts < 2:
            raise ValueError("molre.n_experts must be 2 or more: one expert is what the arm single is")
        for block in BLOCKS:
            if block.single in arms and block.molre not in arms:
                raise ValueError(f"the arm {block.single} is the control of {block.molre}, which arms does not name")
        self.train_config(self.backbones[0], self.arms[0], self.seeds[0], None)
        return self

    def train_config(self, backbone: BackboneChoice, arm: Arm, seed: int, molre: MoLRESettings | None) -> TrainConfig:
        """Return one run; `molre` are the sizes of what stands on the features, which the arm decides.

        The reference cohort plays no part: a benchmark writes no package.
        """
        adapted = arm in LORA_ARMS
        values: dict[str, Any] = {
            "name": f"{backbone.slug[:40]}-{arm.replace('_', '-')}-{seed}",
            "mode": "end_to_end" if adapted else "cached",
            "seed": seed,
            "backbone": backbone.name,
            "workers": self.workers,
            "threads": self.threads,
            "cohort": self.cohort,
            "molre": molre,
            "loss": self.loss,
            "optimiser": self.optimiser,
            "rate": self.rate,
            "sampling": self.sampling,
            "schedule": self.schedule,
            "reference": ReferenceConfig(n_replay=0, n_calibrate=0, n_heldout=1),
        }
        preprocessing = backbone.preprocessing or self.preprocessing
        if preprocessing is not None:
            values["preprocessing"] = preprocessing
        if adapted:
            values |= {"lora": self.lora, "augment": self.augment, "end_to_end": self.end_to_end}
        return TrainConfig.model_validate(values)


def molre_parameters(settings: MoLRESettings, width: int) -> int:
    """Return how many parameters of a mixture can change its output: experts, and the router where it routes.

    The softmax of a single expert's logit is 1 whatever the router holds: its output and gradients do not depend on
    the router, which is dead weight and counts nothing.

    Parameters
    ----------
    width
        d, the backbone's feature width.
    """
    experts = 2 * settings.n_experts * settings.rank * width
    if settings.n_experts == 1:
        return experts
    return experts + (width + 1) * settings.hidden + (settings.hidden + 1) * settings.n_experts


def single_adapter(settings: MoLRESettings, width: int) -> MoLRESettings:
    """Return the control of a mixture: one adapter whose rank gives it the mixture's parameters, router included.

    A rank adds 2 d parameters, so the nearest rank is at most d parameters off. The router of a mixture of one must be
    there but does nothing (see `molre_parameters`); it is given the smallest width.

    Raises
    ------
    ValueError
        If that rank is more than an adapter may have.
    """
    rank = max(1, round(molre_parameters(settings, width) / (2 * width)))
    return MoLRESettings(n_experts=1, rank=rank, hidden=1)


def blocks_of(config: BenchmarkConfig) -> tuple[Block, ...]:
    """Return the blocks of which there is an arm."""
    return tuple(block for block in BLOCKS if set(block.arms) & set(config.arms))


ARM_TITLES: Mapping[Arm, str] = {
    "head": "head only",
    "molre": "MoLRE",
    "single": "single adapter",
    "lora": "LoRA",
    "lora_molre": "LoRA + MoLRE",
    "lora_single": "LoRA + single adapter",
}
