"""Peak memory of inference: at most the weights, plus 1.5 times the activations of the largest batch.

Run with ``python -m benchmarks.inference_memory``. Everything runs in processes of its own, on the CPU, a row for what
the program takes of itself on this machine (*default*), and one each for torch and OpenVINO in float32. *Idle* imports
the same modules, holds the same prepared study of 12 slices, builds the network on the meta device, and runs a
convolution and a matrix product in the row's runtimes, so that libraries have loaded what they load. *Working* also
builds the backbone, with its weights from a file, and computes the features of the study in batches of 4, with the
settings of memory that the program makes; OpenVINO's graph has been kept by an earlier run. The subject is the
difference of their peaks of anonymous resident memory (RssAnon of Linux, read every millisecond from outside), medians
of several processes. Pages of files are left out: code, and the weights' file, which is mapped while it is copied; the
system takes them back when it needs them.

The bound: bytes of parameters and buffers, once, plus 1.5 times the most bytes that tensors held at one moment in a
batch of four in torch and the row's precision, as `engine.inference.memory.peak_bytes` counts them; the batch itself is
not among them. OpenVINO gets the same bound, although it packs the weights once more beside torch's, which
explanations use. DINOv3-Base has random weights. The seconds of cores are those of one study after the first.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.inference.threads import use_large_pages, wait_passively

wait_passively()
use_large_pages()

import numpy as np  # noqa: E402 - torch reads both settings when it is loaded, as in main.py
import torch  # noqa: E402

from benchmarks.random_weights import store_random  # noqa: E402
from engine.inference import openvino_runtime  # noqa: E402
from engine.inference.compute import Computing  # noqa: E402
from engine.inference.features import FeatureExtractor  # noqa: E402
from engine.inference.memory import batch_limit, hand_back_for_runtime, peak_bytes  # noqa: E402
from engine.inference.precision import computing  # noqa: E402
from engine.models.backbones.network import Backbone  # noqa: E402
from engine.models.backbones.registry import build_backbone, default_registry  # noqa: E402
from engine.models.backbones.weights import BackboneStore  # noqa: E402
from engine.preprocess.spec import AlignmentReport, PreparedVolume, PreprocessSpec  # noqa: E402

FACTOR = 1.5
N_SLICES = 12
STATUS = Path("/proc/self/status")
CPU = torch.device("cpu")
NAMES = ("efficientnet_lite0", "dinov3_base")
ROWS = ("default", "torch", "openvino")


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


def idle(name: str, how: Computing) -> None:
    """Do all but hold the weights and run the network."""
    prepared = study()
    with torch.device("meta"):
        default_registry().entry(name).build_network()
    peak_bytes(lambda: torch.zeros(8) + 1, CPU)
    with torch.inference_mode():
        torch.nn.functional.conv2d(torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3))
        torch.nn.functional.linear(torch.zeros(8, 16), torch.zeros(4, 16))
    if how.cpu_runtime != "torch" and openvino_runtime.is_installed():
        tiny_graph()
    assert len(prepared.voxels_hu) == N_SLICES


def tiny_graph() -> None:
    """Have OpenVINO load its plugin and compute one convolution."""
    openvino = openvino_runtime._openvino()
    operators = importlib.import_module("openvino.opset13")
    picture = operators.parameter([-1, 3, 8, 8], np.float32)
    kernel = operators.constant(np.zeros((4, 3, 3, 3), dtype=np.float32))
    output = operators.convolution(picture, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    graph = openvino_runtime._compiled(openvino.Model([output], [picture], "tiny"))
    graph(np.zeros((1, 3, 8, 8), dtype=np.float32))


def working(name: str, how: Computing, folder: Path) -> None:
    """Compute the study twice: once for the memory, once for the time; print what computed, and seconds of cores."""
    hand_back_for_runtime(CPU, how)
    extractor = FeatureExtractor(build(name, folder), CPU, how)
    prepared = study()
    extractor.features(prepared)
    began_s = time.process_time()
    extractor.features(prepared)
    print(f"{extractor.computed_on}|{time.process_time() - began_s:.3f}")


def bound_mib(name: str, how: Computing, folder: Path) -> tuple[float, float]:
    """Return weights and activations of the largest batch, in MiB; keep OpenVINO's graph on the way."""
    extractor = FeatureExtractor(build(name, folder), CPU, how)
    extractor.features(study())
    backbone = extractor.backbone
    weights = sum(tensor.nbytes for tensor in (*backbone.parameters(), *backbone.buffers()))
    batch = torch.zeros(batch_limit(CPU), 3, 224, 224)
    precision = "bfloat16" if "bfloat16" in extractor.computed_on else "float32"
    with computing(CPU, precision):
        return weights / 2**20, peak_bytes(lambda: backbone(batch), CPU) / 2**20


