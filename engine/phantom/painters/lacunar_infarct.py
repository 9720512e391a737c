"""Small dark lakes in the deep nuclei, the corona radiata or the pons, at most 15 mm wide."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.lesions import nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "lacunar_infarct"
SITES_MM: tuple[Point, ...] = ((23, -4, 6), (12, 10, 6), (19, 8, 10), (25, -8, 25), (26, 14, 26), (5, 3, -28))


def _plan(head: Head, rng: np.random.Generator) -> None:
    foci: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(1, 4))):
        x, y, z = pick(rng, SITES_MM, 3.0)
        radius = float(rng.uniform(2.8, 6.5))
        foci.append(((any_side(rng) * x, y, z), (radius, radius * float(rng.uniform(0.8, 1.15)), radius)))
    hu = head.csf_hu + float(rng.uniform(1, 8))

    def paint(slab: Slab) -> Real:
        lakes = nodules(slab, foci, irregular_mm=0.5, edge_mm=1.5) * slab.brain
        slab.blend(hu, lakes)
        return np.asarray(lakes, dtype=np.float32)

    head.add(KEY, paint, order=13)


PAINTER = Painter(KEY, 0.06, _plan, hu=(8, 27), replaces_hu=(24, 42), older=0.8)
