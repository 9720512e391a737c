"""A training step end to end against a plain timm and peft loop at equal settings: at least 0.95 of its speed.

Run with ``python -m benchmarks.train_step``. Subject: `trainer.loop.Run` over studies in Zarr shards: reading, windows,
backbone with LoRA, MoLRE, loss, AdamW, checkpoints off. Baseline: timm's network, peft, the same head, loss, optimiser
and precision, on pictures that are in memory already. A study a step in both, nothing augmented, accumulated, clipped
or averaged. In turns; the median of the turns' ratios counts. The ratio of CPU seconds, reading included, is printed
beside it: other programs disturb it less.

Printed too: the share of the time that steps waited for data (target below 5 %), without and with augmentation; how
much the peak of memory grew when the cohort was four times as large (target: by less than one study's pictures a step);
and the peak of a step of 16 studies in as many parts, with adapters in the last two stages (target below 3 GiB) and,
for two studies, in every layer.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil
import timm
import torch
from peft import LoraConfig, inject_adapter_in_model

from engine.models.backbones.registry import build_backbone, default_registry
from engine.models.classifier import MoLREClassifier
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings, MoLRESettings
from engine.preprocess.spec import PreprocessSpec
from trainer.config import AugmentConfig, LossConfig, OptimiserConfig
from trainer.loop import FitSettings, Run
from trainer.losses import focal_loss, mean_over_known
from trainer.optimisers import make_optimiser
from trainer.team import Alone, Team
from trainer.volumes.model import EndToEndModel
from trainer.volumes.shards import PreparedStudy, ShardEntry, read_entries, write_shard
from trainer.volumes.source import ShardSource

TARGET, MAX_WAITING, MAX_STEP_MIB = 0.95, 0.05, 3072
BACKBONE, TIMM_NAME, N_FINDINGS = "efficientnet_lite0", "tf_efficientnet_lite0", 75
SPEC = PreprocessSpec()
CPU = torch.device("cpu")
LATE = ("blocks.5.", "blocks.6.", "conv_head")

Precision = Literal["no", "bf16"]


class Taken(NamedTuple):
    """Seconds by the clock, and of the process on all cores."""

    clock_s: float
    cpu_s: float

    @classmethod
    def since(cls, start: Taken) -> Taken:
        """Return what has gone by since `start`."""
        return cls(time.perf_counter() - start.clock_s, time.process_time() - start.cpu_s)

    @classmethod
    def now(cls) -> Taken:
        """Return the readings of both clocks."""
        return cls(time.perf_counter(), time.process_time())


def shards(folder: Path, n_studies: int, n_slices: int) -> tuple[ShardEntry, ...]:
    """Write studies of noise over a step of tissue, which compress about as a head does."""
    random = np.random.default_rng(1)
    for number in range(0, n_studies, 4):
        voxels = random.normal(30, 12, (n_slices, *SPEC.size_px)).astype(np.int16)
        voxels[:, :40] = voxels[:, -40:] = -1024
        labels = (random.random(N_FINDINGS) < 0.3).astype(np.int8)
        studies = [PreparedStudy(f"s{number + i}", "", voxels, labels) for i in range(min(4, n_studies - number))]
        write_shard(folder / f"{n_studies}-{number:05d}.zarr", studies)
    return tuple(entry for path in sorted(folder.glob(f"{n_studies}-*.zarr")) for entry in read_entries(path))


def open_team(precision: Precision) -> Team:
    if precision == "no":
        return Alone(CPU)
    from trainer.accelerated import AcceleratedTeam

    return AcceleratedTeam("cpu", precision)


def new_run(
    entries: tuple[ShardEntry, ...],
    augment: AugmentConfig | None = None,
    targets: tuple[str, ...] | None = None,
    batch_size: int = 1,
    team: Team = Alone(CPU),
) -> Run:
    """Make a run whose steps are of `batch_size` studies, each a part of its own."""
    backbone = build_backbone(BACKBONE)
    apply_lora(backbone, LoraSettings(targets=targets))
    classifier = MoLREClassifier(backbone.spec.feature_width, N_FINDINGS, MoLRESettings())
    source = ShardSource(entries, SPEC, CPU, augment)
    optimiser = OptimiserConfig(accumulate=batch_size)
    settings = FitSettings(1, LossConfig(), optimiser, 1, 1, 1, batch_size, "last", "benchmark", read_ahead=2)
    return Run(EndToEndModel(backbone, classifier), tuple(map(str, range(N_FINDINGS))), source, source, settings, team)


def subject(entries: tuple[ShardEntry, ...], augment: AugmentConfig | None, team: Team) -> tuple[Taken, float]:
    """Return what one epoch took, a study a step, and the share of the time that waited for data."""
    run = new_run(entries, augment, team=team)
    started = Taken.now()
    for parts in run.epoch(1):
        run.step(parts)
    taken = Taken.since(started)
    return taken, run.waited_s / taken.clock_s


def baseline(pictures: torch.Tensor, labels: torch.Tensor, n_steps: int, precision: Precision) -> Taken:
    """Return what as many steps of a loop that anybody would write took."""
    spec = default_registry().entry(BACKBONE).spec
    network = timm.create_model(TIMM_NAME, pretrained=False, num_classes=0).eval().requires_grad_(False)
    names = [name for name, _ in network.named_modules() if name.endswith(spec.lora_targets)]
    inject_adapter_in_model(LoraConfig(r=8, lora_alpha=16, target_modules=names, bias="none"), network)
    network.to(memory_format=torch.channels_last)
    classifier = MoLREClassifier(spec.feature_width, N_FINDINGS, MoLRESettings())
    model = torch.nn.ModuleDict({"backbone": network, "classifier": classifier})
    optimiser = make_optimiser(model, OptimiserConfig())
    known, alpha = torch.ones_like(labels, dtype=torch.bool), torch.full((N_FINDINGS,), 0.5)
    started = Taken.now()
    for _ in range(n_steps):
        x = ((pictures - torch.tensor(spec.mean).view(-1, 1, 1)) / torch.tensor(spec.std).view(-1, 1, 1)).contiguous(
            memory_format=torch.channels_last
        )
        with _autocast(precision):
            features = network(x)
        logits = classifier(features.float()[None]).logits_BC
        loss = mean_over_known(focal_loss(logits, labels, known, alpha, 2.0), known, torch.ones(1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return Taken.since(started)


def _autocast(precision: Precision) -> AbstractContextManager[object]:
    return nullcontext() if precision == "no" else torch.autocast("cpu", torch.bfloat16)


def reading_peak_mib(folder: Path, n_studies: int, n_slices: int) -> float:
    """Return the peak memory of a process that reads every study once, as training does, without a network."""
    return _peak_mib(
        f"source = ShardSource(shards(Path({str(folder)!r}), {n_studies}, {n_slices}), SPEC, CPU)\n"
        "for number in range(len(source.entries)): source.batch([number])\n"
    )


def step_peak_mib(folder: Path, n_studies: int, n_slices: int, late: bool, precision: Precision) -> float:
    """Return the peak memory of a process that takes one step of so many studies, one after the other."""
    return _peak_mib(
        f"entries = shards(Path({str(folder)!r}), {n_studies}, {n_slices})\n"
        f"targets = late_targets() if {late} else None\n"
        f"run = new_run(entries, None, targets, {n_studies}, open_team({precision!r}))\n"
        "for parts in run.epoch(1): run.step(parts)\n"
    )


def late_targets() -> tuple[str, ...]:
    """Return the layers of the last two stages that LoRA adapts."""
    backbone = build_backbone(BACKBONE)
    names = [name for name, _ in backbone.network.named_modules() if name.endswith(backbone.spec.lora_targets)]
    return tuple(name for name in names if name.startswith(LATE))


def _peak_mib(work: str) -> float:
    code = (
        "from pathlib import Path\n"
        "from benchmarks.train_step import *\n"
        f"{work}"
        # Not ru_maxrss: a child begins with the peak of the process that it was forked from.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("no", "bf16"), default="no", help="of both; as in [end_to_end]")
    arguments = parser.parse_args()
    precision: Precision = arguments.precision
    team = open_team(precision)
    with tempfile.TemporaryDirectory() as name:
        entries = shards(Path(name) / "a", arguments.studies, arguments.slices)
        batch = ShardSource(entries, SPEC, CPU).batch([0])
        pictures = batch.pictures_BMSHW[0].transpose(0, 1).contiguous()
        baseline(pictures, batch.targets_BC, 1, precision)
        subject(entries[:1], None, team)  # Both warm: the first convolutions of a process choose their kernels.
        turns = [
            (subject(entries, None, team), baseline(pictures, batch.targets_BC, len(entries), precision))
            for _ in range(arguments.rounds)
        ]
        augmented, augmented_waiting = subject(entries, AugmentConfig(), team)
        peaks = [reading_peak_mib(Path(name) / "b", n, arguments.slices) for n in (16, 64)]
        late_mib = step_peak_mib(Path(name) / "c", 16, arguments.slices, True, precision)
        all_mib = step_peak_mib(Path(name) / "d", 2, arguments.slices, False, precision)
    ratio = statistics.median(plain.clock_s / mine.clock_s for (mine, _), plain in turns)
    cpu_ratio = statistics.median(plain.cpu_s / mine.cpu_s for (mine, _), plain in turns)
    waiting = statistics.median(share for (_, share), _ in turns)
    grown, study_mib = peaks[1] - peaks[0], pictures.numel() * 4 / 2**20
    n_steps, plain_s = len(entries), statistics.median(plain.clock_s for _, plain in turns)
    mine_s = statistics.median(mine.clock_s for (mine, _), _ in turns)
    flat, small = grown < study_mib, late_mib < MAX_STEP_MIB
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, {psutil.cpu_count()} cores, device cpu")
    print(f"{BACKBONE}, LoRA and MoLRE, {arguments.slices} slices a step, precision {precision}")
    print(f"plain timm and peft loop  {plain_s / n_steps:6.2f} s a step, median of {arguments.rounds} turns")
    print(f"trainer                   {mine_s / n_steps:6.2f} s a step")
    print(f"with augmentation         {augmented.clock_s / n_steps:6.2f} s a step, waited {augmented_waiting:.1%}")
    print(f"speed ratio {ratio:.3f} (CPU seconds {cpu_ratio:.3f}), target at least {TARGET}: {_said(ratio >= TARGET)}")
    print(f"waited for data {waiting:.1%}, target below {MAX_WAITING:.0%}: {_said(waiting < MAX_WAITING)}")
    print(f"peak of reading 16 and 64 studies: {peaks[0]:.0f} and {peaks[1]:.0f} MiB: {'flat' if flat else 'GROWS'}")
    print(
        f"peak of a step of 16 studies in 16 parts, late adapters: {late_mib:.0f} MiB, "
        f"target below {MAX_STEP_MIB}: {_said(small)}"
    )
    print(f"the same of 2 studies in 2 parts, adapters in every layer: {all_mib:.0f} MiB")
    return 0 if ratio >= TARGET and waiting < MAX_WAITING and flat and small else 1


def _said(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
