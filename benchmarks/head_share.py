"""MoLRE, pooling, head and the checked ledger against the backbone's forward pass: at most 5 % of its time.

Run with ``python -m benchmarks.head_share``; both are timed in the same run, on the same 40 slices and threads.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch

from engine.explain.ledger import check_ledger, compute_ledger
from engine.inference.device import choose_device, repeatable
from engine.inference.memory import batch_limit
from engine.models.backbones.registry import build_backbone
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings

TARGET = 0.05
N_SLICES = 40
N_FINDINGS = 75


def median_s(action: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Return the median duration after one warm-up."""
    times: list[float] = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def measure(device: torch.device, rounds: int) -> tuple[float, float]:
    """Return seconds of the backbone's forward pass and of everything after it."""
    backbone = build_backbone("efficientnet_lite0").to(device)
    classifier = MoLREClassifier(backbone.spec.feature_width, N_FINDINGS, MoLRESettings()).eval()
    torch.nn.init.normal_(classifier.molre.up_KDR, std=0.02)
    x_NMHW = torch.rand(N_SLICES, 3, *backbone.spec.native_size)
    batch = batch_limit(device)

    def extract() -> torch.Tensor:
        return torch.cat([backbone(part.to(device)).cpu() for part in x_NMHW.split(batch)])

    def classify() -> None:
        output = classifier(features_BSD)
        check_ledger(*compute_ledger(classifier, features_BSD, output), output.logits_BC)

    with torch.inference_mode(), repeatable():
        features_BSD = extract().unsqueeze(0)
        return median_s(extract, rounds, device), median_s(classify, 10 * rounds, device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    backbone_s, head_s = measure(device, arguments.rounds)
    share = head_s / backbone_s
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, device {device}, torch {torch.__version__}")
    print(f"{N_SLICES} slices, {N_FINDINGS} findings")
    print(f"backbone forward (baseline)        {1000 * backbone_s:9.2f} ms")
    print(f"MoLRE, pooling, head, ledger check {1000 * head_s:9.2f} ms")
    print(f"share {100 * share:.2f} %, target at most {100 * TARGET:.0f} %: {'met' if share <= TARGET else 'MISSED'}")
    return 0 if share <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
