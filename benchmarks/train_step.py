"""A training step end to end against a plain timm and peft loop at equal settings: at least 0.95 of its speed.

Run with ``python -m benchmarks.train_step``. Subject: `trainer.loop.Run` over studies in Zarr shards: reading, windows,
backbone with LoRA, MoLRE, loss, AdamW, checkpoints off. Baseline: timm's network, peft, the same head and loss, on
pictures that are in memory already. In turns; the median of the turns' ratios counts. Printed beside it: the share of
the time that steps waited for data (target below 5 %), without and with augmentation, and how much the peak of memory
grew when the cohort was four times as large (target: by less than one study's pictures a step).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import timm
import torch
from peft import LoraConfig, inject_adapter_in_model

from engine.inference.threads import wait_passively
from engine.models.backbones.registry import build_backbone, default_registry
from engine.models.classifier import MoLREClassifier
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings, MoLRESettings
from engine.preprocess.spec import PreprocessSpec
from trainer.config import AugmentConfig, LossConfig, OptimiserConfig
from trainer.loop import FitSettings, Run
from trainer.losses import focal_loss, mean_over_known
from trainer.optimisers import make_optimiser
from trainer.volumes.model import EndToEndModel
from trainer.volumes.shards import PreparedStudy, ShardEntry, read_entries, write_shard
from trainer.volumes.source import ShardSource

TARGET, MAX_WAITING = 0.95, 0.05
BACKBONE, TIMM_NAME, N_FINDINGS = "efficientnet_lite0", "tf_efficientnet_lite0", 75
SPEC = PreprocessSpec()
CPU = torch.device("cpu")


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


def subject(entries: tuple[ShardEntry, ...], augment: AugmentConfig | None) -> tuple[float, float]:
    """Return seconds of one epoch, a study a step, and the share that waited for data."""
    backbone = build_backbone(BACKBONE)
    apply_lora(backbone, LoraSettings())
    classifier = MoLREClassifier(backbone.spec.feature_width, N_FINDINGS, MoLRESettings())
    source = ShardSource(entries, SPEC, CPU, augment)
    settings = FitSettings(1, LossConfig(), OptimiserConfig(), 1, 1, 1, 1, "last", "benchmark", read_ahead=2)
    run = Run(EndToEndModel(backbone, classifier), tuple(map(str, range(N_FINDINGS))), source, source, settings)
    started = time.perf_counter()
    for parts in run.epoch(1):
        run.step(parts)
    seconds = time.perf_counter() - started
    return seconds, run.waited_s / seconds


def baseline(pictures: torch.Tensor, labels: torch.Tensor, n_steps: int) -> float:
    """Return seconds of as many steps of a loop that anybody would write."""
    spec = default_registry().entry(BACKBONE).spec
    network = timm.create_model(TIMM_NAME, pretrained=False, num_classes=0).eval().requires_grad_(False)
    names = [name for name, _ in network.named_modules() if name.endswith(spec.lora_targets)]
    inject_adapter_in_model(LoraConfig(r=8, lora_alpha=16, target_modules=names, bias="none"), network)
    network.to(memory_format=torch.channels_last)
    classifier = MoLREClassifier(spec.feature_width, N_FINDINGS, MoLRESettings())
    model = torch.nn.ModuleDict({"backbone": network, "classifier": classifier})
    optimiser = make_optimiser(model, OptimiserConfig())
    known, alpha = torch.ones_like(labels, dtype=torch.bool), torch.full((N_FINDINGS,), 0.5)
    started = time.perf_counter()
    for _ in range(n_steps):
        x = ((pictures - torch.tensor(spec.mean).view(-1, 1, 1)) / torch.tensor(spec.std).view(-1, 1, 1)).contiguous(
            memory_format=torch.channels_last
        )
        logits = classifier(network(x)[None]).logits_BC
        loss = mean_over_known(focal_loss(logits, labels, known, alpha, 2.0), known, torch.ones(1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return time.perf_counter() - started


def reading_peak_mib(folder: Path, n_studies: int, n_slices: int) -> float:
    """Return the peak memory of a process that reads every study once, as training does, without a network."""
    code = (
        "import resource, torch\nfrom pathlib import Path\n"
        "from benchmarks.train_step import CPU, SPEC, shards\n"
        "from trainer.volumes.source import ShardSource\n"
        f"source = ShardSource(shards(Path({str(folder)!r}), {n_studies}, {n_slices}), SPEC, CPU)\n"
        "for number in range(len(source.entries)): source.batch([number])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    wait_passively()
    with tempfile.TemporaryDirectory() as name:
        entries = shards(Path(name) / "a", arguments.studies, arguments.slices)
        batch = ShardSource(entries, SPEC, CPU).batch([0])
        pictures = batch.pictures_BMSHW[0].transpose(0, 1).contiguous()
        baseline(pictures, batch.targets_BC, 1)
        subject(entries[:1], None)  # Both warm: the first convolutions of a process choose their kernels.
        turns = [
            (subject(entries, None), baseline(pictures, batch.targets_BC, len(entries)))
            for _ in range(arguments.rounds)
        ]
        augmented_s, augmented_waiting = subject(entries, AugmentConfig())
        peaks = [reading_peak_mib(Path(name) / "b", n, arguments.slices) for n in (16, 64)]
    ratio = statistics.median(plain / mine for (mine, _), plain in turns)
    waiting = statistics.median(share for (_, share), _ in turns)
    grown, study_mib = peaks[1] - peaks[0], pictures.numel() * 4 / 2**20
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, {psutil.cpu_count()} cores, device cpu")
    print(f"{BACKBONE}, LoRA and MoLRE, {arguments.slices} slices a step, median of {arguments.rounds} turns")
    print(f"plain timm and peft loop  {statistics.median(plain for _, plain in turns) / len(entries):6.2f} s a step")
    print(f"trainer                   {statistics.median(mine for (mine, _), _ in turns) / len(entries):6.2f} s a step")
    print(f"with augmentation         {augmented_s / len(entries):6.2f} s a step, waited {augmented_waiting:.1%}")
    print(f"speed ratio {ratio:.3f}, target at least {TARGET}: {'met' if ratio >= TARGET else 'MISSED'}")
    met = waiting < MAX_WAITING
    print(f"waited for data {waiting:.1%}, target below {MAX_WAITING:.0%}: {'met' if met else 'MISSED'}")
    flat = grown < study_mib
    print(f"peak of reading 16 and 64 studies: {peaks[0]:.0f} and {peaks[1]:.0f} MiB: {'flat' if flat else 'GROWS'}")
    return 0 if ratio >= TARGET and met and flat else 1


if __name__ == "__main__":
    sys.exit(main())
