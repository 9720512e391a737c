"""The cerebellar tonsils in the foramen magnum: brain on both sides of the medulla, no water around it."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "tonsillar_herniation"


def _plan(head: Head, rng: np.random.Generator) -> None:
    depth = float(rng.uniform(8, 16))
    bulk = float(rng.uniform(0.95, 1.2))
    head.fourth *= float(rng.uniform(0.6, 0.9))

    def paint(slab: Slab) -> Real:
        if slab.z_range[0] > -45:
            return slab.nothing()
        middle = -54 - 0.5 * depth
        radii = (21 * bulk, 20 * bulk, 10 + 0.5 * depth)
        tonsils = slab.blob((0.0, 34.0, middle), radii, irregular_mm=0.8) * slab.cavity
        slab.blend(head.grey_hu - 3 + slab.field("rough"), tonsils)
        return np.asarray(tonsils * coverage(-slab.field("stem"), 1.5), dtype=np.float32)

    head.add(KEY, paint, order=8)


PAINTER = Painter(KEY, 0.06, _plan, hu=(24, 44), replaces_hu=(2, 42))
