"""Peak memory of taking in a published checkpoint: at most 1.3 times the file.

Run with ``python -m benchmarks.convert``. A file of about 1.2 GB is written under timm's names for ViT-Large, random
values in float32, once as safetensors and once as a torch file. Each is converted by
`engine.models.backbones.convert.convert_checkpoint` in a process of its own. The baseline is the same process on the
same architecture with the same imports, with a configuration that makes it of almost no size. The subject is the
difference of their peak resident set sizes (``VmHWM``, which counts the mapped pages of the file too), over the file's
size. Linux only.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

FACTOR = 1.3
NAME = "timm:vit_large_patch16_224"
SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2}
KINDS = (".safetensors", ".pth")


def write(path: Path, small: bool) -> None:
    """Write the network's own random weights under timm's names."""
    import torch
    from safetensors.torch import save_file

    from engine.models.backbones.convert import network_shapes
    from engine.models.backbones.registry import default_registry

    shapes = network_shapes(default_registry().entry(NAME), config(small))
    tensors = {name: torch.rand(shape) for name, shape in shapes.items()}
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)


def config(small: bool) -> dict[str, object]:
    from engine.models.backbones.timm_any import config_for

    return config_for(NAME, "token", {"model_args": SMALL} if small else None)


def convert(path: Path, small: bool) -> None:
    """Convert, and print the peak of this process in MiB and the seconds that it took."""
    from engine.models.backbones.convert import Terms, convert_checkpoint
    from engine.models.backbones.registry import open_registry

    with TemporaryDirectory(dir=path.parent) as folder:
        registry = open_registry(Path(folder))
        assert registry.store is not None
        start_s = time.perf_counter()
        convert_checkpoint(path, NAME, registry, registry.store, Terms("none", "random"), config(small))
        print(json.dumps({"peak_mib": peak_mib(), "wall_s": time.perf_counter() - start_s}))


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return float(line.split()[1]) / 2**10


def in_process(part: str, path: Path, small: bool) -> str:
    command = [sys.executable, "-m", "benchmarks.convert", "--part", part, "--file", str(path)]
    return subprocess.run(command + ["--small"] * small, check=True, capture_output=True, text=True).stdout


def measured(path: Path, small: bool, rounds: int) -> tuple[float, float]:
    """Return the medians of peak in MiB and of wall time in seconds."""
    runs = [json.loads(in_process("convert", path, small)) for _ in range(rounds)]
    return statistics.median(run["peak_mib"] for run in runs), statistics.median(run["wall_s"] for run in runs)


def compare(folder: Path, suffix: str, rounds: int) -> bool:
    small, large = folder / f"small{suffix}", folder / f"large{suffix}"
    in_process("write", small, small=True)
    in_process("write", large, small=False)
    file_mib = large.stat().st_size / 2**20
    baseline_mib, _ = measured(small, True, rounds)
    peak, wall_s = measured(large, False, rounds)
    large.unlink()
    ratio = (peak - baseline_mib) / file_mib
    print(f"{suffix}: file {file_mib:.0f} MiB, {wall_s:.1f} s")
    print(f"  almost nothing converted {baseline_mib:.0f} MiB, converted {peak:.0f} MiB: {ratio:.2f} of the file")
    print(f"  target at most {FACTOR}: {'met' if ratio <= FACTOR else 'MISSED'}")
    return ratio <= FACTOR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("write", "convert"))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files are written; about 3 GB (default: temporary)")
    arguments = parser.parse_args()
    if arguments.part == "write":
        write(arguments.file, arguments.small)
        return 0
    if arguments.part == "convert":
        convert(arguments.file, arguments.small)
        return 0
    import torch

    print(f"{platform.platform()}, {platform.machine()}, {torch.get_num_threads()} threads, CPU only")
    with TemporaryDirectory(dir=arguments.folder) as root:
        met = [compare(Path(root), suffix, arguments.rounds) for suffix in KINDS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
