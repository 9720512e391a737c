"""The backbone on the CPU through OpenVINO against torch in float32: at least 1.25 times faster.

Run with ``python -m benchmarks.cpu_runtime``: the same slices and threads, in turns. The probabilities of a classifier
on both features must agree to 1e-4; a larger difference is a miss too. DINOv3-Base has random weights: its speed does
not depend on them.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from benchmarks.random_weights import random_backbone
from engine.inference.compute import EXACT, Computing
from engine.inference.features import FeatureExtractor
from engine.inference.threads import wait_passively
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import build_backbone
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec

TARGET = 1.25
TOLERANCE = 1e-4
N_FINDINGS = 75


def study(n_slices: int) -> PreparedVolume:
    made = prepare(generate(1, PhantomSpec()).volume, PreprocessSpec())
    middle = len(made.voxels_hu) // 2
    first = max(0, middle - n_slices // 2)
    return replace(made, voxels_hu=made.voxels_hu[first : first + n_slices])


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def compare(name: str, backbone: Backbone, n_slices: int, rounds: int) -> bool:
    prepared = study(n_slices)
    plain = FeatureExtractor(backbone, torch.device("cpu"), EXACT)
    other = FeatureExtractor(backbone, torch.device("cpu"), Computing("float32", "openvino"))
    exact, found = plain.features(prepared), other.features(prepared)
    if not other.computed_on.endswith("openvino"):
        print(f"{name}: {'; '.join(other.warnings)}")
        return False
    pairs = [
        (seconds(lambda: plain.features(prepared)), seconds(lambda: other.features(prepared))) for _ in range(rounds)
    ]
    ratio = statistics.median(torch_s / other_s for torch_s, other_s in pairs)
    per_slice_ms = [1000 * statistics.median(times) / n_slices for times in zip(*pairs, strict=True)]
    apart = probability_difference(exact, found)
    met = ratio >= TARGET and apart <= TOLERANCE
    print(f"{name}, {n_slices} slices of {prepared.voxels_hu.shape[1]}²")
    print(f"  torch (baseline) {per_slice_ms[0]:8.2f} ms a slice")
    print(f"  OpenVINO         {per_slice_ms[1]:8.2f} ms a slice; probabilities differ by at most {apart:.1e}")
    print(f"  {ratio:.2f} times faster, target {TARGET}, to {TOLERANCE:g}: {'met' if met else 'MISSED'}")
    return met


def probability_difference(exact_SD: np.ndarray, found_SD: np.ndarray) -> float:
    """Largest difference of 75 probabilities from a random classifier of the paper's shape."""
    torch.manual_seed(1)
    classifier = MoLREClassifier(exact_SD.shape[1], N_FINDINGS, MoLRESettings()).eval()
    torch.nn.init.normal_(classifier.molre.up_KDR, std=0.02)
    with torch.inference_mode():
        both = [torch.sigmoid(classifier(torch.from_numpy(part)[None]).logits_BC) for part in (exact_SD, found_SD)]
    return float((both[0] - both[1]).abs().max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if importlib.util.find_spec("openvino") is None:
        print("OpenVINO is not installed (pip install .[openvino]); nothing is measured.")
        return 0
    wait_passively()
    print(f"{platform.platform()}, {platform.machine()}, {torch.get_num_threads()} threads, CPU only")
    met = [
        compare("EfficientNet-Lite0", build_backbone("efficientnet_lite0"), 40, arguments.rounds),
        compare("DINOv3-Base, random weights", random_backbone("dinov3_base"), 8, arguments.rounds),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
