"""A round, slightly dense outpouching at a branching of the circle of Willis, in some with a rim of calcium."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab
from engine.phantom.vessels import BRANCHINGS_MM

KEY = "aneurysm"


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = BRANCHINGS_MM[rng.integers(len(BRANCHINGS_MM))]
    radius = float(rng.uniform(4.0, 11.0))
    centre = (any_side(rng) * x, y, z + 0.4 * radius)
    hu = float(rng.uniform(46, 62))
    rim_hu = float(rng.uniform(150, 400)) if rng.random() < 0.4 else 0.0

    def paint(slab: Slab) -> Real:
        dome = slab.blob(centre, (radius, radius, radius), irregular_mm=0.3) * slab.cavity
        slab.blend(hu, dome)
        if rim_hu:
            inner = slab.blob(centre, (radius - 1.2,) * 3, edge_mm=1.0)
            slab.blend(rim_hu, unit(dome - inner) * coverage(-slab.field("rough"), 0.8))
        return dome

    head.add(KEY, paint, order=34)


PAINTER = Painter(KEY, 0.06, _plan, hu=(40, 130), replaces_hu=(5, 46))
