"""bfloat16 or float32 for the backbone. Everything after it is float32, whatever is chosen here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from engine.errors import InferenceError
from engine.inference.compute import PRECISIONS, Precision
from engine.inference.device import repeatable

MAX_DIFFERENCE = 0.02
"""By how much, relative to its length, bfloat16 may move a feature for ``auto`` to take it. Vision transformers move by
some thousandths. EfficientNet-Lite0, whose channels are rounded anew in every one of its depthwise layers, moves by
0.03 to 0.2, and the probabilities with it by 0.02: it stays in float32."""


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Run the backbone inside the block: no gradients, repeatable, in this precision."""
    reduced = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
    with torch.inference_mode(), repeatable(), reduced:
        yield


def choose_precision(choice: str, device: torch.device, features: Callable[[Precision], Tensor]) -> Precision:
    """Return the backbone's precision; ``auto`` is float32 unless bfloat16 is native here and changes little.

    Apple's GPUs stay in float32: nobody has checked bfloat16 on them for this program.

    Parameters
    ----------
    choice
        ``auto``, ``float32`` or ``bfloat16``.
    device
        Where the backbone runs.
    features
        Computes the feature of `test_picture` in a precision; called for ``auto`` only, where bfloat16 is native.

    Raises
    ------
    InferenceError
        If the choice is not known, or is bfloat16 on a device that this program does not use it on.
    """
    if choice not in PRECISIONS or (choice == "bfloat16" and device.type not in ("cpu", "cuda")):
        raise InferenceError(
            f"The precision {choice} cannot be used on the device {device.type}.",
            hint=f"Choose one of {', '.join(PRECISIONS)}; on {device.type}, auto always works.",
            code="inference.precision_unknown",
        )
    if choice == "auto":
        agrees = native_bfloat16(device) and difference(features("bfloat16"), features("float32")) <= MAX_DIFFERENCE
        return "bfloat16" if agrees else "float32"
    return "bfloat16" if choice == "bfloat16" else "float32"


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices itself: Ampere and later, AMX, AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # Older versions of torch do not tell; float32 is right everywhere.
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("amx_bf16", False) or found.get("avx512_bf16", False))


def difference(changed: Tensor, exact: Tensor) -> float:
    """Return the length of the difference of two features over the length of the second; not finite is infinite."""
    value = float(torch.linalg.vector_norm(changed.float() - exact.float()) / torch.linalg.vector_norm(exact.float()))
    return value if np.isfinite(value) else float("inf")


def test_picture(shape: tuple[int, ...]) -> Tensor:
    """Return one picture (1, M, H, W) or volume (1, M, S, H, W) in 0..1 to compare computations on, always the same.

    A bright shell around uneven grey matter, as large as the field: like a head, unlike noise, it has edges and
    flat parts.
    """
    generator = torch.Generator().manual_seed(20)
    axes = [torch.linspace(-1.0, 1.0, length) if length > 1 else torch.zeros(1) for length in shape[1:]]
    squares = [(axis / 0.9) ** 2 for axis in axes]
    radius = torch.stack(torch.meshgrid(*squares, indexing="ij")).sum(dim=0).sqrt()
    grey = 0.4 + 0.1 * torch.rand(shape, generator=generator)
    return torch.where(radius < 0.85, grey, (radius < 1.0).float()).unsqueeze(0)
