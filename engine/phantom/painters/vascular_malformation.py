"""A nidus: a tangle of slightly dense vessels with grains of calcium, which hardly displaces the brain."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.lesions import around, nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage
from engine.phantom.tissue import Slab

KEY = "vascular_malformation"
SITES_MM: tuple[Point, ...] = ((38, -34, 24), (44, 22, 18), (30, 50, 20), (32, -4, 40), (42, -14, -18))


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = pick(rng, SITES_MM, 4.0)
    centre, reach = (any_side(rng) * x, y, z), float(rng.uniform(8, 14))
    vessels = []
    for _ in range(int(rng.integers(4, 7))):
        radius = float(rng.uniform(1.3, 2.2))
        vessels.append([(around(rng, centre, reach), radius) for _ in range(3)])
    grains: list[tuple[Point, Point]] = [
        (around(rng, centre, 0.6 * reach), (float(rng.uniform(1.2, 2.2)),) * 3) for _ in range(int(rng.integers(1, 5)))
    ]
    hu, calcium = float(rng.uniform(50, 66)), float(rng.uniform(120, 260))

    def paint(slab: Slab) -> Real:
        tangle = slab.nothing()
        for vessel in vessels:
            np.maximum(tangle, coverage(slab.tube_mm(vessel, 2.0), 1.0), out=tangle)
        tangle = tangle * slab.cavity
        slab.blend(hu, tangle)
        flecks = nodules(slab, grains) * slab.cavity
        slab.blend(calcium, flecks)
        return np.asarray(np.maximum(tangle, flecks), dtype=np.float32)

    head.add(KEY, paint, order=22)


PAINTER = Painter(KEY, 0.06, _plan, hu=(36, 90), replaces_hu=(12, 42))
