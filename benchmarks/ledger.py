"""The exact ledger and the exact counterfactuals against the backbone's forward pass: at most 5 % of its time each.

Run with ``python -m benchmarks.ledger``; all are timed in the same run, on the same 40 slices and threads. The ledger's
map over positions is made on demand and runs the backbone on its slice again; it stands beside that bare run, without
a target.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from engine.explain.counterfactual import compute_counterfactual
from engine.explain.ledger import check_ledger, compute_ledger
from engine.explain.spatial import spatial_ledger
from engine.explain.subject import Subject
from engine.inference.device import choose_device
from engine.models.backbones.registry import build_backbone
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec
from engine.preprocess.windows import to_channels

TARGET = 0.05
N_SLICES = 40
N_FINDINGS = 75
KEYS = tuple(f"finding_{row}" for row in range(N_FINDINGS))


def median_s(action: Callable[[], object], rounds: int) -> float:
    """Return the median duration after one warm-up."""
    times: list[float] = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def phantom() -> PreparedVolume:
    """Return a prepared phantom, which has about 40 slices; the benchmark takes 40, repeating the last."""
    prepared = prepare(generate(900_000_000).volume, PreprocessSpec())
    order = np.minimum(np.arange(N_SLICES), len(prepared.voxels_hu) - 1)
    return replace(prepared, voxels_hu=prepared.voxels_hu[order])


def measure(rounds: int) -> dict[str, float]:
    """Return seconds of the backbone's forward pass, and of each part of the ledger."""
    device = choose_device("cpu")
    backbone = build_backbone("efficientnet_lite0").to(device)
    classifier = MoLREClassifier(backbone.spec.feature_width, N_FINDINGS, MoLRESettings()).eval().requires_grad_(False)
    torch.nn.init.normal_(classifier.molre.up_KDR, std=0.02)
    prepared = phantom()
    x_NMHW = torch.from_numpy(to_channels(prepared.voxels_hu, prepared.spec.windows_hu))

    def extract() -> torch.Tensor:
        return torch.cat([backbone(part) for part in x_NMHW.split(4)])

    with torch.no_grad():
        features_BSD = extract().unsqueeze(0)
        output = classifier(features_BSD)
        subject = Subject(classifier, backbone, KEYS, features_BSD[0].numpy(), prepared)

        def ledger() -> None:
            check_ledger(*compute_ledger(classifier, features_BSD, output), output.logits_BC)

        return {
            "forward": median_s(extract, rounds),
            "ledger": median_s(ledger, 10 * rounds),
            "counterfactual": median_s(lambda: compute_counterfactual(classifier, features_BSD, output), 10 * rounds),
            "one slice": median_s(lambda: backbone(x_NMHW[:1]), 10 * rounds),
            "map": median_s(lambda: spatial_ledger(subject, KEYS[3], N_SLICES // 2), 10 * rounds),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    seconds = measure(parser.parse_args().rounds)
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, device cpu, torch {torch.__version__}")
    print(f"{N_SLICES} slices, {N_FINDINGS} findings, EfficientNet-Lite0")
    forward_s = seconds.pop("forward")
    print(f"backbone forward of the study (baseline)        {1000 * forward_s:9.2f} ms")
    worst = 0.0
    for name, text in (
        ("ledger", "exact ledger and its check"),
        ("counterfactual", "without each slice, without each expert"),
    ):
        share = seconds[name] / forward_s
        worst = max(worst, share)
        print(f"{text:<47} {1000 * seconds[name]:9.2f} ms   {100 * share:.2f} %")
    print(f"backbone forward of one slice (baseline)        {1000 * seconds['one slice']:9.2f} ms")
    ratio = seconds["map"] / seconds["one slice"]
    print(f"ledger over positions, one finding, one slice   {1000 * seconds['map']:9.2f} ms   {ratio:.2f} times")
    verdict = "met" if worst <= TARGET else "MISSED"
    print(f"largest share {100 * worst:.2f} %, target at most {100 * TARGET:.0f} %: {verdict}")
    return 0 if worst <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
