"""A linear fracture of the vault: a thin dark cleft through both tables, up and down one side."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "calvarial_fracture"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    if f"open:{side}" in head.flags:
        side = -1 if side == 1 else 1
    angle = float(rng.uniform(-1.25, 1.25))
    lean = float(rng.uniform(-0.35, 0.35))
    width_mm = float(rng.uniform(1.4, 3.4))
    low = float(rng.uniform(-8, 25))
    high = low + float(rng.uniform(20, 40))

    def paint(slab: Slab) -> Real:
        if slab.z_range[1] < low or slab.z_range[0] > high:
            return slab.nothing()
        # The plane of the cleft holds the radial direction at `angle`, measured from the side to the back.
        along = slab.y * np.float32(np.cos(angle)) - side * slab.x * np.float32(np.sin(angle))
        along = along - np.float32(lean) * (slab.z - low) + np.float32(1.2) * slab.field("rough")
        outward = side * slab.x * np.float32(np.cos(angle)) + slab.y * np.float32(np.sin(angle))
        cleft = coverage(np.abs(along) - width_mm / 2, 0.8) * (outward > 20)
        cleft = cleft * coverage(np.abs(slab.z - (low + high) / 2) - (high - low) / 2, 1.5)
        cleft = cleft * unit(3 * slab.bone) * coverage(slab.field("table"), 1.0) * coverage(-slab.field("floor"), 2.0)
        slab.blend(30.0, cleft)
        return cleft

    head.add(KEY, paint, order=52)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-50, 500), replaces_hu=(600, 1300), planned=3)
