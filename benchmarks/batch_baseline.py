"""What `benchmarks.batch` compares with: the bare backbone. Torch lives here, out of sight of the helper processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.random_weights import store_random
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.findings.catalogue import Catalogue
from engine.inference.compute import Computing
from engine.inference.predictor import Predictor
from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.models.calibration import Calibration
from engine.models.classifier import MoLREClassifier
from engine.models.manifest import BackboneReference, ManifestDraft, TrainingRecord
from engine.models.package import write_package
from engine.models.settings import MoLRESettings
from engine.preprocess.prepare import prepare
from engine.preprocess.windows import to_channels


@dataclass(frozen=True)
class Bare:
    """The backbone alone.

    Attributes
    ----------
    slices_per_s, core_s
        Slices a second, and seconds of cores for a slice.
    computed
        How it computed: device, precision, runtime, batch.
    """

    slices_per_s: float
    core_s: float
    computed: str


def devices() -> tuple[str, ...]:
    """Return the processor, and the CUDA card where there is one."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def random_model(name: str, folder: Path, keys: tuple[str, ...]) -> tuple[Path, BackboneRegistry]:
    """Store random weights of a network and write a package on them; return it, and where its backbone is found."""
    registry = open_registry(store_random(name, folder).folder.parent)
    return random_package(folder / "package", name, keys, registry), registry


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


def open_predictor(
    package: Path, catalogue: Catalogue, device: str, registry: BackboneRegistry | None, how: Computing
) -> Predictor:
    """Load the package as the batch does."""
    return Predictor.open(package, catalogue, device, registry, how=how)


def bare_backbone(predictor: Predictor, study: Path, n_slices: int) -> Bare:
    """Measure the backbone alone, in the batches, precision, runtime and threads of the batch."""
    volume = read_series(scan([study]).series[0])
    prepared = prepare(volume, predictor.package.manifest.preprocessing)
    predictor.features(prepared)  # Settles batch, precision and runtime, and warms up.
    extractor = predictor._extractor
    how = extractor.numerics(prepared)
    channels = to_channels(prepared.voxels_hu, prepared.spec.windows_hu)
    plan = extractor._plan(channels.shape[1:])
    pictures = np.concatenate([channels] * -(-n_slices // len(channels)))[:n_slices]
    began, began_core_s = time.perf_counter(), own_core_s()
    for start in range(0, n_slices, plan.batch):
        extractor._run(plan, pictures[start : start + plan.batch])
    seconds, core_s = time.perf_counter() - began, own_core_s() - began_core_s
    return Bare(
        n_slices / seconds, core_s / n_slices, ", ".join(f"{key} {value}" for key, value in (how or {}).items())
    )


def own_core_s() -> float:
    """Return the seconds of cores that this process has used."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
