"""Crescents: collections in the subdural space, shared by the painters of subdural findings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.phantom.head import Head, Side
from engine.phantom.lattice import F32
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab


@dataclass(frozen=True)
class Crescent:
    """A crescent over one hemisphere: its thickest place and how far it reaches to front, back, top and bottom."""

    side: Side
    thickness_mm: float
    y_mm: float
    z_mm: float
    reach_y_mm: float
    reach_z_mm: float


def plan_crescent(head: Head, rng: np.random.Generator, thickness_mm: tuple[float, float]) -> Crescent:
    """Draw a crescent on a free side and let it press on the brain."""
    side = head.free_side(rng)
    thickness = float(rng.uniform(*thickness_mm))
    shape = Crescent(
        side=side,
        thickness_mm=thickness,
        y_mm=float(rng.uniform(-30, 25)),
        z_mm=float(rng.uniform(12, 35)),
        reach_y_mm=float(rng.uniform(55, 90)),
        reach_z_mm=float(rng.uniform(34, 55)),
    )
    head.press((side * 55.0, shape.y_mm, shape.z_mm), thickness, max(0.0, thickness - 6) * float(rng.uniform(0.4, 0.9)))
    return shape


def crescent(slab: Slab, shape: Crescent) -> F32:
    """Return the coverage by a crescent, which ends short of the falx and the tentorium."""
    if slab.misses((0, 0, shape.z_mm), shape.reach_z_mm + 5):
        return slab.nothing()
    away = ((slab.y - shape.y_mm) / shape.reach_y_mm) ** 2 + ((slab.z - shape.z_mm) / shape.reach_z_mm) ** 2
    thickness = shape.thickness_mm * np.sqrt(np.maximum(1 - away, 0)) * (1 + 0.12 * slab.field("cloud"))
    inside = coverage(slab.field("table") - thickness, 1.0) * coverage(-(thickness - 1.0), 1.0)
    return np.asarray(
        inside * slab.cavity * slab.supratentorial * coverage(4 - shape.side * slab.x, 1.5), dtype=np.float32
    )
