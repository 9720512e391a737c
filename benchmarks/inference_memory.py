"""Peak memory of inference: at most the weights, plus 1.5 times the activations of the largest batch.

Run with ``python -m benchmarks.inference_memory``. Everything runs in processes of its own, on the CPU, in float32,
through torch. *Idle* imports the same modules, holds the same prepared study of 12 slices, builds the network on the
meta device, and runs a convolution and a matrix product, so that libraries have loaded what they load. *Working* also
builds the backbone, with its weights from a file, and computes the features of the study in batches of 4. The subject
is the difference of their peaks of anonymous resident memory (RssAnon of Linux, read every millisecond from outside),
medians of several processes. Pages of files are left out: code, and the weights' file, which is mapped while it is
copied; the system takes them back when it needs them. The bound: bytes of parameters and buffers, plus 1.5 times the
most bytes that tensors held at one moment in a batch of four, as `engine.inference.memory.peak_bytes` counts them.
DINOv3-Base has random weights.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.random_weights import store_random
from engine.inference.features import FeatureExtractor
from engine.inference.memory import batch_limit, peak_bytes
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import build_backbone, default_registry
from engine.models.backbones.weights import BackboneStore
from engine.preprocess.spec import AlignmentReport, PreparedVolume, PreprocessSpec

FACTOR = 1.5
N_SLICES = 12
STATUS = Path("/proc/self/status")
CPU = torch.device("cpu")
NAMES = ("efficientnet_lite0", "dinov3_base")


def study() -> PreparedVolume:
    """Random voxels: making a phantom would take more memory than reading it does, and hide it."""
    voxels_hu = np.random.default_rng(0).uniform(-100, 200, (N_SLICES, 224, 224)).astype(np.float32)
    aligned = AlignmentReport((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, False, "acquired slices", ())
    positions_mm = 4.0 * np.arange(N_SLICES)
    weights = np.eye(N_SLICES, dtype=np.float32)
    return PreparedVolume(voxels_hu, PreprocessSpec(), np.eye(4), np.eye(4), aligned, positions_mm, weights, ())


def build(name: str, folder: Path) -> Backbone:
    if name == "efficientnet_lite0":
        return build_backbone(name)
    return Backbone(default_registry().entry(name), BackboneStore(folder).find(name))


def idle(name: str) -> None:
    """Do all but hold the weights and run the network."""
    prepared = study()
    with torch.device("meta"):
        default_registry().entry(name).build_network()
    peak_bytes(lambda: torch.zeros(8) + 1, CPU)
    with torch.inference_mode():
        torch.nn.functional.conv2d(torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3))
        torch.nn.functional.linear(torch.zeros(8, 16), torch.zeros(4, 16))
    assert len(prepared.voxels_hu) == N_SLICES


def working(name: str, folder: Path) -> None:
    FeatureExtractor(build(name, folder), CPU).features(study())


def bound_mib(name: str, folder: Path) -> tuple[float, float]:
    """Return weights and activations of the largest batch, in MiB."""
    backbone = build(name, folder)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*backbone.parameters(), *backbone.buffers()))
    batch = torch.zeros(batch_limit(CPU), 3, 224, 224)
    with torch.inference_mode():
        return weights / 2**20, peak_bytes(lambda: backbone(batch), CPU) / 2**20


def peak_of(part: str, name: str, folder: Path, rounds: int) -> float:
    """Return the median of the peaks of several processes, in MiB."""
    command = [sys.executable, "-m", "benchmarks.inference_memory", "--part", part]
    command += ["--backbone", name, "--folder", str(folder)]
    return statistics.median(watched(command) for _ in range(rounds))


def watched(command: list[str]) -> float:
    """Run a command and return its largest anonymous resident memory, in MiB."""
    peak_kib = 0
    with subprocess.Popen(command) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            fields = (line.split() for line in status.read_text().splitlines() if line.startswith("RssAnon"))
            peak_kib = max(peak_kib, *(int(field[1]) for field in fields), 0)
            time.sleep(0.001)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {process.returncode}")
    return peak_kib / 1024


def compare(name: str, folder: Path, rounds: int) -> bool:
    weights, activations = bound_mib(name, folder)
    idle_mib, working_mib = (peak_of(part, name, folder, rounds) for part in ("idle", "working"))
    allowed = weights + FACTOR * activations
    used = working_mib - idle_mib
    print(f"{name}: weights {weights:.1f} MiB, activations of {batch_limit(CPU)} slices {activations:.1f} MiB")
    print(f"  idle process {idle_mib:.1f} MiB, working {working_mib:.1f} MiB: {used:.1f} MiB more")
    print(f"  allowed {allowed:.1f} MiB; ratio {used / allowed:.2f}: {'met' if used <= allowed else 'MISSED'}")
    return used <= allowed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("idle", "working"))
    parser.add_argument("--backbone", choices=NAMES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.part is not None:
        if arguments.part == "idle":
            idle(arguments.backbone)
        else:
            working(arguments.backbone, arguments.folder)
        return 0
    if not STATUS.is_file():
        print("Only Linux tells anonymous memory apart; nothing is measured here.")
        return 0
    print(f"{platform.platform()}, {platform.machine()}, {torch.get_num_threads()} threads, CPU only")
    with TemporaryDirectory() as root:
        store_random("dinov3_base", Path(root))
        met = [compare(name, Path(root), arguments.rounds) for name in NAMES]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
