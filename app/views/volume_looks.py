"""The looks of the 3D view: which Hounsfield units are opaque, and their colours. No VTK."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """A transfer function: (HU, opacity) and (HU, red, green, blue)."""

    key: str
    label: str
    opacity: tuple[tuple[float, float], ...]
    color: tuple[tuple[float, float, float, float], ...]
    brain_only: bool = False


LOOKS: tuple[Look, ...] = (
    Look(
        "bone",
        "Bone",
        ((-1000, 0), (180, 0), (320, 0.55), (1200, 0.9), (3000, 1)),
        ((-1000, 0.3, 0.25, 0.2), (200, 0.75, 0.6, 0.45), (700, 0.95, 0.9, 0.8), (3000, 1, 1, 1)),
    ),
    Look(
        "brain",
        "Brain",
        ((-1000, 0), (8, 0), (22, 0.12), (40, 0.5), (90, 0.85), (200, 0.9)),
        ((-1000, 0, 0, 0), (10, 0.35, 0.3, 0.4), (35, 0.85, 0.68, 0.62), (55, 0.95, 0.85, 0.8), (80, 0.98, 0.92, 0.88)),
        brain_only=True,
    ),
)
