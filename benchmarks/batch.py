"""Slices per second of ``infer TREE --out-dir`` against those of the bare backbone, in the same run: at least 0.95.

Run with ``python -m benchmarks.batch``. Subject: the whole batch on a tree of DICOM studies, nothing cached: walk,
scan, read, prepare, backbone, classifier, checked ledger, a synced line a study; the model's loading apart. Baseline:
the same backbone on as many prepared slices that lie in memory, in the same batches, precision, runtime and threads;
and, for comparison, the batch's own steps one after the other, as its result lines tell them. What preparing costs must
be hidden behind the backbone, so that the ratio depends on the cores beside it: on a CPU both want the same ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import torch

from app.operations.infer_batch import BatchRequest, BatchSummary, helpers_for, infer_batch
from app.settings import AppPaths
from benchmarks.random_weights import store_random
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.findings.catalogue import Catalogue, load_catalogue
from engine.inference.compute import Computing
from engine.inference.predictor import Predictor
from engine.inference.threads import wait_passively
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.models.calibration import Calibration
from engine.models.classifier import MoLREClassifier
from engine.models.manifest import BackboneReference, ManifestDraft, TrainingRecord
from engine.models.package import write_package
from engine.models.settings import MoLRESettings
from engine.phantom.cohort import write_dicom
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.windows import to_channels

TARGET = 0.95
MAX_DRIFT = 1.15
"""The baseline is measured before and after; further apart than this, the machine was not quiet: no verdict."""


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


def random_package(folder: Path, name: str, keys: tuple[str, ...], registry: BackboneRegistry) -> Path:
    """Write a package of all findings on a backbone; neither its numbers nor the weights mean anything."""
    spec = registry.entry(name).spec
    draft = ManifestDraft(
        name="benchmark",
        version="1",
        notice="Random weights, for benchmarks only",
        backbone=BackboneReference(
            name=name, weights_digest=registry.weights_digest(name), feature_width=spec.feature_width
        ),
        finding_keys=keys,
        preprocessing=spec.preprocessing,
        molre=MoLRESettings(),
        operating_points=dict.fromkeys(keys, 0.5),
        training=TrainingRecord(
            description="None", data_digest="0" * 64, seed=0, parent_digest=None, trained_on="nothing"
        ),
    )
    classifier = MoLREClassifier(spec.feature_width, len(keys), draft.molre)
    none = Calibration.model_validate({})
    write_package(folder, draft, classifier, calibration=none, metrics={}, card="# Random\n", registry=registry)
    return folder


def bare_rate(predictor: Predictor, study: Path, n_slices: int) -> tuple[float, str]:
    """Return slices per second of the backbone alone, in the runtime that the batch uses, and how it computed."""
    volume = read_series(scan([study]).series[0])
    prepared = prepare(volume, predictor.package.manifest.preprocessing)
    predictor.features(prepared)  # Settles batch, precision and runtime, and warms up.
    extractor = predictor._extractor
    how = extractor.numerics(prepared)
    channels = to_channels(prepared.voxels_hu, prepared.spec.windows_hu)
    plan = extractor._plan(channels.shape[1:])
    pictures = np.concatenate([channels] * -(-n_slices // len(channels)))[:n_slices]
    began = time.perf_counter()
    for start in range(0, n_slices, plan.batch):
        extractor._run(plan, pictures[start : start + plan.batch])
    seconds = time.perf_counter() - began
    return n_slices / seconds, ", ".join(f"{key} {value}" for key, value in (how or {}).items())


def whole_batch(request: BatchRequest, catalogue: Catalogue) -> tuple[BatchSummary, float]:
    """Return how the batch went, and slices per second of its steps one after the other."""
    summary = infer_batch(request, catalogue)
    lines = (request.out_dir / "results.jsonl").read_text(encoding="utf-8").splitlines()
    in_turn_s = sum(json.loads(line)["timings_s"]["total"] for line in lines)
    return summary, summary.n_slices / in_turn_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--helpers", type=int)
    parser.add_argument("--model", type=Path, help="a package (default: the one that ships)")
    parser.add_argument("--backbone", metavar="NAME", help="random weights of this network in the package's place")
    arguments = parser.parse_args()
    wait_passively()
    paths = AppPaths.at(None)
    catalogue = load_catalogue(paths.catalogue_file)
    spec = PhantomSpec(
        matrix=arguments.matrix,
        pixel_spacing_mm=230 / arguments.matrix,
        n_slices=arguments.slices,
        slice_spacing_mm=160 / arguments.slices,
    )
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        tree, out = Path(name) / "tree", Path(name) / "out"
        out.mkdir()
        package = arguments.model or next(paths.bundled_models.iterdir())
        registry = None
        if arguments.backbone is not None:
            registry = open_registry(store_random(arguments.backbone, Path(name)).folder.parent)
            package = random_package(Path(name) / "package", arguments.backbone, tuple(catalogue), registry)
        # Kept graphs, so that the batch reads what the baseline's settling has converted, as a second run does.
        how = Computing(runtime_folder=Path(name) / "graphs")
        predictor = Predictor.open(package, catalogue, arguments.device, registry, how=how)
        write_tree(tree, arguments.studies, spec)
        request = BatchRequest(
            tree, out, package, arguments.device, registry, parquet=False, n_helpers=arguments.helpers, how=how
        )
        before, computed = bare_rate(predictor, tree / "0000", 8 * arguments.slices)
        summary, in_turn = whole_batch(request, catalogue)
        after, _ = bare_rate(predictor, tree / "0000", 8 * arguments.slices)
    rate, bare = summary.n_slices / summary.seconds, (before + after) / 2
    n_helpers = arguments.helpers or helpers_for(predictor.device.type, n_cores)
    print(f"{platform.platform()}, {n_cores} cores, {torch.get_num_threads()} threads of torch, {computed}")
    print(f"{summary.n_new} studies of {arguments.slices} × {arguments.matrix}², {summary.n_slices} prepared slices")
    print(f"{predictor.package.manifest.backbone.name}, {n_helpers} helper processes")
    print(f"bare backbone (baseline)       {bare:8.1f} slices/s (before {before:.1f}, after {after:.1f})")
    print(f"batch, steps one after another {in_turn:8.1f} slices/s, ratio {in_turn / bare:.2f}")
    print(f"batch                          {rate:8.1f} slices/s, ratio {rate / bare:.2f}")
    drift = max(before, after) / min(before, after)
    if drift > MAX_DRIFT:
        print(f"NO VERDICT: the baseline changed by {drift:.2f} times in this run; measure on a quiet machine")
        return 1
    met = rate >= TARGET * bare
    print(f"target: ratio of at least {TARGET}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
