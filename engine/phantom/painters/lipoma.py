"""Fat at the middle line: over the corpus callosum, or in the quadrigeminal cistern; in some with calcium beside it."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, unit
from engine.phantom.tissue import Slab

KEY = "lipoma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    size = float(rng.uniform(0.8, 1.5))
    hu = float(rng.uniform(-110, -75))
    calcium = rng.random() < 0.35
    centre: Point = (float(rng.uniform(-1.5, 1.5)), float(rng.uniform(-14, 6)), float(rng.uniform(26, 30)))
    radii: Point = (3.6 * size, 15 * size, 4.2 * size)
    if rng.random() < 0.45:
        centre, radii = (float(rng.uniform(-3, 3)), 27.0, float(rng.uniform(-5, 0))), (5 * size, 4 * size, 4.5 * size)

    def paint(slab: Slab) -> Real:
        fat = slab.blob(centre, radii, irregular_mm=0.8) * slab.cavity
        slab.blend(hu, fat)
        if calcium:
            shell = unit(slab.blob(centre, (radii[0] + 1.5, radii[1] + 1, radii[2] + 1)) - fat) * slab.cavity
            slab.blend(180.0, shell * unit(2 * slab.field("rough") - 0.6))
        return fat

    head.add(KEY, paint, order=27)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-120, -25), replaces_hu=(5, 56))
