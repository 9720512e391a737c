"""A whole study through the predictor against a bare loop of the backbone over the same batches: at most 1.10.

Run with ``python -m benchmarks.overhead``. Subject: `Predictor.predict` of a prepared study: windows, batches,
backbone, MoLRE, pooling, head, checked ledger, counterfactuals, findings. Baseline: the backbone alone on the same
batches, windowed and in memory already. Both in torch, float32, in turns; the median of the turns' ratios counts.
Reading and preparing have benchmarks of their own. The study has no slice of air, which only the subject would skip.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

from engine.findings.catalogue import load_catalogue
from engine.inference.compute import EXACT
from engine.inference.device import choose_device
from engine.inference.memory import batch_limit
from engine.inference.precision import computing
from engine.inference.predictor import Acquisition, Predictor
from engine.inference.threads import wait_passively
from engine.models.backbones.registry import build_backbone
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.windows import to_channels

TARGET = 1.10
RESOURCES = Path(__file__).resolve().parents[1] / "resources"


def measure(device: torch.device, rounds: int) -> tuple[float, float, float, int]:
    """Return seconds of subject and baseline, the median ratio, and the number of slices."""
    catalogue = load_catalogue(RESOURCES / "findings" / "catalogue.csv")
    predictor = Predictor.open(RESOURCES / "models" / "phantom-demo", catalogue, device.type, how=EXACT)
    volume = generate(1, PhantomSpec()).volume
    prepared = prepare(volume, predictor.package.manifest.preprocessing)
    acquisition = Acquisition(volume.require_geometry(), volume.sop_instance_uids, "2.25.1", "2.25.2", 0.0, 0.0, ())
    backbone = build_backbone("efficientnet_lite0").to(device)
    channels = torch.from_numpy(to_channels(prepared.voxels_hu, prepared.spec.windows_hu))
    batches = channels.split(batch_limit(device))

    def whole() -> None:
        predictor.predict(prepared, acquisition)

    def bare() -> None:
        with computing(device, "float32"):
            for batch in batches:
                backbone(batch.to(device)).cpu()

    whole()
    bare()
    pairs = []
    for _ in range(rounds):
        times = []
        for action in (whole, bare):
            started = time.perf_counter()
            action()
            times.append(time.perf_counter() - started)
        pairs.append(times)
    subject_s, baseline_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    return subject_s, baseline_s, statistics.median(a / b for a, b in pairs), len(channels)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    wait_passively()
    device = choose_device(arguments.device)
    subject_s, baseline_s, ratio, n_slices = measure(device, arguments.rounds)
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, device {device}, torch {torch.__version__}")
    print(f"EfficientNet-Lite0, {n_slices} slices, median of {arguments.rounds} turns")
    print(f"bare backbone (baseline)  {1000 * baseline_s:8.1f} ms")
    print(f"whole study               {1000 * subject_s:8.1f} ms")
    print(f"ratio {ratio:.3f}, target at most {TARGET:.2f}: {'met' if ratio <= TARGET else 'MISSED'}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
