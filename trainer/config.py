"""What a training run is: frozen, complete, unknown keys refused. No torch here: the window imports this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from engine.config import FrozenConfig
from engine.errors import ConfigError
from engine.inference.calibrate import CalibrationSettings
from engine.models.backbones.spec import BackboneSpec, TrainingProtocol
from engine.models.settings import LoraSettings, MoLRESettings
from engine.phantom.spec import PhantomSpec
from engine.preprocess.spec import PreprocessSpec

DEMO_NOTICE = "Trained on synthetic phantoms, for demonstration only"
IMPORTED_NOTICE = "Trained on an imported cohort, for research only"
IMPORTED_DESCRIPTION = "MoLRE classifier trained on an imported cohort"

Split = Literal["train", "validate", "calibrate", "test"]
MAX_SPLIT = 100_000
SPLITS: tuple[Split, ...] = ("train", "validate", "calibrate", "test")


class PhantomCohortConfig(FrozenConfig):
    """How many phantoms each split holds. No seed is shared between splits or between cohort seeds."""

    kind: Literal["phantom"] = "phantom"
    seed: int = Field(default=1, ge=0, le=1_000_000)
    n_train: int = Field(default=360, ge=1, le=MAX_SPLIT)
    n_validate: int = Field(default=60, ge=1, le=MAX_SPLIT)
    n_calibrate: int = Field(default=60, ge=1, le=MAX_SPLIT)
    n_test: int = Field(default=150, ge=1, le=MAX_SPLIT)
    spec: PhantomSpec = PhantomSpec()

    def size(self, split: Split) -> int:
        """Return the number of studies in a split."""
        return {
            "train": self.n_train,
            "validate": self.n_validate,
            "calibrate": self.n_calibrate,
            "test": self.n_test,
        }[split]


class ImportedCohortConfig(FrozenConfig):
    """A cohort that ``main.py cohort`` wrote; `manifest` is its folder or ``cohort.json``.

    A relative path counts from where the program was started. Where it lies is nobody's business but the user's: only
    its name is ever written into a package.
    """

    kind: Literal["imported"] = "imported"
    manifest: Path

    @field_serializer("manifest")
    def _name_only(self, manifest: Path) -> str:
        return manifest.name


def _kind_of_cohort(value: object) -> str:
    """Tell the kinds of cohort apart; one that says nothing is the phantom's."""
    return str(value.get("kind", "phantom") if isinstance(value, dict) else getattr(value, "kind", ""))


CohortConfig = Annotated[
    Annotated[PhantomCohortConfig, Tag("phantom")] | Annotated[ImportedCohortConfig, Tag("imported")],
    Discriminator(_kind_of_cohort),
]


class LossConfig(FrozenConfig):
    """Focal loss with prevalence weights; `min_prevalence` keeps the weight of an absent finding off 0 and 1."""

    gamma: NonNegativeFloat = 2.0
    min_prevalence: float = Field(default=0.01, gt=0.0, lt=0.5)


class OptimiserConfig(FrozenConfig):
    """AdamW. The paper: 1e-3 for the classification head, 1e-4 for the adapters (LoRA in the backbone, and MoLRE).

    It does not name the rate of the pooling query, which is new like the head; hence a key of its own.

    Attributes
    ----------
    backbone_learning_rate
        Of a backbone that is trained whole; the one that Pillar-0's authors fine-tune theirs with.
    weight_decay
        Of every part that has none of its own below.
    clip_norm
        The longest gradient of a step, all parameters together; None does not clip.
    accumulate
        Into how many parts a batch is split, one after the other, where memory does not hold it whole. The gradient is
        that of the whole batch.
    average_decay
        Decay of a moving average of the weights, which then is what is validated and kept; None keeps the weights.
    """

    head_learning_rate: PositiveFloat = 1e-3
    pooling_learning_rate: PositiveFloat = 1e-3
    molre_learning_rate: PositiveFloat = 1e-4
    lora_learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.01
    head_weight_decay: NonNegativeFloat | None = None
    pooling_weight_decay: NonNegativeFloat | None = None
    molre_weight_decay: NonNegativeFloat | None = None
    lora_weight_decay: NonNegativeFloat | None = None
    backbone_learning_rate: PositiveFloat = 1e-5
    backbone_weight_decay: NonNegativeFloat | None = None
    clip_norm: PositiveFloat | None = None
    accumulate: PositiveInt = 1
    average_decay: float | None = Field(default=None, gt=0.0, lt=1.0)

    def learning_rate(self, part: str) -> float:
        """Return the rate of a part of the model: molre, pooling, fusion, head, lora or backbone."""
        return {
            "molre": self.molre_learning_rate,
            "pooling": self.pooling_learning_rate,
            "fusion": self.head_learning_rate,
            "head": self.head_learning_rate,
            "lora": self.lora_learning_rate,
            "backbone": self.backbone_learning_rate,
        }[part]

    def decay(self, part: str) -> float:
        """Return the weight decay of a part."""
        own = {
            "molre": self.molre_weight_decay,
            "pooling": self.pooling_weight_decay,
            "fusion": self.head_weight_decay,
            "head": self.head_weight_decay,
            "lora": self.lora_weight_decay,
            "backbone": self.backbone_weight_decay,
        }[part]
        return self.weight_decay if own is None else own


