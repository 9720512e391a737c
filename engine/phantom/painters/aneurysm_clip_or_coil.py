"""Metal at the circle of Willis: a clip, or a ball of coils; streaks start from it."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Metal, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import around
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab
from engine.phantom.vessels import BRANCHINGS_MM

KEY = "aneurysm_clip_or_coil"


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = BRANCHINGS_MM[rng.integers(len(BRANCHINGS_MM))]
    centre = (any_side(rng) * x, y, z + 3.0)
    clip = rng.random() < 0.5
    radius = float(rng.uniform(1.6, 2.2)) if clip else float(rng.uniform(3.0, 6.0))
    end = around(rng, centre, 8.0) if clip else centre
    head.metals.append(Metal(centre, float(rng.uniform(40, 120))))

    def paint(slab: Slab) -> Real:
        if clip:
            metal = coverage(slab.tube_mm([(centre, radius), (end, radius)], 2.0), 0.8)
        else:
            metal = slab.blob(centre, (radius, radius, radius), irregular_mm=0.4, edge_mm=0.8)
        metal = metal * slab.cavity
        slab.blend(5500.0, metal)
        return np.asarray(metal, dtype=np.float32)

    head.add(KEY, paint, order=66)


PAINTER = Painter(KEY, 0.06, _plan, hu=(1500, 3071), replaces_hu=(0, 48))
