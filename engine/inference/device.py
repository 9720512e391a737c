"""Where the classifier runs, and how its numbers are made to repeat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from engine.errors import InferenceError

DeviceChoice = Literal["auto", "cpu", "cuda"]
_CPU_BATCH = 4
_CUDA_BYTES_PER_SLICE = 256 * 2**20
_CUDA_BATCH_LIMIT = 64


def choose_device(choice: str) -> torch.device:
    """Return the device to use; ``auto`` takes the GPU where there is one.

    Raises
    ------
    InferenceError
        If `choice` is none of ``auto``, ``cpu``, ``cuda``, or is ``cuda`` where there is none (kind ``environment``).
    """
    if choice not in ("auto", "cpu", "cuda"):
        raise InferenceError(
            f"The device {choice} is not known.", hint="Choose auto, cpu or cuda.", code="inference.device_unknown"
        )
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise InferenceError(
            "No CUDA device can be used by this installation.",
            hint="Choose auto or cpu, or install a GPU driver and a CUDA build of torch.",
            code="inference.no_cuda",
            kind="environment",
        )
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def slices_per_batch(device: torch.device) -> int:
    """Return how many slices go through the backbone at once.

    From the device's total memory, not from what is free now: another batch size could change the last bits of the
    features. On a CPU four slices are fastest, their activations stay in the cache.
    """
    if device.type != "cuda":
        return _CPU_BATCH
    total = torch.cuda.get_device_properties(device).total_memory
    return int(max(1, min(_CUDA_BATCH_LIMIT, total // _CUDA_BYTES_PER_SLICE)))


@contextmanager
def repeatable() -> Iterator[None]:
    """Use deterministic algorithms in full float32 inside the block, then put torch's settings back."""
    # cuBLAS reads this when its handle is made; without it, deterministic matrix products are refused.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    )
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before[2], before[3]
        torch.backends.cuda.matmul.allow_tf32 = before[4]
