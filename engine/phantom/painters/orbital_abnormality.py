"""Something wrong in one orbit: a mass behind the globe that pushes it out, blood in the globe, or gas."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import AIR_HU, Slab

KEY = "orbital_abnormality"
GLOBE_MM = (31.0, -71.0, -27.0)


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, kind = any_side(rng), rng.random()
    x, y, z = side * GLOBE_MM[0], GLOBE_MM[1], GLOBE_MM[2]
    behind = (x - side * 4.0, y + float(rng.uniform(13, 17)), z + float(rng.uniform(-3, 4)))
    radius = float(rng.uniform(6.5, 10))
    hu = float(rng.uniform(42, 62))
    blood_hu = float(rng.uniform(58, 75))

    def paint(slab: Slab) -> Real:
        if slab.misses(GLOBE_MM, 18):
            return slab.nothing()
        if kind < 0.6:
            mass = slab.blob(behind, (0.85 * radius, 1.25 * radius, radius), irregular_mm=1.2)
            mass = mass * coverage(slab.field("orbit"), 1.0) * coverage(-slab.field("globe"), 1.0)
            slab.blend(hu, mass)
        elif kind < 0.85:
            mass = coverage(slab.field("globe") + 2.2, 1.0) * (side * slab.x > 0)
            mass = mass * coverage(-2 - slab.y + y + 3 * slab.field("cloud"), 2.0)
            slab.blend(blood_hu, mass)
        else:
            mass = slab.blob((x - side * 6, y + 14, z + 9), (4.5, 7.0, 3.5), irregular_mm=1.0)
            mass = mass * coverage(slab.field("orbit"), 1.0)
            slab.blend(AIR_HU, mass)
        return np.asarray(mass, dtype=np.float32)

    head.add(KEY, paint, order=57)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-1024, 78), replaces_hu=(-110, 40))
