"""Calcium in both globi pallidi."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import union
from engine.phantom.tissue import Slab

KEY = "basal_ganglia_calcification"


def _plan(head: Head, rng: np.random.Generator) -> None:
    left, right = (float(value) for value in rng.uniform(3.0, 6.5) * rng.uniform(0.8, 1.2, 2))
    y, z = float(rng.uniform(-7, 1)), float(rng.uniform(1, 6))
    hu = float(rng.uniform(95, 220))

    def paint(slab: Slab) -> Real:
        grains = union(
            slab.blob((21, y, z), (0.75 * left, 1.3 * left, left), irregular_mm=1.0),
            slab.blob((-21, y, z), (0.75 * right, 1.3 * right, right), irregular_mm=1.0),
        )
        grains = grains * slab.brain
        slab.blend(hu * (1 + 0.15 * slab.field("rough")), grains)
        return grains

    head.add(KEY, paint, order=15)


PAINTER = Painter(KEY, 0.06, _plan, hu=(60, 260), replaces_hu=(30, 42), older=0.6)
