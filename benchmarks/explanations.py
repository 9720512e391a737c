"""Maps against the truth: phantoms with painted findings, which the shipped model has not been trained on.

Run with ``python -m benchmarks.explanations``; some minutes on two cores. For every painted finding that the model
covers: at slice level, whether the highest of a study's slices shows the finding; at pixel level, on the slice that
shows most of it, whether the highest pixel lies in it, and the area under the ROC curve of the map against the mask,
inside the head. Baselines in the same run: a random map, and the picture itself, |HU - 35|, which no model has read.
The target is that every method's area at pixel level is above the random map's.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from engine.explain.counterfactual import compute_counterfactual
from engine.explain.ledger import compute_ledger
from engine.explain.localisation import mask_auc, points_at, prepared_mask
from engine.explain.maps import METHODS, SliceMapRequest
from engine.explain.plain_head import PLAIN_BRAIN_HU
from engine.explain.slice_maps import explain_slice
from engine.explain.spread import spread
from engine.explain.subject import SliceLogit, Subject
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import open_registry
from engine.models.lora import package_backbone
from engine.models.package import LoadedPackage, load_package
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PhantomStudy, generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import HEAD_THRESHOLD_HU

FIRST_SEED = 900_000_000
"""Training took seeds from 3 000 000 to 4 000 000 (`trainer.cohorts.phantom.plan`, cohort seed 3)."""

MODEL = Path(__file__).resolve().parents[1] / "resources" / "models" / "phantom-demo"
PER_STUDY = 2

Rows = dict[str, list[tuple[bool, float]]]
"""By method: whether it points at the finding, and its area under the curve."""


def subject_of(study: PhantomStudy, package: LoadedPackage, backbone: Backbone) -> Subject:
    prepared = prepare(study.volume, package.manifest.preprocessing)
    features_SD = FeatureExtractor(backbone, choose_device("cpu")).features(prepared)
    return Subject(package.classifier, backbone, package.manifest.finding_keys, features_SD, prepared)


def slice_scores(subject: Subject, key: str, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Return one number a slice from everything that gives one."""
    row, n_slices = subject.finding_row(key), len(subject.features_SD)
    with torch.no_grad():
        features_BSD = torch.from_numpy(subject.features_SD).unsqueeze(0)
        output = subject.classifier(features_BSD)
        ledger_BCSK, _ = compute_ledger(subject.classifier, features_BSD, output)
        without_S = compute_counterfactual(subject.classifier, features_BSD, output).without_slice_BCS[0, row]
        drops = []
        for index in range(n_slices):
            logit = SliceLogit(subject, key, index)
            logits = logit(torch.cat([subject.picture(index), subject.plain_picture(index)]))
            drops.append(float(logits[0] - logits[1]))
    gradcam = [
        explain_slice(subject, SliceMapRequest(key, index, "gradcam", faithfulness=False)).values.sum()
        for index in range(n_slices)
    ]
    return {
        "ledger": ledger_BCSK[0, row].sum(dim=1).double().numpy(),
        "attention": output.attention_BS[0].double().numpy(),
        "without the slice": (output.logits_BC[0, row] - without_S).double().numpy(),
        "slice as plain brain": np.array(drops),
        "gradcam": np.array(gradcam, dtype=np.float64),
        "random": rng.standard_normal(n_slices),
    }


def score(subject: Subject, key: str, mask: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Rows]:
    """Score one finding of one study."""
    tables: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    shown = mask.any(axis=(1, 2))
    for name, scores in slice_scores(subject, key, rng).items():
        tables["slice"][name].append((points_at(scores, shown), mask_auc(scores, shown)))
    index = int(np.argmax(mask.sum(axis=(1, 2))))
    voxels_hu = subject.prepared.voxels_hu[index]
    head = ndimage.binary_fill_holes(voxels_hu > HEAD_THRESHOLD_HU)
    maps = {
        "picture alone": np.abs(voxels_hu - PLAIN_BRAIN_HU),
        "random": spread(rng.standard_normal((14, 14)), subject.size_px),
    }
    for method in METHODS:
        drawn = explain_slice(subject, SliceMapRequest(key, index, method))
        maps[method] = drawn.values
        faith = drawn.faithfulness
        if faith is not None:
            measured = {method: faith.own} | ({"random": faith.random} if method == "ledger" else {})
            for name, scored in measured.items():
                share = scored.infidelity / faith.unexplained if faith.unexplained > 0 else float("nan")
                tables["faith"][name].append((scored.area < faith.random.area, scored.area))
                tables["infidelity"][name].append((True, share))
    for name, values in maps.items():
        inside, truth = values[head], mask[index][head]
        tables["pixel"][name].append((points_at(inside, truth), mask_auc(inside, truth)))
    return tables