class RateConfig(FrozenConfig):
    """How the learning rates change over a run: `warmup_steps` linear ones, then constant or a cosine to the end.

    The cosine ends with `max_epochs` at `final_share` of the full rates.
    """

    warmup_steps: int = Field(default=0, ge=0)
    decay: Literal["constant", "cosine"] = "constant"
    final_share: float = Field(default=0.0, ge=0.0, lt=1.0)


class SamplingConfig(FrozenConfig):
    """Which studies an epoch shows.

    Attributes
    ----------
    repeat_threshold
        Repeat factor sampling: findings rarer than this share are shown more often, see `trainer.sampling`. None shows
        every study once. The paper uses it and names no threshold; LVIS takes 0.001 of its pictures.
    """

    repeat_threshold: float | None = Field(default=None, gt=0.0, le=1.0)


Range = tuple[float, float]


class AugmentConfig(FrozenConfig):
    """Augmentation of prepared volumes; the defaults are the paper's ranges (section 3.1).

    Attributes
    ----------
    elastic_alpha, elastic_sigma
        Strength and smoothness of the elastic field, in millimetres (1 mm is one pixel of a prepared slice).
    rotation_rad
        Largest angle about each axis, either way.
    scale
        Factor along each axis, drawn for each by itself.
    brightness
        Factor on the windowed values.
    noise_variance
        Of Gaussian noise on the windowed values, which lie in 0..1.
    mirror
        Probability that an axis is mirrored, for each by itself.
    """

    elastic_alpha: Range = (0.0, 200.0)
    elastic_sigma: Range = (10.0, 13.0)
    rotation_rad: float = Field(default=0.1, ge=0.0, le=3.2)
    scale: Range = (0.85, 1.15)
    brightness: Range = (0.99, 1.01)
    noise_variance: Range = (0.0, 0.03)
    mirror: float = Field(default=0.5, ge=0.0, le=1.0)

    @field_validator("elastic_alpha", "elastic_sigma", "scale", "brightness", "noise_variance")
    @classmethod
    def _ordered(cls, values: Range, info: ValidationInfo) -> Range:
        low, high = values
        strictly = info.field_name in ("elastic_sigma", "scale", "brightness")
        if low > high or low < 0.0 or (strictly and low == 0.0):
            raise ValueError(f"must be a range from low to high{', above 0' if strictly else ', not below 0'}")
        return values


ROTATIONS_ONLY = AugmentConfig(
    elastic_alpha=(0.0, 0.0), scale=(1.0, 1.0), brightness=(1.0, 1.0), noise_variance=(0.0, 0.0), mirror=0.0
)
"""Random rotations and nothing else, within the paper's angles."""


class ScheduleConfig(FrozenConfig):
    """At least `min_epochs`; after that, stop once `patience` epochs brought no better mean validation AUC.

    Attributes
    ----------
    batch_size
        Studies a step, of all processes and parts together.
    checkpoint_steps
        A checkpoint inside an epoch after so many steps; None writes one after each epoch only.
    """

    min_epochs: int = Field(default=20, ge=20)
    max_epochs: PositiveInt = 100
    patience: PositiveInt = 5
    batch_size: PositiveInt = 16
    checkpoint_steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_epochs < self.min_epochs:
            raise ValueError("max_epochs must not be below min_epochs")
        return self


