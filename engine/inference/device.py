"""Where the classifier runs, and how its numbers are made to repeat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.errors import InferenceError
from engine.inference.compute import DEVICES


def choose_device(choice: str) -> torch.device:
    """Return the device to use; ``auto`` takes CUDA where it is, else Apple's GPU, else the CPU.

    Raises
    ------
    InferenceError
        If `choice` is none of ``auto``, ``cpu``, ``cuda``, ``mps``, or a GPU that is not there (kind ``environment``).
    """
    if choice not in DEVICES:
        raise InferenceError(
            f"The device {choice} is not known.",
            hint=f"Choose one of {', '.join(DEVICES)}.",
            code="inference.device_unknown",
        )
    available = available_devices()
    if choice == "auto":
        return torch.device(available[0])
    if choice not in available:
        raise _no_gpu(choice)
    return torch.device(choice)


def available_devices() -> tuple[str, ...]:
    """Return what can be computed on here, as ``auto`` prefers it."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, usable in there.items() if usable)


def _no_gpu(choice: str) -> InferenceError:
    words = {"cuda": "CUDA device", "mps": "GPU of Apple's"}[choice]
    return InferenceError(
        f"No {words} can be used by this installation.",
        hint="Choose auto or cpu, or install a GPU driver and a build of torch for it.",
        code=f"inference.no_{choice}",
        kind="environment",
    )


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
