"""A thickened inner table of the frontal bone, knobbly, on both sides of a spared middle line."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "hyperostosis"


def _plan(head: Head, rng: np.random.Generator) -> None:
    thickness = float(rng.uniform(4.0, 9.5))
    low, high = float(rng.uniform(-12, 2)), float(rng.uniform(32, 50))
    back = float(rng.uniform(-46, -34))

    def paint(slab: Slab) -> Real:
        if slab.z_range[1] < low or slab.z_range[0] > high:
            return slab.nothing()
        frontal = unit((back - slab.y) / 14) * unit((np.abs(slab.x) - 3) / 7)
        frontal = frontal * unit((slab.z - low) / 8) * unit((high - slab.z) / 8)
        knobs = thickness * frontal * (1 + 0.35 * slab.field("cloud"))
        bone = coverage(slab.field("table") - knobs, 1.0) * coverage(1.2 - knobs, 0.8) * slab.cavity
        slab.blend(head.table_hu * 0.85 + 60 * slab.field("rough"), bone)
        return np.asarray(bone, dtype=np.float32)

    head.add(KEY, paint, order=48)


PAINTER = Painter(KEY, 0.06, _plan, hu=(450, 1350), replaces_hu=(10, 90), older=0.4)
