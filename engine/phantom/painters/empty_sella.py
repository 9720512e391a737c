"""A sella full of CSF, with what is left of the gland on its floor."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "empty_sella"


def _plan(head: Head, rng: np.random.Generator) -> None:
    size = float(rng.uniform(1.0, 1.3))
    centre = (0.0, -16.0, -29.0)
    radii = (8.0 * size, 6.0 * size, 6.0 * size)

    def paint(slab: Slab) -> Real:
        if slab.misses(centre, 12):
            return slab.nothing()
        fossa = slab.blob(centre, radii)
        shell = unit(slab.blob(centre, (radii[0] + 1.8, radii[1] + 1.8, radii[2] + 1.8)) - fossa)
        slab.blend(650.0, shell * coverage(slab.z + 26, 2.0) * coverage(-slab.depth + 1, 1.5))
        slab.blend(head.csf_hu, fossa)
        # The gland is a thin sickle at the bottom.
        slab.blend(40.0, fossa * coverage(slab.z - centre[2] + 0.7 * radii[2], 1.0))
        return np.asarray(fossa * coverage(centre[2] - 0.7 * radii[2] - slab.z, 1.0), dtype=np.float32)

    head.add(KEY, paint, order=32)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-10, 60), replaces_hu=(0, 900))
