"""Harmless calcium in the pineal gland and in the choroid plexus of both atria."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.lesions import nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "pineal_choroid_calcification"


def _plan(head: Head, rng: np.random.Generator) -> None:
    kind = rng.random()
    grains: list[tuple[Point, Point]] = []
    if kind < 0.7:
        radius = float(rng.uniform(1.9, 4.0))
        grains.append(((0.0, float(rng.uniform(18, 21)), float(rng.uniform(1, 4))), (radius, 1.2 * radius, radius)))
    if kind > 0.35:
        for side in (-1, 1):
            radius = float(rng.uniform(1.8, 4.2))
            grains.append(((side * float(rng.uniform(20, 24)), float(rng.uniform(30, 35)), 10.0), (radius,) * 3))
    hu = float(rng.uniform(130, 420))

    def paint(slab: Slab) -> Real:
        calcium = nodules(slab, grains, irregular_mm=0.7) * slab.cavity
        slab.blend(hu, calcium)
        return np.asarray(calcium, dtype=np.float32)

    head.add(KEY, paint, order=37)


PAINTER = Painter(KEY, 0.06, _plan, hu=(60, 420), replaces_hu=(2, 44), older=0.6)
