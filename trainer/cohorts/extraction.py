"""Features of a cohort's studies, study by study, by one process or several; what every kind of cohort shares."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch

from engine.errors import TrainingError
from engine.inference.compute import Computing
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.inference.helpers import end_with_parent
from engine.inference.openvino_runtime import is_installed
from engine.models.backbones.registry import build_backbone, open_registry
from engine.progress import Context

COMPUTING = Computing("float32", "auto")
"""How a frozen backbone's features are computed for training: in float32, on the CPU as inference does it. Not in
bfloat16: features are kept and shipped, and must be those of a machine without it too."""

C = TypeVar("C")
R = TypeVar("R")


def compute_all(cases: Sequence[C], compute: Callable[[C], R], workers: int, context: Context) -> Iterator[tuple[C, R]]:
    """Compute every case and yield it as soon as it is done.

    Parameters
    ----------
    compute
        Must survive pickling: a function of a module, or a `functools.partial` of one.
    workers
        Helper processes; with one, or with few cases, everything is done here.

    Raises
    ------
    TrainingError
        If a helper process ended unexpectedly.
    Cancelled
        Between two studies.
    """
    if workers == 1 or len(cases) < 2 * workers:
        for case in cases:
            context.raise_if_cancelled()
            yield case, compute(case)
        return
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_helper
    ) as pool:
        futures = {pool.submit(compute, case): case for case in cases}
        try:
            yield from _as_they_come(futures, context)
        except BrokenProcessPool as error:
            raise TrainingError(
                "A helper process that computes features ended unexpectedly, perhaps for want of memory.",
                hint="Start the run again with fewer workers; the features computed so far are kept.",
                code="training.helper_lost",
                kind="environment",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=1)
def open_extractor(backbone: str, backbones: Path | None) -> FeatureExtractor:
    """Return the backbone of a process, built once."""
    return FeatureExtractor(build_backbone(backbone, open_registry(backbones)), choose_device("cpu"), COMPUTING)


def runtime_name() -> str:
    """Name what runs backbones here: last bits of features depend on it, so the digests of cached ones hold it."""
    return f"openvino {importlib.metadata.version('openvino')}" if is_installed() else "torch"


def _as_they_come(futures: Mapping[Future[R], C], context: Context) -> Iterator[tuple[C, R]]:
    for future in as_completed(futures):
        context.raise_if_cancelled()
        yield futures[future], future.result()


def _start_helper() -> None:
    """Set a helper process up: one thread, and gone with its parent."""
    torch.set_num_threads(1)
    end_with_parent()
