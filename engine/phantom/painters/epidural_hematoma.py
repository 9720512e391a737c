"""A dense lens between skull and dura, mostly at the temple."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "epidural_hematoma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = head.free_side(rng)
    direction = (side * 1.0, float(rng.uniform(-0.75, 0.75)), float(rng.uniform(-0.1, 0.5)))
    cx, cy, cz = vault_point(head, direction, 0.0)
    radius, thickness = float(rng.uniform(20, 34)), float(rng.uniform(8, 24))
    hu = float(rng.uniform(60, 75))
    head.press((cx, cy, cz), thickness, max(0.0, (thickness - 10) * float(rng.uniform(0.35, 0.8))))

    def paint(slab: Slab) -> Real:
        if slab.misses((cx, cy, cz), radius):
            return slab.nothing()
        away = ((slab.x - cx) ** 2 + (slab.y - cy) ** 2 + (slab.z - cz) ** 2) / np.float32(radius**2)
        # Along the skull the lens ends at its radius; inwards its thickness falls off as a paraboloid.
        lens = slab.field("table") - thickness * (1 - away)
        blood = coverage(lens, 1.0) * coverage(away * 8 - 8, 1.0) * slab.cavity
        slab.blend(hu + 2 * slab.field("rough"), blood)
        return blood

    head.add(KEY, paint, order=42)


PAINTER = Painter(KEY, 0.06, _plan, hu=(56, 85), replaces_hu=(25, 45), older=-0.5)