class EndToEndConfig(FrozenConfig):
    """How a run with ``mode = "end_to_end"``, or with slice training, reads and computes.

    Attributes
    ----------
    studies_per_shard
        Prepared volumes in one file.
    read_ahead
        Parts of steps (whole steps where nothing is accumulated) that are read and augmented before they are needed.
    device
        ``auto`` takes a GPU where there is one.
    precision
        Of the forward passes, as accelerate names it; the optimiser's numbers are float32.
    """

    studies_per_shard: int = Field(default=16, ge=1, le=256)
    read_ahead: int = Field(default=2, ge=0, le=64)
    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["no", "bf16"] = "no"


class SliceTrainingConfig(FrozenConfig):
    """How adapters learn from single slices before features are cached; for cohorts that say what is in each slice.

    A finding of three slices is one label of a study but three of slices, and the slices beside them are told apart:
    adapters learn from far fewer studies. Of today's cohorts only phantoms, whose masks are known, say it. The paper
    has nothing of the kind: its adapters learn from studies (``mode = "end_to_end"``).

    Attributes
    ----------
    epochs
        All are run; the weights of the one with the best mean AUC over the validation slices are kept.
    n_studies
        How many of the training studies the adapters learn from, the first ones; None: all. Adapters know the studies
        that they learnt from by heart, so a classifier learns more from features of others.
    batch_size
        Slices a step.
    mirror
        Probability that a slice is shown with left and right exchanged.
    head_learning_rate, lora_learning_rate, weight_decay
        Of AdamW; the linear head serves this stage only.
    repeat_threshold
        Repeat factor sampling of slices, see `SamplingConfig`.
    gamma
        Of the focal loss.
    average_decay
        As in `OptimiserConfig`.
    warmup_steps
        As in `RateConfig`; after them the rates fall along a cosine.
    ridge
        Of the least squares by which the classifier's head begins, as a share of the features' mean variance.
    """

    epochs: PositiveInt = 6
    n_studies: PositiveInt | None = None
    batch_size: PositiveInt = 32
    mirror: float = Field(default=0.5, ge=0.0, le=1.0)
    head_learning_rate: PositiveFloat = 1e-3
    lora_learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    repeat_threshold: float | None = Field(default=None, gt=0.0, le=1.0)
    gamma: NonNegativeFloat = 2.0
    average_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    warmup_steps: int = Field(default=100, ge=0)
    ridge: PositiveFloat = 0.03


class ReferenceConfig(FrozenConfig):
    """How many studies of each kind go into the reference cohort that is shipped beside the package."""

    n_replay: int = Field(default=40, ge=0)
    n_calibrate: int = Field(default=40, ge=0)
    n_heldout: PositiveInt = 80


