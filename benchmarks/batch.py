"""Slices per second of ``infer TREE --out-dir`` against those of the bare backbone, in the same run: at least 0.95.

Run with ``python -m benchmarks.batch``. Subject: the whole batch on a tree of DICOM studies, nothing cached: walk,
scan, read, prepare, backbone, classifier, checked ledger, a synced line a study. Baseline: the same backbone on
prepared slices that lie in memory, in the same batches, precision, runtime and threads. A row for the CPU, and one for
a CUDA card where there is one.

A batch is thousands of studies, so the steady state is measured: from the end of study number ``WARM_UP`` to the end of
the last one. The start of the helper processes, a second once a run, is told apart, and so is the loading of the model.

What preparing costs must be hidden behind the backbone. On a GPU the processor's cores are free for it. On a CPU both
want the same cores, and no program can do better than keep all of them busy: a study takes at least (seconds of cores
of the forward + those of all the rest) / cores. The bare backbone's time over that is printed as the ceiling: a ratio
below the target with a ceiling below the target is the machine's; the verdict is against the target all the same.
"""

# Helper processes import this script again as their main module. As main.py does, it must not bring torch along: what
# needs it is in `batch_baseline`, imported in functions.

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pydicom

from app.operations.infer_batch import BatchRequest, helpers_for, infer_batch
from app.settings import AppPaths
from engine.findings.catalogue import Catalogue, load_catalogue
from engine.inference.compute import Computing
from engine.inference.threads import wait_passively
from engine.phantom.cohort import write_dicom
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate

if TYPE_CHECKING:
    from benchmarks.batch_baseline import Bare
    from engine.models.backbones.registry import BackboneRegistry

TARGET = 0.95
MAX_DRIFT = 1.15
"""The baseline is measured before and after; further apart than this, the machine was not quiet: no verdict."""

WARM_UP = 4
"""Studies before the measured ones: helpers have started, and work ahead as far as they may."""


@dataclass(frozen=True)
class Moment:
    """When a study was through: seconds of the clock, of this process's cores, and of its helpers' cores."""

    clock_s: float
    own_core_s: float
    helpers_core_s: float


@dataclass
class Watch:
    """A context that notes when each study is through."""

    began_s: float = field(default_factory=time.perf_counter)
    moments: list[Moment] = field(default_factory=list)

    def progress(self, done: int, total: int, text: str) -> None:
        """Note the moment if one more study is done; steps are counted from one."""
        if done - 1 > len(self.moments):
            me = psutil.Process()
            helpers = sum(_core_s(child) for child in me.children())
            self.moments.append(Moment(time.perf_counter(), _core_s(me), helpers))

    def raise_if_cancelled(self) -> None:
        """Return: nobody can cancel."""


@dataclass(frozen=True)
class Steady:
    """A study in the steady state, in seconds: of the clock, of this process's cores, of the helpers' cores."""

    seconds: float
    own_core_s: float
    helpers_core_s: float
    slices: float
    start_s: float


def _core_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def write_tree(folder: Path, n_studies: int, spec: PhantomSpec) -> None:
    """Write one phantom under many study and series UIDs: reading and preparing do not know the difference."""
    first = folder / "0000"
    write_dicom(generate(1, spec), first)
    for number in range(1, n_studies):
        for path in shutil.copytree(first, folder / f"{number:04d}").iterdir():
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID += f".{number}"
            dataset.SeriesInstanceUID += f".{number}"
            dataset.save_as(path)


def whole_batch(request: BatchRequest, catalogue: Catalogue) -> Steady:
    """Run the batch and return what a study takes in the steady state."""
    watch = Watch()
    summary = infer_batch(request, catalogue, watch)
    first, last = watch.moments[WARM_UP - 1], watch.moments[-1]
    n_studies = len(watch.moments) - WARM_UP
    return Steady(
        seconds=(last.clock_s - first.clock_s) / n_studies,
        own_core_s=(last.own_core_s - first.own_core_s) / n_studies,
        helpers_core_s=(last.helpers_core_s - first.helpers_core_s) / n_studies,
        slices=summary.n_slices / summary.n_new,
        start_s=summary.seconds - (last.clock_s - watch.moments[0].clock_s),
    )