def peak_of(part: str, name: str, row: str, folder: Path, rounds: int) -> tuple[float, list[str]]:
    """Return the median of the peaks of several processes, in MiB, and what each of them said."""
    command = [sys.executable, "-m", "benchmarks.inference_memory", "--part", part]
    command += ["--backbone", name, "--row", row, "--folder", str(folder)]
    found = [watched(command) for _ in range(rounds)]
    return statistics.median(peak for peak, _ in found), [said for _, said in found]


def watched(command: list[str]) -> tuple[float, str]:
    """Run a command; return its largest anonymous resident memory, in MiB, and what it printed."""
    peak_kib = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            fields = (line.split() for line in status.read_text().splitlines() if line.startswith("RssAnon"))
            peak_kib = max(peak_kib, *(int(field[1]) for field in fields), 0)
            time.sleep(0.001)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {process.returncode}")
    return peak_kib / 1024, said.strip()


def compare(name: str, row: str, folder: Path, rounds: int) -> bool:
    weights, activations = bound_mib(name, how_of(row, folder), folder)
    idle_mib, _ = peak_of("idle", name, row, folder, rounds)
    working_mib, said = peak_of("working", name, row, folder, rounds)
    allowed = weights + FACTOR * activations
    used = working_mib - idle_mib
    computed = said[0].partition("|")[0]
    seconds = statistics.median(float(line.partition("|")[2]) for line in said)
    print(f"{name}, {row} ({computed}): weights {weights:.1f} MiB, ", end="")
    print(f"activations of {batch_limit(CPU)} slices {activations:.1f} MiB")
    print(f"  idle process {idle_mib:.1f} MiB, working {working_mib:.1f} MiB: {used:.1f} MiB more; ", end="")
    print(f"{seconds:.3f} s of cores for {N_SLICES} slices")
    print(f"  allowed {allowed:.1f} MiB; ratio {used / allowed:.2f}: {'met' if used <= allowed else 'MISSED'}")
    return used <= allowed


def how_of(row: str, folder: Path) -> Computing:
    """Return how a row computes."""
    graphs = folder / "graphs"
    if row == "default":
        return Computing(runtime_folder=graphs)
    return Computing("float32", "torch" if row == "torch" else "openvino", graphs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("idle", "working"))
    parser.add_argument("--backbone", choices=NAMES)
    parser.add_argument("--row", choices=ROWS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.part is not None:
        how = how_of(arguments.row, arguments.folder)
        if arguments.part == "idle":
            idle(arguments.backbone, how)
        else:
            working(arguments.backbone, how, arguments.folder)
        return 0
    if not STATUS.is_file():
        print("Only Linux tells anonymous memory apart; nothing is measured here.")
        return 0
    print(f"{platform.platform()}, {platform.machine()}, {torch.get_num_threads()} threads, CPU only")
    names = NAMES if arguments.backbone is None else (arguments.backbone,)
    rows = [row for row in ROWS if arguments.row in (None, row)]
    if not openvino_runtime.is_installed():
        rows = [row for row in rows if row != "openvino"]
    with TemporaryDirectory() as root:
        store_random("dinov3_base", Path(root))
        met = [compare(name, row, Path(root), arguments.rounds) for name in names for row in rows]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
