"""Programs that tests kill, starve of disk, or run twice at once: ``python -m tests.trainer.survival WHAT FOLDER``."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import time
from pathlib import Path

import torch

from engine.errors import TrainingError
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from tests.trainer.synthetic import make_studies
from trainer.config import LossConfig, OptimiserConfig, RateConfig, SamplingConfig
from trainer.loop import CachedModel, FitSettings, Run
from trainer.sources import CachedSource
from trainer.team import Alone, Team

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
    """One of several processes that train together over gloo."""
    from trainer.accelerated import AcceleratedTeam

    torch.set_num_threads(1)
    team = AcceleratedTeam("cpu")
    classifier, run = new_run(settings(max_epochs=20), team)
    result = run.fit(folder / CHECKPOINT, lambda record: None)
    result_of = {"weights": classifier.state_dict(), "history": result.history, "size": team.size}
    torch.save(result_of, folder / f"rank{team.rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    {"train": train, "full_disk": full_disk, "together": together}[sys.argv[1]](Path(sys.argv[2]))
