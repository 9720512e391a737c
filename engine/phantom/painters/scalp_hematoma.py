"""Blood in the scalp: a dense lens on the outer table that lifts the skin."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import SKIN_HU, Slab

KEY = "scalp_hematoma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    direction = (side * 1.0, float(rng.uniform(-1.4, 1.4)), float(rng.uniform(0.0, 0.9)))
    centre = vault_point(head, direction, -head.skull_mm - 1)
    radius = float(rng.uniform(16, 30))
    height = head.scalp_mm + float(rng.uniform(2, 8))
    hu = float(rng.uniform(46, 66))
    cx, cy, cz = centre

    def paint(slab: Slab) -> Real:
        if slab.misses(centre, radius + 3):
            return slab.nothing()
        outer = -slab.field("table") - np.float32(head.skull_mm)
        away = ((slab.x - cx) ** 2 + (slab.y - cy) ** 2 + (slab.z - cz) ** 2) / np.float32(radius**2)
        lens = outer - height * unit(1 - away)
        lifted = coverage(lens, 1.0) * coverage(-outer, 1.0) * (away < 1) * (1 - slab.bone)
        slab.blend(SKIN_HU, coverage(lens - 2.0, 1.0) * coverage(-outer, 1.0) * (away < 1) * (1 - slab.bone))
        slab.blend(hu + 4 * slab.field("rough"), lifted)
        return np.asarray(lifted, dtype=np.float32)

    head.add(KEY, paint, order=55)


PAINTER = Painter(KEY, 0.06, _plan, hu=(42, 75), replaces_hu=(-130, 10))