def compare(arguments: argparse.Namespace, device: str, tree: Path, root: Path, catalogue: Catalogue) -> bool:
    """Measure one device and print its row; return whether the target is met on a quiet machine."""
    from benchmarks import batch_baseline

    package: Path = arguments.model or next(AppPaths.at(None).bundled_models.iterdir())
    registry: BackboneRegistry | None = None
    if arguments.backbone is not None:
        package, registry = batch_baseline.random_model(arguments.backbone, root, tuple(catalogue))
    # Kept graphs, so that the batch reads what the baseline's settling has converted, as a second run does.
    how = Computing(runtime_folder=root / "graphs")
    predictor = batch_baseline.open_predictor(package, catalogue, device, registry, how)
    out = root / "out"
    out.mkdir()
    request = BatchRequest(tree, out, package, device, registry, parquet=False, n_helpers=arguments.helpers, how=how)
    n_slices = 8 * arguments.slices
    before = batch_baseline.bare_backbone(predictor, tree / "0000", n_slices)
    batch = whole_batch(request, catalogue)
    after = batch_baseline.bare_backbone(predictor, tree / "0000", n_slices)
    n_helpers = arguments.helpers or helpers_for(device, n_cores())
    print(f"{predictor.package.manifest.backbone.name}, {before.computed}, {n_helpers} helper processes")
    return report(before, batch, after)


def report(before: Bare, batch: Steady, after: Bare) -> bool:
    """Print a row; return whether the target is met on a quiet machine."""
    bare = (before.slices_per_s + after.slices_per_s) / 2
    forward_core_s = (before.core_s + after.core_s) / 2 * batch.slices
    rest_core_s = max(0.0, batch.own_core_s + batch.helpers_core_s - forward_core_s)
    rate = batch.slices / batch.seconds
    least_s = max(batch.slices / bare, (forward_core_s + rest_core_s) / n_cores())
    ceiling = batch.slices / least_s / bare
    print(f"  bare backbone (baseline) {bare:8.1f} slices/s (before {before.slices_per_s:.1f}, ", end="")
    print(f"after {after.slices_per_s:.1f})")
    print(
        f"  batch, steady state      {rate:8.1f} slices/s, ratio {rate / bare:.2f}; {batch.slices:.0f} slices a study"
    )
    print(f"  once a run, helpers' start and first study: {batch.start_s:.1f} s")
    print(f"  seconds of cores a study: forward {forward_core_s:.2f}, all the rest {rest_core_s:.2f} ", end="")
    print(f"(this process {batch.own_core_s:.2f} with the forward, helpers {batch.helpers_core_s:.2f})")
    print(f"  ceiling on {n_cores()} cores: {ceiling:.2f}; forward / (forward + rest): ", end="")
    print(f"{forward_core_s / (forward_core_s + rest_core_s):.2f}")
    drift = max(before.slices_per_s, after.slices_per_s) / min(before.slices_per_s, after.slices_per_s)
    if drift > MAX_DRIFT:
        print(f"  NO VERDICT: the baseline changed by {drift:.2f} times in this run; measure on a quiet machine")
        return False
    met = rate >= TARGET * bare
    print(f"  target: ratio of at least {TARGET}: {'met' if met else 'MISSED'}")
    return met


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--device", default="all", choices=("all", "cpu", "cuda"))
    parser.add_argument("--helpers", type=int)
    parser.add_argument("--model", type=Path, help="a package (default: the one that ships)")
    parser.add_argument("--backbone", metavar="NAME", help="random weights of this network in the package's place")
    arguments = parser.parse_args()
    if arguments.studies <= WARM_UP:
        parser.error(f"more than {WARM_UP} studies are needed")
    wait_passively()
    from benchmarks import batch_baseline

    catalogue = load_catalogue(AppPaths.at(None).catalogue_file)
    spec = PhantomSpec(
        matrix=arguments.matrix,
        pixel_spacing_mm=230 / arguments.matrix,
        n_slices=arguments.slices,
        slice_spacing_mm=160 / arguments.slices,
    )
    print(f"{platform.platform()}, {n_cores()} cores; {arguments.studies} studies of ", end="")
    print(f"{arguments.slices} × {arguments.matrix}², the first {WARM_UP} not measured")
    chosen = batch_baseline.devices() if arguments.device == "all" else (arguments.device,)
    met = []
    with tempfile.TemporaryDirectory() as name:
        write_tree(Path(name) / "tree", arguments.studies, spec)
        for device in chosen:
            root = Path(name) / device
            root.mkdir()
            met.append(compare(arguments, device, Path(name) / "tree", root, catalogue))
    if "cuda" not in batch_baseline.devices():
        print("no CUDA card at hand: no row for one")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