def report(title: str, rows: Rows) -> None:
    """Print one table: mean and standard error over the cases."""
    print(f"\n{title}\n\n| map | cases | pointing game | AUC |\n| --- | --- | --- | --- |")
    for name, scored in rows.items():
        hits = np.array([hit for hit, _ in scored], dtype=float)
        areas = np.array([area for _, area in scored])
        areas = areas[np.isfinite(areas)]
        error = areas.std(ddof=1) / np.sqrt(len(areas)) if len(areas) > 1 else float("nan")
        print(f"| {name} | {len(scored)} | {hits.mean():.2f} | {areas.mean():.3f} ± {error:.3f} |")


def report_faithfulness(tables: dict[str, Rows]) -> None:
    print("\nfaithfulness, pixel level\n")
    print("| map | cases | area of the deletion curve, logits | better than random | infidelity / a map of zeros |")
    print("| --- | --- | --- | --- | --- |")
    for name, scored in tables["faith"].items():
        areas = np.array([area for _, area in scored])
        better = np.mean([hit for hit, _ in scored])
        infidelity = np.nanmedian([share for _, share in tables["infidelity"][name]])
        shown = "–" if name == "random" else f"{better:.2f}"
        print(f"| {name} | {len(scored)} | {areas.mean():+.3f} | {shown} | {infidelity:.2f} (median) |")


def report_findings(by_finding: dict[str, list[tuple[float, float]]]) -> None:
    print(
        "\nledger at pixel level, by finding\n\n| finding | cases | AUC | mean probability |\n| --- | --- | --- | --- |"
    )
    for key, values in sorted(by_finding.items()):
        areas, probabilities = np.array(values).T
        print(f"| {key} | {len(values)} | {np.nanmean(areas):.2f} | {probabilities.mean():.2f} |")


def run(n_studies: int) -> tuple[dict[str, Rows], dict[str, Rows], dict[str, list[tuple[float, float]]]]:
    """Return the tables over all cases, over those that the model calls positive, and the ledger by finding."""
    registry = open_registry(None)
    package = load_package(MODEL, registry)
    backbone = package_backbone(package, registry)
    everything: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    found: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    by_finding: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(n_studies):
        study = generate(FIRST_SEED + number, PhantomSpec(anatomy="varied", scanner="varied"))
        rng = np.random.default_rng(number)
        subject = subject_of(study, package, backbone)
        masks = {key: prepared_mask(study.masks[key], study.volume, subject.prepared) for key in study.masks}
        covered = [key for key, mask in masks.items() if key in subject.finding_keys and mask.any()]
        for key in rng.permutation(covered)[:PER_STUDY] if covered else ():
            key = str(key)
            scored = score(subject, key, masks[key], rng)
            with torch.no_grad():
                logits_BC = subject.classifier(torch.from_numpy(subject.features_SD).unsqueeze(0)).logits_BC
            probability = float(torch.sigmoid(logits_BC[0, subject.finding_row(key)]))
            by_finding[key].append((scored["pixel"]["ledger"][0][1], probability))
            positive = probability >= package.manifest.operating_points[key]
            for total in (everything, found) if positive else (everything,):
                merge(total, scored)
        print(f"{number + 1}/{n_studies}", file=sys.stderr, flush=True)
    return everything, found, by_finding


def merge(total: dict[str, Rows], scored: dict[str, Rows]) -> None:
    for table, rows in scored.items():
        for name, values in rows.items():
            total[table][name].extend(values)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20, help="phantoms; up to two findings of each are scored")
    n_studies = parser.parse_args().studies
    started = time.perf_counter()
    everything, found, by_finding = run(n_studies)
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, device cpu, torch {torch.__version__}")
    print(f"{n_studies} phantoms, seeds from {FIRST_SEED}, model {MODEL.name}; {time.perf_counter() - started:.0f} s")
    for words, tables in (("all painted findings", everything), ("those that the model calls positive", found)):
        report(f"slice level, {words}", tables["slice"])
        report(f"pixel level, {words}", tables["pixel"])
    report_faithfulness(everything)
    report_findings(by_finding)
    areas = {name: float(np.nanmean([area for _, area in rows])) for name, rows in everything["pixel"].items()}
    missed = [method for method in METHODS if not areas[method] > areas["random"]]
    print(f"\ntarget, every method above the random map: {'met' if not missed else 'MISSED by ' + ', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