class TrainConfig(FrozenConfig):
    """A run from scratch.

    Attributes
    ----------
    mode
        ``cached`` trains on features that the frozen backbone gave once; ``end_to_end`` trains the backbone's LoRA
        adapters too, on prepared volumes.
    preprocessing, molre
        Where the configuration says nothing they are what the backbone asks for; see `for_backbone`.
    lora
        End to end, or with `slice_training`; None leaves the backbone frozen.
    augment
        End to end only; None leaves the volumes as they are.
    fine_tune
        End to end only; ``full`` trains every parameter of the backbone, in a group of its own, and ``none`` does not.
        Where the configuration says nothing it is what the backbone's publisher does; see `for_backbone`.
    slice_training
        Cached only: adapters learn from single slices first, and features are then those of the adapted backbone.
    """

    name: str = Field(default="phantom-demo", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    version: str = Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$")
    description: str = "MoLRE classifier trained on synthetic phantoms"
    notice: str = DEMO_NOTICE
    mode: Literal["cached", "end_to_end"] = "cached"
    seed: int = Field(default=1, ge=0, lt=2**31)
    backbone: str = "efficientnet_lite0"
    workers: PositiveInt = 1
    threads: PositiveInt | None = None
    cohort: CohortConfig = PhantomCohortConfig()
    preprocessing: PreprocessSpec = PreprocessSpec()
    molre: MoLRESettings | None = MoLRESettings()
    lora: LoraSettings | None = None
    augment: AugmentConfig | None = None
    fine_tune: Literal["none", "full"] = "none"
    slice_training: SliceTrainingConfig | None = None
    end_to_end: EndToEndConfig = EndToEndConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    rate: RateConfig = RateConfig()
    sampling: SamplingConfig = SamplingConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    calibration: CalibrationSettings = CalibrationSettings()
    reference: ReferenceConfig = ReferenceConfig()

    @model_validator(mode="before")
    @classmethod
    def _say_what_it_is(cls, values: object) -> object:
        """Never call a model of patients' studies one of phantoms."""
        if isinstance(values, dict) and _kind_of_cohort(values.get("cohort", {})) == "imported":
            own = {"name": "imported-cohort", "description": IMPORTED_DESCRIPTION, "notice": IMPORTED_NOTICE}
            return {**own, **values}
        return values

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Refuse pairs that cannot be meant together, naming both keys."""
        if self.mode == "cached":
            if self.augment is not None:
                raise ValueError('augment needs mode = "end_to_end": cached features are computed only once')
            if self.lora is not None and self.slice_training is None:
                raise ValueError('lora needs slice_training or mode = "end_to_end": cached features are computed once')
            if "end_to_end" in self.model_fields_set and self.slice_training is None:
                raise ValueError('the section end_to_end needs mode = "end_to_end" or slice_training')
        if self.slice_training is not None:
            if self.mode != "cached" or self.lora is None:
                raise ValueError('slice_training needs mode = "cached" and lora: adapters learn from slices, then rest')
            if not isinstance(self.cohort, PhantomCohortConfig):
                raise ValueError(
                    "slice_training needs a cohort of phantoms: of no other it is known what is in a slice"
                )
        if self.optimiser.accumulate > self.schedule.batch_size:
            raise ValueError("optimiser.accumulate must not exceed schedule.batch_size")
        if self.rate.final_share and self.rate.decay == "constant":
            raise ValueError('rate.final_share needs rate.decay = "cosine"')
        return self

    @model_validator(mode="after")
    def _whole_backbone_fits(self) -> Self:
        if self.fine_tune == "full" and self.mode == "cached":
            raise ValueError('fine_tune = "full" needs mode = "end_to_end": cached features are computed only once')
        if self.fine_tune == "full" and self.lora is not None:
            raise ValueError(
                'fine_tune = "full" and lora exclude each other: either all of the backbone trains, or not'
            )
        return self

    @model_validator(mode="after")
    def _reference_fits(self) -> Self:
        cohort = self.cohort
        if isinstance(cohort, ImportedCohortConfig):
            return self  # how many studies there are is known when the manifest is read; no more can be shipped
        pairs = (
            ("reference.n_replay", self.reference.n_replay, "cohort.n_train", cohort.n_train),
            ("reference.n_calibrate", self.reference.n_calibrate, "cohort.n_calibrate", cohort.n_calibrate),
            ("reference.n_heldout", self.reference.n_heldout, "cohort.n_test", cohort.n_test),
        )
        for name, wanted, whole_name, whole in pairs:
            if wanted > whole:
                raise ValueError(f"{name} must not exceed {whole_name}")
        return self

    def for_backbone(self, spec: BackboneSpec) -> Self:
        """Return the run with the backbone's own preparation, head and protocol where nothing else was said.

        The protocol is the published one of a network of volumes, for runs end to end; see `_with_protocol`.

        Raises
        ------
        ConfigError
            If the windows that were said do not make the channels that the backbone reads, or volumes that are trained
            on end to end would differ in size.
        """
        own = {"preprocessing": spec.preprocessing, "molre": MoLRESettings() if spec.molre else None}
        whole = self.model_copy(update={key: value for key, value in own.items() if key not in self.model_fields_set})
        n_channels = whole.preprocessing.n_channels
        if n_channels != len(spec.mean):
            raise ConfigError(
                f"The preparation of this run gives {n_channels} channels, but {spec.name} reads {len(spec.mean)}.",
                hint="Leave [preprocessing] out: the backbone's own is then used.",
                code="training.channels",
            )
        if self.mode == "end_to_end" and spec.dimensions == 3 and whole.preprocessing.n_slices is None:
            raise ConfigError(
                f"{spec.name} reads whole volumes, which must be of one size to be trained on together.",
                hint="Set preprocessing.n_slices, or leave [preprocessing] out: the backbone's own is then used.",
                code="training.volume_size",
            )
        return whole if spec.training is None or self.mode == "cached" else whole._with_protocol(spec.training)

    def _with_protocol(self, protocol: TrainingProtocol) -> Self:
        """Follow a published protocol in every key that was not said.

        A run that departs from it in what of the backbone trains (``[lora]``, or another `fine_tune`) departs from the
        rest too: rates for a whole network are none for adapters.
        """
        says_what_trains = "fine_tune" in self.model_fields_set or self.lora is not None
        if says_what_trains and self.fine_tune != protocol.fine_tune:
            return self
        update: dict[str, object] = {"fine_tune": protocol.fine_tune, "optimiser": self._published_optimiser(protocol)}
        if self._leaves_batches_open() and protocol.batch_size is not None:
            update["schedule"] = self.schedule.model_copy(update={"batch_size": protocol.batch_size})
        if protocol.rotations_only and "augment" not in self.model_fields_set:
            update["augment"] = ROTATIONS_ONLY
        return self.model_copy(update=update)

    def _published_optimiser(self, protocol: TrainingProtocol) -> OptimiserConfig:
        rate = protocol.learning_rate
        published: dict[str, float | None] = {
            "backbone_learning_rate": rate,
            "head_learning_rate": rate,
            "pooling_learning_rate": rate,
            "weight_decay": protocol.weight_decay,
            "accumulate": protocol.accumulate if self._leaves_batches_open() else None,
        }
        said = self.optimiser.model_fields_set
        unsaid = {key: value for key, value in published.items() if value is not None and key not in said}
        return self.optimiser.model_copy(update=unsaid)

    def _leaves_batches_open(self) -> bool:
        """Whether the configuration says neither how large a batch is nor into how many parts it is split."""
        said = {*self.schedule.model_fields_set, *self.optimiser.model_fields_set}
        return not said & {"batch_size", "accumulate"}

    def digest(self) -> str:
        """Return the sha256 of what decides the result; worker and thread counts do not.

        Nor do the keys of a backbone that trains whole where none does: such a run keeps the digest that it had before
        there were any, and goes on from its checkpoint.
        """
        exclude: dict[str, bool | set[str]] = {"workers": True, "threads": True}
        if self.fine_tune == "none":
            exclude |= {"fine_tune": True, "optimiser": {"backbone_learning_rate", "backbone_weight_decay"}}
        return config_digest(self, exclude)


class RetrainConfig(FrozenConfig):
    """A fine-tuning run from readers' feedback, with replay of reference studies against forgetting.

    There is no early stop and the last epoch's weights are kept: choosing an epoch by its AUC on phantoms would choose
    the one that listened least to the readers. Whether the candidate is good is for the comparison to say.

    Attributes
    ----------
    own_share
        What own studies shall make up of an epoch, and readers' statements of the weight in the loss. Own studies are
        repeated up to `max_repeats` times, and a statement weighs up to `max_statement_weight` labels of a replayed
        study: a reader speaks of a few findings, while a phantom has a label for each.
    heldout_fraction
        Share of patients that is never trained on.
    """

    epochs: PositiveInt = 12
    batch_size: PositiveInt = 16
    own_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    max_repeats: PositiveInt = 16
    max_statement_weight: float = Field(default=16.0, ge=1.0)
    heldout_fraction: float = Field(default=0.2, ge=0.0, lt=1.0)
    threads: PositiveInt | None = None
    loss: LossConfig = LossConfig()
    calibration: CalibrationSettings = CalibrationSettings()
    optimiser: OptimiserConfig = OptimiserConfig(
        head_learning_rate=3e-4, pooling_learning_rate=3e-4, molre_learning_rate=1e-4
    )


def config_digest(config: FrozenConfig, exclude: set[str] | Mapping[str, bool | set[str]] | None = None) -> str:
    """Return the sha256 of a configuration's canonical JSON, without what is excluded."""
    return canonical_digest(config.model_dump(mode="json", exclude=exclude))


def canonical_digest(document: object) -> str:
    """Return the sha256 of a plain document: sorted keys, no spaces, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
