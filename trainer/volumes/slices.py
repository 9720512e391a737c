"""Adapters that learn from single slices: the slices of a split as studies of the loop, and the model that reads them.

Legend: B slice of a batch, M channel, H row, W column, C finding, N all slices of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import TrainingError
from engine.models.backbones.network import Backbone
from engine.preprocess.spec import PreprocessSpec
from engine.progress import NULL_CONTEXT, Context
from trainer.augment.windows import channels_of
from trainer.checkpoints import EpochRecord
from trainer.config import (
    LossConfig,
    OptimiserConfig,
    RateConfig,
    SamplingConfig,
    SliceTrainingConfig,
    TrainConfig,
    canonical_digest,
)
from trainer.datasets import UNKNOWN
from trainer.loop import FitResult, FitSettings, Run
from trainer.sources import Draw
from trainer.team import Team
from trainer.volumes.build import PreparedCohort
from trainer.volumes.shards import ShardEntry, read_voxels

CHECKPOINT_STEPS = 200
SCRATCH_FOLDER = "slices"


@dataclass(frozen=True, eq=False)
class SliceBatch:
    """Slices on the device that computes.

    Attributes
    ----------
    pictures_BMHW
        float32 windowed values.
    targets_BC, known_BC, reviewed_B
        As in `trainer.datasets.Batch`, of slices.
    """

    identifiers: tuple[str, ...]
    pictures_BMHW: Tensor
    targets_BC: Tensor
    known_BC: Tensor
    reviewed_B: Tensor


class SliceSource:
    """The slices of a split; voxels are read when a batch asks for them.

    Parameters
    ----------
    entries
        At least one, with slice labels.
    spec
        What they were prepared with.
    device
        Where windows are computed.
    scratch
        File that all slices are copied to, once, uncompressed: a batch of slices from everywhere would otherwise
        unpack a chunk of eight for each. It may be deleted at any time between two runs.
    mirror
        Probability that a slice is shown with left and right exchanged, where a batch has a draw.
    """

    def __init__(
        self,
        entries: Sequence[ShardEntry],
        spec: PreprocessSpec,
        device: torch.device,
        scratch: Path,
        mirror: float = 0.0,
    ) -> None:
        self._entries = entries
        self._spec = spec
        self._device = device
        self._mirror = mirror
        self._places = [(study, number) for study, entry in enumerate(entries) for number in range(entry.n_slices)]
        self._voxels_NHW = _all_slices(entries, (len(self._places), *spec.size_px), scratch)
        self.labels_NC = np.concatenate([entry.slice_labels_SC() for entry in entries])
        self.reviewed_N = np.zeros(len(self._places), dtype=np.bool_)

    def batch(self, chosen: Sequence[int], draw: Draw | None = None) -> SliceBatch:
        """Read slices by number; with a draw some are mirrored."""
        places = [self._places[number] for number in chosen]
        voxels_BHW = torch.from_numpy(self._voxels_NHW[list(chosen)])
        if draw is not None and self._mirror:
            random_B = np.random.default_rng([draw.seed, draw.epoch, draw.places[0]]).random(len(chosen))
            mirrored_B = torch.from_numpy(random_B < self._mirror)
            voxels_BHW[mirrored_B] = voxels_BHW[mirrored_B].flip(2)
        pictures_MBHW = channels_of(voxels_BHW.to(self._device).float(), self._spec)
        labels_BC = torch.from_numpy(self.labels_NC[list(chosen)]).to(self._device)
        return SliceBatch(
            identifiers=tuple(f"{self._entries[study].identifier}, slice {number + 1}" for study, number in places),
            pictures_BMHW=pictures_MBHW.transpose(0, 1),
            targets_BC=(labels_BC == 1).float(),
            known_BC=labels_BC != UNKNOWN,
            reviewed_B=torch.zeros(len(chosen), dtype=torch.bool, device=self._device),
        )


def _all_slices(entries: Sequence[ShardEntry], shape: tuple[int, ...], scratch: Path) -> NDArray[np.int16]:
    """Return int16 (N, H, W) on disk; a file of other studies is made anew."""
    digest = canonical_digest([entry.digest for entry in entries])
    path = scratch.with_name(f"{scratch.name}-{digest[:12]}.npy")
    if not path.exists():
        part = path.with_name(f".{path.name}.part")
        try:
            _write_slices(entries, shape, part)
            part.rename(path)
        except OSError as error:
            raise TrainingError(
                f"The slices cannot be written to {path}: {error.strerror}",
                hint="Free disk space or choose another folder.",
                code="training.write",
                kind="environment",
            ) from error
        finally:
            with suppress(OSError):  # Nothing was written where the folder itself cannot be.
                part.unlink()
    return cast("NDArray[np.int16]", np.load(path, mmap_mode="r"))


def _write_slices(entries: Sequence[ShardEntry], shape: tuple[int, ...], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=shape)
    start = 0
    for entry in entries:
        whole[start : start + entry.n_slices] = read_voxels(entry)
        start += entry.n_slices
    whole.flush()


class SliceModel(nn.Module):
    """From windowed slices to logits of what is seen in each.

    Parameters
    ----------
    backbone
        Of slices, with adapters.
    n_findings
        C.
    seed
        Of the head's first weights.
    """

    def __init__(self, backbone: Backbone, n_findings: int, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(backbone.spec.feature_width, n_findings)
            nn.init.trunc_normal_(self.head.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: SliceBatch) -> Tensor:
        """Return ``logits_BC``; the head computes in float32."""
        # Convolutions of slices in this order of memory take half the time on CPUs with bfloat16, and none take more.
        pictures_BMHW = batch.pictures_BMHW.contiguous(memory_format=torch.channels_last)
        features_BD = self.backbone(pictures_BMHW).float()
        with torch.autocast(features_BD.device.type, enabled=False):
            return cast("Tensor", self.head(features_BD))


def train_on_slices(
    backbone: Backbone,
    prepared: PreparedCohort,
    config: TrainConfig,
    checkpoint: Path,
    team: Team,
    on_epoch: Callable[[EpochRecord], None],
    context: Context = NULL_CONTEXT,
) -> FitResult:
    """Train the adapters of a backbone in place, going on from the checkpoint where there is one of this run.

    Parameters
    ----------
    config
        With `TrainConfig.slice_training`; the backbone's adapters are of its ``lora``.
    team
        Of one process.

    Raises
    ------
    TrainingError
        As `trainer.loop.Run.fit`.
    Cancelled
        When the context says so.
    """
    stage = _stage(config)
    entries = {"train": prepared.entries["train"][: stage.n_studies], "validate": prepared.entries["validate"]}
    settings = slice_settings(config, _data_digest(prepared.keys, entries))
    spec, scratch = config.preprocessing, checkpoint.parent / SCRATCH_FOLDER
    train = SliceSource(entries["train"], spec, team.device, scratch / "train", stage.mirror)
    validate = SliceSource(entries["validate"], spec, team.device, scratch / "validate")
    model = SliceModel(backbone, len(prepared.keys), config.seed).to(team.device)
    model.backbone.to(memory_format=torch.channels_last)
    result = Run(model, prepared.keys, train, validate, settings, team).fit(checkpoint, on_epoch, context)
    backbone.cpu().to(memory_format=torch.contiguous_format).eval()
    return result


def _data_digest(keys: Sequence[str], entries: Mapping[str, Sequence[ShardEntry]]) -> str:
    """Return the sha256 over voxels and slice labels of what is learnt from and what chooses the epoch."""
    rows = {
        split: [[entry.digest, [] if entry.slice_facts is None else entry.slice_facts.tolist()] for entry in chosen]
        for split, chosen in entries.items()
    }
    return canonical_digest({"keys": list(keys), "studies": rows})


def _digest(config: TrainConfig) -> str:
    """Return the sha256 of what decides the adapters; how the classifier is trained on their features does not."""
    own = {"seed", "backbone", "preprocessing", "lora", "slice_training", "end_to_end"}
    document = config.model_dump(mode="json", include=own)
    del document["slice_training"]["ridge"]
    return canonical_digest(document)


def _stage(config: TrainConfig) -> SliceTrainingConfig:
    if config.slice_training is None:
        raise TypeError("this run has no slice training")
    return config.slice_training


def slice_settings(config: TrainConfig, data_digest: str) -> FitSettings:
    """Return how the loop fits adapters on slices."""
    stage = _stage(config)
    return FitSettings(
        seed=config.seed,
        loss=LossConfig(gamma=stage.gamma),
        optimiser=OptimiserConfig(
            head_learning_rate=stage.head_learning_rate,
            lora_learning_rate=stage.lora_learning_rate,
            weight_decay=stage.weight_decay,
            average_decay=stage.average_decay,
        ),
        min_epochs=stage.epochs,
        max_epochs=stage.epochs,
        patience=stage.epochs,
        batch_size=stage.batch_size,
        keep="best",
        run_digest=f"slices-{_digest(config)}-{data_digest}",
        rate=RateConfig(warmup_steps=stage.warmup_steps, decay="cosine"),
        sampling=SamplingConfig(repeat_threshold=stage.repeat_threshold),
        checkpoint_steps=CHECKPOINT_STEPS,
        read_ahead=config.end_to_end.read_ahead,
    )
