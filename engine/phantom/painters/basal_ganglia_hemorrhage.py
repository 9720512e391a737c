"""A hypertensive bleed into the lentiform nucleus, pushing the midline when large."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "basal_ganglia_hemorrhage"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    radius = float(rng.uniform(6, 18))
    centre = (side * float(rng.uniform(25, 30)), float(rng.uniform(-8, 6)), float(rng.uniform(0, 9)))
    radii: Point = (0.75 * radius, float(rng.uniform(1.0, 1.5)) * radius, float(rng.uniform(0.85, 1.15)) * radius)
    hu, rim = float(rng.uniform(58, 72)), float(rng.uniform(2.0, 5.0))
    head.press(centre, radius, max(0.0, (radius - 8) * float(rng.uniform(0.35, 0.85))))

    def paint(slab: Slab) -> Real:
        edema = slab.blob(centre, (radii[0] + rim, radii[1] + rim, radii[2] + rim), irregular_mm=1.5, edge_mm=3.0)
        slab.add(-8.0, edema * slab.brain)
        bleed = slab.blob(centre, radii, irregular_mm=1.3) * slab.cavity
        slab.blend(hu + 2 * slab.field("rough"), bleed)
        return bleed

    head.add(KEY, paint, order=20)


PAINTER = Painter(KEY, 0.06, _plan, hu=(48, 75), replaces_hu=(26, 42))
