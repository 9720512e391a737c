"""Water between the two leaves of the septum pellucidum, in some as far back as a cavum vergae."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, union
from engine.phantom.tissue import Slab

KEY = "cavum_septum_pellucidum"


def _plan(head: Head, rng: np.random.Generator) -> None:
    half = float(rng.uniform(2.2, 4.5))
    verga = rng.random() < 0.4

    def paint(slab: Slab) -> Real:
        if slab.misses((0, 0, 14), 16):
            return slab.nothing()
        space = slab.blob((0.0, -20.0, 13.0), (half, 15.0, 9.0))
        if verga:
            space = union(space, slab.blob((0.0, 6.0, 18.0), (0.9 * half, 20.0, 7.0)))
        # The leaves: a wall is left on both sides, and brain is put where a ventricle would touch.
        wall = coverage(np.abs(slab.x - slab.field("shift")) - half - 1.4, 0.8) * (space > 0)
        slab.blend(head.white_hu + 2, wall * slab.cavity * slab.ventricles)
        slab.blend(head.csf_hu, space * slab.cavity)
        return np.asarray(space * slab.cavity, dtype=np.float32)

    head.add(KEY, paint, order=4)


PAINTER = Painter(KEY, 0.06, _plan, hu=(2, 20), replaces_hu=(4, 38), older=-0.5)
