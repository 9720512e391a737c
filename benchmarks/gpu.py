"""Backbones on a CUDA card: TFLOP/s against the card's own matrix rate, and a DICOM folder to 75 probabilities.

Run with ``python -m benchmarks.gpu``. Random weights. Where no CUDA card is at hand it says so, gives no numbers and
exits with 0. The card's rate is the best of square bfloat16 products in the same run; operations are counted by torch's
own counter, a multiplication and an addition being two. Goal, for DINOv3-Base: less than 0.5 s from the folder to the
probabilities, everything loaded before, as it is in the window.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.random_weights import random_backbone
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.inference.compute import AUTOMATIC
from engine.inference.features import FeatureExtractor
from engine.inference.precision import computing
from engine.models.backbones.network import Backbone
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from engine.preprocess.prepare import prepare

NAMES = ("dinov3_base", "dinov3_large", "medimageinsight", "medsiglip")
GOAL_S = 0.5
N_SLICES = 40
N_FINDINGS = 75
DEMO = Path(__file__).resolve().parents[1] / "resources" / "demo" / "head_ct_ge_tilt"


def median_s(action: Callable[[], object], rounds: int) -> float:
    """Return the median duration after a warm-up, the card idle before and after."""
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def matrix_rate(device: torch.device, rounds: int) -> float:
    """Return the card's best rate of bfloat16 products, in TFLOP/s."""
    rates = []
    for size in (4096, 8192):
        a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
        rates.append(2 * size**3 / median_s(lambda a=a, b=b: a @ b, 4 * rounds) / 1e12)
    return max(rates)


def backbone_rate(backbone: Backbone, device: torch.device, rounds: int) -> tuple[float, float]:
    """Return TFLOP/s in bfloat16 and milliseconds a slice, at the network's native size."""
    x = torch.rand(N_SLICES, len(backbone.spec.mean), *backbone.spec.native_size, device=device)

    def forward() -> None:
        with computing(device, "bfloat16"):
            backbone(x)

    with FlopCounterMode(display=False) as counter:
        forward()
    seconds = median_s(forward, rounds)
    return counter.get_total_flops() / seconds / 1e12, 1000 * seconds / N_SLICES


def folder_to_probabilities(backbone: Backbone, device: torch.device, rounds: int) -> tuple[float, str]:
    """Return seconds from the folder to 75 probabilities, and what computed them."""
    extractor = FeatureExtractor(backbone, device, AUTOMATIC)
    classifier = MoLREClassifier(backbone.spec.feature_width, N_FINDINGS, MoLRESettings()).eval()

    def whole() -> None:
        volume = read_series(scan([DEMO]).series[0])
        features_SD = extractor.features(prepare(volume, backbone.spec.preprocessing))
        with torch.inference_mode():
            torch.sigmoid(classifier(torch.from_numpy(features_SD).unsqueeze(0)).logits_BC)

    return median_s(whole, rounds), extractor.computed_on


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA card is at hand: nothing is measured, and no number is claimed.")
        return 0
    device = torch.device("cuda")
    print(f"{platform.platform()}, {torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    peak = matrix_rate(device, arguments.rounds)
    print(f"bfloat16 products (baseline): {peak:.0f} TFLOP/s")
    met = True
    for name in NAMES:
        backbone = random_backbone(name).to(device)
        rate, slice_ms = backbone_rate(backbone, device, arguments.rounds)
        seconds, how = folder_to_probabilities(backbone, device, arguments.rounds)
        print(f"{name}: {rate:.0f} TFLOP/s, {rate / peak:.2f} of the card's; {slice_ms:.2f} ms a slice")
        print(f"  folder of 28 slices to {N_FINDINGS} probabilities: {seconds:.3f} s on {how}")
        if name == "dinov3_base":
            met = seconds < GOAL_S
            print(f"  goal less than {GOAL_S} s: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
