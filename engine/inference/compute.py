"""What the user chooses about where and how the backbone is computed. No torch here: settings and commands read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
CpuRuntimeChoice = Literal["auto", "torch", "openvino"]
Precision = Literal["float32", "bfloat16"]

DEVICES: tuple[DeviceChoice, ...] = ("auto", "cpu", "cuda", "mps")
PRECISIONS: tuple[PrecisionChoice, ...] = ("auto", "float32", "bfloat16")
CPU_RUNTIMES: tuple[CpuRuntimeChoice, ...] = ("auto", "torch", "openvino")


@dataclass(frozen=True)
class Computing:
    """How the backbone is to be computed. Router, pooling, head and ledger are float32 on the CPU whatever it says.

    Attributes
    ----------
    precision
        ``auto`` takes bfloat16 where the hardware has it and the backbone's features bear it; see
        `engine.inference.precision`.
    cpu_runtime
        What runs the backbone on the CPU in float32; ``auto`` takes OpenVINO where it is installed.
    runtime_folder
        Where converted graphs are kept; None converts anew for every model that is loaded.
    """

    precision: PrecisionChoice = "auto"
    cpu_runtime: CpuRuntimeChoice = "auto"
    runtime_folder: Path | None = None


AUTOMATIC = Computing()

EXACT = Computing("float32", "torch")
"""torch in float32: what everything is compared with, and what retraining computes own studies with."""
