"""All runs of a benchmark, one after the other, going on after a stop; then its tables and figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from engine.models.backbones.registry import BackboneRegistry, open_registry
from engine.progress import NULL_CONTEXT, Context
from trainer.benchmark.cohort import Studies
from trainer.benchmark.config import BenchmarkConfig
from trainer.benchmark.plan import Cell, Plan, make_plan
from trainer.benchmark.results import Finished, read_finished
from trainer.benchmark.single_run import Attempt
from trainer.protocol import EpochEnded

RUNS_FOLDER = "runs"


class Pace:
    """Which run of how many, and how long the rest may take by what the finished ones took.

    Parameters
    ----------
    total, done
        Runs of the benchmark, and those that were finished before.
    """

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._taken_s: list[float] = []
        self._began_s = time.monotonic()

    def begin(self) -> str:
        """Start the next run's clock; say which it is."""
        self._began_s = time.monotonic()
        return f"Run {self._done + 1} of {self._total}"

    def end(self) -> None:
        """Count a run."""
        self._done += 1
        self._taken_s.append(time.monotonic() - self._began_s)

    def left(self) -> str:
        """Return the time that is left in words; empty before a run has finished."""
        if not self._taken_s:
            return ""
        mean_s = sum(self._taken_s) / len(self._taken_s)
        left_s = max(0.0, mean_s * (self._total - self._done) - (time.monotonic() - self._began_s))
        return f"; {_duration(mean_s)} a run, about {_duration(left_s)} left"


def run_benchmark(
    config: BenchmarkConfig, out: Path, context: Context = NULL_CONTEXT, backbones: Path | None = None
) -> tuple[Plan, tuple[Finished, ...]]:
    """Do every run that is not finished in `out`; one that was stopped goes on from its checkpoint.

    Parameters
    ----------
    config
        The whole benchmark.
    out
        Folder for the cohort (unless the configuration names another) and for the runs.
    context
        Told of cohort, runs and epochs; asked between studies and between steps whether to stop.
    backbones
        The folder of the user's weights; None: only bundled ones.

    Raises
    ------
    TrainingError
        If a run cannot go on, or `out` holds runs of another configuration.
    PackageError
        If a backbone is not known, has no weights here, or LoRA cannot be applied to it.
    Cancelled
        When the context says so; a second call goes on from there.
    """
    registry = open_registry(backbones)
    plan = make_plan(config, registry)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    finished = {cell.place: found for cell in plan.cells if (found := read_finished(_folder(out, cell), cell))}
    studies, pace = Studies(config, out, backbones), Pace(len(plan.cells), len(finished))
    for cell in plan.cells:
        if cell.place not in finished:
            finished[cell.place] = _one(cell, out, studies, registry, pace, context)
    return plan, tuple(finished[cell.place] for cell in plan.cells)


def finished_runs(
    config: BenchmarkConfig, out: Path, backbones: Path | None = None
) -> tuple[Plan, tuple[Finished, ...]]:
    """Return the runs that are finished in `out`, and run nothing. Raises as `run_benchmark`."""
    plan = make_plan(config, open_registry(backbones))
    found = [read_finished(_folder(out, cell), cell) for cell in plan.cells]
    return plan, tuple(item for item in found if item is not None)


def _one(cell: Cell, out: Path, studies: Studies, registry: BackboneRegistry, pace: Pace, context: Context) -> Finished:
    studies.make_ready(cell.config, context)  # The cohort's time is no run's.
    title = f"{pace.begin()}, {cell.title}"

    def tell(event: EpochEnded) -> None:
        auc = "" if event.validation_auc is None else f", validation mean AUC {event.validation_auc:.3f}"
        text = f"{title}: epoch {event.epoch}, loss {event.train_loss:.4f}{auc}{pace.left()}"
        context.progress(event.epoch, event.max_epochs, text)

    done = Attempt(cell, _folder(out, cell), studies, registry, tell, context).run()
    pace.end()
    auc = "no finding has enough cases" if done.result.test_auc is None else f"test mean AUC {done.result.test_auc:.4f}"
    context.progress(0, 0, f"{title} finished after {done.result.epochs} epochs: {auc}{pace.left()}")
    return done


def _folder(out: Path, cell: Cell) -> Path:
    return out / RUNS_FOLDER / cell.place


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def by_arm(finished: Sequence[Finished]) -> Mapping[tuple[str, str], tuple[Finished, ...]]:
    """Return the runs of each backbone and arm, by seed."""
    grouped: dict[tuple[str, str], list[Finished]] = {}
    for item in finished:
        grouped.setdefault((item.cell.backbone.name, item.cell.arm), []).append(item)
    return {key: tuple(sorted(items, key=lambda item: item.cell.seed)) for key, items in grouped.items()}
