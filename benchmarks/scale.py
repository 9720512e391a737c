"""Storage, hours and cost of the paper's cohort (72,756 studies), computed from rates measured in this run.

Run with ``python -m benchmarks.scale``; ``--markdown docs/scale.md`` writes the tables into that document. Measured on
few studies, painting not counted: reading DICOM (from the page cache), preparing, writing and reading shards, the
forward pass of each backbone of slices, training the head on cached features, and training end to end with LoRA (the
subject) against the forward pass (the baseline), which gives the factor for networks that are only measured forward.
Networks without bundled weights have random ones of the published shape: rates do not depend on them. On the CPU a rate
is processor time, of all threads together, so that it does not depend on how many cores there are; on a GPU it is the
card's time. Prices are arguments; 1.00 is a placeholder, not anybody's price. There is no target.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import torch

from benchmarks.random_weights import random_backbone
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.inference.device import choose_device
from engine.inference.threads import wait_passively
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import build_backbone, default_registry
from engine.models.classifier import MoLREClassifier
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings, MoLRESettings
from engine.phantom.cohort import write_dicom
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from trainer.config import AugmentConfig, LossConfig, OptimiserConfig
from trainer.datasets import StudyFeatures
from trainer.loop import FitData, FitSettings, Run, fit
from trainer.volumes.model import EndToEndModel
from trainer.volumes.shards import PreparedStudy, ShardEntry, read_entries, read_voxels, to_int16, write_shard
from trainer.volumes.source import ShardSource

TRAIN, VALIDATE, TEST, CENTRES = 58_251, 7_291, 7_214, 9
STUDIES = TRAIN + VALIDATE + TEST
N_FINDINGS = 75
KEYS = tuple(map(str, range(N_FINDINGS)))
CPU = torch.device("cpu")
SPEC = PreprocessSpec()
SCAN = PhantomSpec(matrix=512, pixel_spacing_mm=0.45, n_slices=32, slice_spacing_mm=5.0)
TRAINED = {"efficientnet_lite0": 40, "dinov3_base": 4}
"""Networks that are trained here, with the slices of a study that is enough to measure them."""
FORWARD_ONLY = ("dinov3_large",)
FACTOR_OF = "dinov3_base"
BEGIN, END = "<!-- benchmarks.scale: begin -->", "<!-- benchmarks.scale: end -->"


@dataclass(frozen=True)
class StudyRates:
    """Seconds and bytes of a study, and its slices as acquired and as prepared."""

    read_s: float
    prepare_s: float
    write_s: float
    reread_s: float
    dicom_bytes: float
    shard_bytes: float
    acquired: int
    prepared: float


@dataclass(frozen=True)
class NetworkRates:
    """Seconds of a slice forward and trained, and of a study and epoch of head-only training.

    `factor_of` names the network whose training over forward gave `train_s`; empty where it was measured.
    """

    name: str
    width: int
    million: float
    forward_s: float
    train_s: float
    head_s: float
    factor_of: str = ""


T = TypeVar("T")


def timed(action: Callable[[], T], device: torch.device = CPU) -> tuple[T, float]:
    """Return the result, and the processor time of all threads or the card's time, in seconds."""
    if device.type == "cpu":
        started = time.process_time()
        return action(), time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    result = action()
    torch.cuda.synchronize()
    return result, time.perf_counter() - started


def sources(folder: Path, n: int, series: Path | None) -> list[Path]:
    """Return folders of DICOM series: the one given, or phantoms painted for this run."""
    if series is not None:
        return [series]
    folders = [folder / f"dicom{number}" for number in range(n)]
    for number, place in enumerate(folders):
        write_dicom(generate(number + 1, SCAN), place)
    return folders


def study_rates(folder: Path, places: Sequence[Path]) -> tuple[StudyRates, tuple[ShardEntry, ...]]:
    """Measure everything that a study goes through before a network sees it."""
    prepare(read_series(scan([places[0]]).series[0]), SPEC)  # Warm: libraries load, and the files are in memory.
    seconds, studies, acquired = {"read": 0.0, "prepare": 0.0}, [], 0
    for number, place in enumerate(places):
        volume, read_s = timed(lambda place=place: read_series(scan([place]).series[0]))
        prepared, prepare_s = timed(lambda volume=volume: prepare(volume, SPEC))
        seconds["read"] += read_s
        seconds["prepare"] += prepare_s
        acquired += len(volume.voxels)
        labels_C = (np.random.default_rng(number).random(N_FINDINGS) < 0.3).astype(np.int8)
        studies.append(PreparedStudy(f"s{number}", "", to_int16(prepared.voxels_hu), labels_C))
    shard, n = folder / "whole.zarr", len(studies)
    _, write_s = timed(lambda: write_shard(shard, studies))
    entries = read_entries(shard)
    _, reread_s = timed(lambda: [read_voxels(entry) for entry in entries])
    rates = StudyRates(
        read_s=seconds["read"] / n,
        prepare_s=seconds["prepare"] / n,
        write_s=write_s / n,
        reread_s=reread_s / n,
        dicom_bytes=sum(file.stat().st_size for place in places for file in place.rglob("*") if file.is_file()) / n,
        shard_bytes=sum(file.stat().st_size for file in shard.rglob("*") if file.is_file()) / n,
        acquired=acquired // n,
        prepared=sum(entry.n_slices for entry in entries) / n,
    )
    return rates, entries


