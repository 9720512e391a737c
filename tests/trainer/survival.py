"""Programs that tests kill, starve of disk, or run twice at once: ``python -m tests.trainer.survival WHAT FOLDER``."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.distributed.tensor import DTensor

from engine.errors import TrainingError
from engine.models.backbones.registry import build_backbone
from engine.models.classifier import MoLREClassifier
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings, MoLRESettings
from engine.preprocess.spec import PreprocessSpec
from tests.trainer.synthetic import make_studies
from trainer.checkpoints import trained_weights
from trainer.config import LossConfig, OptimiserConfig, RateConfig, SamplingConfig
from trainer.loop import CachedModel, FitSettings, Run
from trainer.sources import CachedSource
from trainer.team import Alone, Launch, Team
from trainer.volumes.model import EndToEndModel
from trainer.volumes.shards import PreparedStudy, ShardEntry, read_entries, write_shard
from trainer.volumes.source import ShardSource

KEYS = ("a", "b", "c")
CHECKPOINT = "checkpoint.safetensors"


def settings(**changes: object) -> FitSettings:
    """A run with every option on, and a checkpoint after every other step."""
    values: dict[str, object] = {
        "seed": 5,
        "loss": LossConfig(),
        "optimiser": OptimiserConfig(clip_norm=0.005, accumulate=2, average_decay=0.9, head_weight_decay=0.1),
        "min_epochs": 20,
        "max_epochs": 24,
        "patience": 30,
        "batch_size": 16,
        "keep": "best",
        "run_digest": "survival",
        "rate": RateConfig(warmup_steps=5, decay="cosine"),
        "sampling": SamplingConfig(repeat_threshold=0.5),
        "checkpoint_steps": 2,
        "read_ahead": 2,
    }
    return FitSettings(**(values | changes))  # type: ignore[arg-type]


def new_run(how: FitSettings, team: Team = Alone()) -> tuple[MoLREClassifier, Run]:
    torch.manual_seed(3)
    classifier = MoLREClassifier(32, 3, MoLRESettings(n_experts=3, rank=4, hidden=16))
    train, validate = CachedSource(make_studies(90, seed=1)), CachedSource(make_studies(41, seed=2))
    return classifier, Run(CachedModel(classifier), KEYS, train, validate, how, team)


def digest(classifier: MoLREClassifier) -> str:
    values = classifier.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


def train(folder: Path) -> None:
    """Train slowly enough to be killed; the digest of the weights at the end."""
    must = os.environ.get("MUST_RESUME") == "1"
    classifier, run = new_run(settings(must_resume=must))
    run.fit(folder / CHECKPOINT, lambda record: time.sleep(0.02))
    print(digest(classifier))


def full_disk(folder: Path) -> None:
    """Train with files limited to a few kilobytes: the kernel refuses the next checkpoint."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        train(folder)
    except TrainingError as error:
        print(error.code, error.kind)


def together(folder: Path) -> None:
    """One of several processes that train together over gloo, or one alone in mixed precision."""
    from trainer.accelerated import AcceleratedTeam

    torch.set_num_threads(1)
    team = AcceleratedTeam("cpu", "bf16" if os.environ.get("PRECISION") == "bf16" else "no")
    classifier, run = new_run(settings(max_epochs=20), team)
    result = run.fit(folder / CHECKPOINT, lambda record: None)
    result_of = {"weights": classifier.state_dict(), "history": result.history, "size": team.size}
    torch.save(result_of, folder / f"rank{team.rank}.pt")
    if team.size > 1:
        torch.distributed.destroy_process_group()


def noise(folder: Path, n: int) -> tuple[ShardEntry, ...]:
    """Write studies of noise; some of both kinds of every finding."""
    random = np.random.default_rng(n)
    studies = [
        PreparedStudy(
            f"{n}-{number}",
            "",
            random.normal(40, 30, (3, 32, 32)).astype(np.int16),
            (random.random(3) < 0.5).astype(np.int8),
        )
        for number in range(n)
    ]
    write_shard(folder / f"{n}.zarr", studies)
    return read_entries(folder / f"{n}.zarr")


def end_to_end_run(folder: Path, team: Team) -> tuple[EndToEndModel, Run, ShardSource]:
    """Two epochs of a backbone with adapters; 5 studies to validate, so that processes measure unequal numbers."""
    backbone = build_backbone("efficientnet_lite0")
    torch.manual_seed(3)
    apply_lora(backbone, LoraSettings(rank=2, targets=("conv_head", "conv_pwl")))
    classifier = MoLREClassifier(backbone.spec.feature_width, 3, MoLRESettings(n_experts=3, rank=4, hidden=16))
    model = EndToEndModel(backbone, classifier)
    spec = PreprocessSpec(size_px=(32, 32))
    train, validate = (ShardSource(noise(folder, n), spec, team.device) for n in (7, 5))
    how = settings(max_epochs=2, min_epochs=2, batch_size=4, checkpoint_steps=None)
    return model, Run(model, KEYS, train, validate, how, team), validate


def sharded(folder: Path) -> None:
    """One of several processes, each with a part of the backbone; the first one alone computes features at the end."""
    from trainer.accelerated import AcceleratedTeam

    torch.set_num_threads(1)
    launch = Launch.of(os.environ, "no")
    team = AcceleratedTeam("cpu", "no", launch.sharded)
    own = folder / f"studies{team.rank}"
    model, run, validate = end_to_end_run(own, team)
    frozen = [value for value in model.backbone.parameters() if not value.requires_grad]
    held = sum(value.to_local().numel() if isinstance(value, DTensor) else value.numel() for value in frozen)
    whole = sum(value.numel() for value in frozen)
    result = run.fit(own / CHECKPOINT, lambda record: None)
    features = model.study_features(validate.pictures(0)) if team.rank == 0 else None
    result_of = {"weights": trained_weights(model), "history": result.history, "share": held / whole}
    torch.save({**result_of, "features": features}, folder / f"rank{team.rank}.pt")
    team.wait()
    torch.distributed.destroy_process_group()


PROGRAMS = {"train": train, "full_disk": full_disk, "together": together, "sharded": sharded}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]))
