"""Head-only retraining over cached features: 1,000 studies of 40 slices, 20 epochs in at most 60 s on two cores.

Run with ``python -m benchmarks.train_cached``. Subject: `trainer.loop.fit` with checkpoints and validation. Baseline:
the same classifier, loss and optimiser in a bare loop over the same batches, without either.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from engine.inference.threads import wait_passively
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from trainer.config import LossConfig, OptimiserConfig
from trainer.datasets import StudyFeatures, in_order
from trainer.loop import FitData, FitSettings, fit
from trainer.losses import focal_loss, mean_over_known
from trainer.optimisers import make_optimiser

TARGET_S, N_SLICES, N_FINDINGS, BATCH = 60.0, 40, 75, 16


def studies(n: int, width: int, seed: int) -> list[StudyFeatures]:
    random = np.random.default_rng(seed)
    return [
        StudyFeatures(
            str(number),
            random.standard_normal((N_SLICES, width), dtype=np.float32).astype(np.float16),
            (random.random(N_FINDINGS) < 0.2).astype(np.int8),
        )
        for number in range(n)
    ]


def subject(train: list[StudyFeatures], validate: list[StudyFeatures], width: int, epochs: int) -> float:
    classifier = MoLREClassifier(width, N_FINDINGS, MoLRESettings())
    settings = FitSettings(1, LossConfig(), OptimiserConfig(), epochs, epochs, epochs, BATCH, "best", "benchmark")
    data = FitData(tuple(map(str, range(N_FINDINGS))), train, validate)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        fit(classifier, data, settings, Path(folder) / "checkpoint.safetensors", lambda record: None)
        return time.perf_counter() - started


def baseline(train: list[StudyFeatures], width: int, epochs: int) -> float:
    classifier = MoLREClassifier(width, N_FINDINGS, MoLRESettings())
    optimiser = make_optimiser(classifier, OptimiserConfig())
    alpha = torch.full((N_FINDINGS,), 0.8)
    started = time.perf_counter()
    for _ in range(epochs):
        for batch in in_order(train, BATCH):
            logits = classifier(batch.features_BSD, batch.mask_BS).logits_BC
            loss = focal_loss(logits, batch.targets_BC, batch.known_BC, alpha, 2.0)
            optimiser.zero_grad(set_to_none=True)
            mean_over_known(loss, batch.known_BC, torch.ones(len(loss))).backward()
            optimiser.step()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=1280)
    arguments = parser.parse_args()
    wait_passively()
    train, validate = studies(arguments.studies, arguments.width, 1), studies(100, arguments.width, 2)
    bare_s = baseline(train, arguments.width, arguments.epochs)
    whole_s = subject(train, validate, arguments.width, arguments.epochs)
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, device cpu, torch {torch.__version__}")
    print(f"{arguments.studies} studies of {N_SLICES} slices, width {arguments.width}, {arguments.epochs} epochs")
    print(f"bare loop (baseline) {bare_s:7.1f} s")
    print(f"trainer              {whole_s:7.1f} s, ratio {whole_s / bare_s:.2f}")
    print(f"target at most {TARGET_S:.0f} s: {'met' if whole_s <= TARGET_S else 'MISSED'}")
    return 0 if whole_s <= TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