def short_studies(folder: Path, entries: Sequence[ShardEntry], n_slices: int) -> tuple[ShardEntry, ...]:
    """Return three studies of so many slices from the middle of those that there are."""
    studies = []
    for number in range(3):
        entry = entries[number % len(entries)]
        first = max(0, (entry.n_slices - n_slices) // 2)
        voxels = read_voxels(entry)[first : first + n_slices]
        studies.append(PreparedStudy(f"short{number}", "", voxels, entry.labels_C))
    write_shard(folder / f"{n_slices}.zarr", studies)
    return read_entries(folder / f"{n_slices}.zarr")


def new_backbone(name: str) -> Backbone:
    """Return the bundled network, or one of the published shape."""
    bundled = default_registry().entry(name).bundled_digest() is not None
    return build_backbone(name) if bundled else random_backbone(name)


def forward_s(model: EndToEndModel, source: ShardSource, device: torch.device) -> float:
    """Return seconds a slice of the frozen network on studies that are in memory."""
    pictures = [source.pictures(number) for number in range(len(source.entries))]
    model.study_features(pictures[0])
    _, seconds = timed(lambda: [model.study_features(each) for each in pictures[1:]], device)
    return seconds / sum(each.shape[1] for each in pictures[1:])


def train_s(model: EndToEndModel, entries: Sequence[ShardEntry], device: torch.device) -> float:
    """Return seconds a slice of the trainer's own steps, a study each: reading, augmentation, LoRA, MoLRE, AdamW."""
    settings = FitSettings(1, LossConfig(), OptimiserConfig(), 1, 1, 1, 1, "last", "scale", read_ahead=0)
    seconds = 0.0
    for chosen in (entries[:1], entries):  # Once to warm.
        source = ShardSource(chosen, SPEC, device, AugmentConfig())
        run = Run(model, KEYS, source, source, settings)
        _, seconds = timed(lambda run=run: [run.step(parts) for parts in run.epoch(1)], device)
    return seconds / sum(entry.n_slices for entry in entries)


def head_s(width: int, n_slices: int, n: int = 128) -> float:
    """Return seconds a training study and epoch on cached features; a study in eight is validated, as in the paper."""
    random = np.random.default_rng(1)
    studies = [
        StudyFeatures(
            str(number),
            random.standard_normal((n_slices, width), dtype=np.float32).astype(np.float16),
            (random.random(N_FINDINGS) < 0.2).astype(np.int8),
        )
        for number in range(n + n // 8)
    ]
    classifier = MoLREClassifier(width, N_FINDINGS, MoLRESettings())
    settings = FitSettings(1, LossConfig(), OptimiserConfig(), 2, 2, 2, 16, "last", "scale")
    data = FitData(KEYS, studies[:n], studies[n:])
    with tempfile.TemporaryDirectory() as folder:
        _, seconds = timed(lambda: fit(classifier, data, settings, Path(folder) / "c.safetensors", lambda _: None))
    return seconds / (n * settings.max_epochs)


def network_rates(
    name: str,
    n_slices: int | None,
    entries: Sequence[ShardEntry],
    folder: Path,
    like: NetworkRates | None,
    device: torch.device,
) -> NetworkRates:
    """Measure a network; with no slices to train on it is measured forward, and `like` gives the rest."""
    backbone = new_backbone(name)
    million = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    short = short_studies(folder, entries, n_slices or 1)
    classifier = MoLREClassifier(backbone.spec.feature_width, N_FINDINGS, MoLRESettings())
    model = EndToEndModel(backbone, classifier).to(device)
    forward = forward_s(model, ShardSource(short, SPEC, device), device)
    train = float("nan") if like is None else forward * like.train_s / like.forward_s
    if n_slices:
        apply_lora(backbone, LoraSettings())
        train = train_s(model.to(device), short, device)
    width = backbone.spec.feature_width
    mean_slices = round(sum(entry.n_slices for entry in entries) / len(entries))
    factor_of = "" if n_slices else "no network" if like is None else like.name
    return NetworkRates(name, width, million, forward, train, head_s(width, mean_slices), factor_of)


@dataclass(frozen=True)
class Prices:
    """Of an hour of one core and of one GPU, in whatever currency the user thinks; and epochs of a run."""

    core_hour: float
    gpu_hour: float
    epochs: int


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, the first column to the left."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def rates_table(study: StudyRates, networks: Sequence[NetworkRates], unit: str) -> str:
    """Return what was measured, a study and a slice."""
    rows = [
        ("reading DICOM, a study", f"{study.read_s:.3f}", "core-s"),
        ("preparing, a study", f"{study.prepare_s:.3f}", "core-s"),
        ("writing shards, a study", f"{study.write_s:.3f}", "core-s"),
        ("reading shards, a study", f"{study.reread_s:.4f}", "core-s"),
    ]
    for net in networks:
        origin = f"by the factor of {net.factor_of}" if net.factor_of else "measured"
        rows += [
            (f"{net.name} ({net.million:.0f} M): forward, a slice", f"{net.forward_s:.4f}", f"{unit}-s"),
            (
                f"{net.name}: trained end to end with LoRA, a slice ({origin})",
                f"{net.train_s:.4f}",
                f"{unit}-s, {net.train_s / net.forward_s:.1f} × forward",
            ),
            (f"{net.name}: head only, a study and epoch", f"{net.head_s:.5f}", "core-s"),
        ]
    return table(("rate", "value", "unit"), rows)


def storage_table(study: StudyRates, networks: Sequence[NetworkRates]) -> str:
    """Return bytes of a study and of the cohort."""
    rows = [("DICOM as read, not compressed", study.dicom_bytes), ("prepared shards, int16, zstd", study.shard_bytes)]
    widths = {net.width: net.name for net in networks}
    rows += [(f"features of {name}, {width} × float16", study.prepared * width * 2) for width, name in widths.items()]
    return table(
        ("what", "MB a study", "GB, 72,756 studies", "GB, a ninth (one centre)"),
        [
            (what, f"{n / 1e6:.3f}", f"{n * STUDIES / 1e9:,.1f}", f"{n * STUDIES / CENTRES / 1e9:,.1f}")
            for what, n in rows
        ],
    )


def cost_table(study: StudyRates, networks: Sequence[NetworkRates], prices: Prices, device: torch.device) -> str:
    """Return hours and cost of every stage for the whole cohort."""
    cores = psutil.cpu_count() or 1
    once_s = study.read_s + study.prepare_s + study.write_s
    stages: list[tuple[str, str, float]] = [("read, prepare and write all studies, once", "core", once_s * STUDIES)]
    unit = "core" if device.type == "cpu" else "gpu"
    for net in networks:
        slices = study.prepared
        epoch_s = slices * (TRAIN * net.train_s + VALIDATE * net.forward_s)
        stages += [
            (f"{net.name}: features of all studies, once", unit, STUDIES * slices * net.forward_s),
            (f"{net.name}: head only, {prices.epochs} epochs", "core", prices.epochs * TRAIN * net.head_s),
            (f"{net.name}: end to end, {prices.epochs} epochs", unit, prices.epochs * epoch_s),
        ]
    rows = []
    for what, kind, seconds in stages:
        hours = seconds / 3600
        price = prices.core_hour if kind == "core" else prices.gpu_hour
        here = hours / (cores if kind == "core" else 1)
        rows.append((what, f"{hours:,.1f} {kind}-h", f"{here / 24:,.2f}", f"{hours * price:,.0f}"))
    here = f"days on {cores} cores" if unit == "core" else f"days on {cores} cores or the card"
    return table(("stage", "hours", here, "cost"), rows)


def document(study: StudyRates, networks: Sequence[NetworkRates], prices: Prices, device: torch.device) -> str:
    """Return all tables with what they were measured on."""
    kind = "no GPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, {kind}, torch {torch.__version__}"
    return "\n".join(
        (
            f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine}. Studies of {study.acquired} acquired slices, "
            f"{study.prepared:.0f} prepared ones.",
            "",
            rates_table(study, networks, "core" if device.type == "cpu" else "gpu"),
            "",
            storage_table(study, networks),
            "",
            f"Cost: a core-hour at {prices.core_hour:.2f}, a GPU-hour at {prices.gpu_hour:.2f}.",
            "",
            cost_table(study, networks, prices, device),
        )
    )


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a document."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2)
    parser.add_argument("--series", type=Path, metavar="DIR", help="a real DICOM series in the place of phantoms")
    parser.add_argument("--trained", nargs="*", default=list(TRAINED), choices=list(TRAINED))
    parser.add_argument("--forward", nargs="*", default=list(FORWARD_ONLY), help="networks measured forward only")
    parser.add_argument("--epochs", type=int, default=20, help="the paper's least")
    parser.add_argument("--core-hour", type=float, default=1.0, metavar="PRICE", help="placeholder: 1.00")
    parser.add_argument("--gpu-hour", type=float, default=1.0, metavar="PRICE", help="placeholder: 1.00")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables between the file's two marks")
    arguments = parser.parse_args()
    wait_passively()
    device = choose_device(arguments.device)
    networks: list[NetworkRates] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, entries = study_rates(folder, sources(folder, arguments.studies, arguments.series))
        for chosen in (*arguments.trained, *arguments.forward):
            trained = [net for net in networks if not net.factor_of]
            like = next((net for net in trained if net.name == FACTOR_OF), trained[-1] if trained else None)
            networks.append(network_rates(chosen, TRAINED.get(chosen), entries, folder / chosen, like, device))
            print(f"measured {chosen}", file=sys.stderr)
    text = document(study, networks, Prices(arguments.core_hour, arguments.gpu_hour, arguments.epochs), device)
    print(text)
    if arguments.markdown is not None:
        put_into(arguments.markdown, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
