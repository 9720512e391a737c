"""A smooth dome on a wall of a maxillary sinus, surrounded by air."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "sinus_retention_cyst"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, radius = any_side(rng), float(rng.uniform(7.5, 11))
    angle = float(rng.uniform(-0.6, 1.3))
    # The dome's middle is near the wall: outside, behind, or on the floor.
    x, y = 27 + 11 * float(np.cos(angle)), -62 + 13 * float(np.sin(angle))
    centre = (side * x, y, float(rng.uniform(-66, -56)))
    hu = float(rng.uniform(10, 38))

    def paint(slab: Slab) -> Real:
        dome = slab.blob(centre, (radius, radius, radius)) * coverage(slab.field("maxillary"), 1.0)
        dome = dome * coverage(slab.field("skin") + 2, 1.0) * (slab.hu < -200)
        slab.blend(hu, dome)
        return np.asarray(dome, dtype=np.float32)

    head.add(KEY, paint, order=59)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-60, 45), replaces_hu=(-1024, -600))
