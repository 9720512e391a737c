"""Calcium or bone in the falx or the tentorium: thin dense plaques and lines."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage
from engine.phantom.tissue import Slab

KEY = "dural_calcification"


def _plan(head: Head, rng: np.random.Generator) -> None:
    falx = rng.random() < 0.8
    thick = float(rng.uniform(1.0, 2.2))
    hu = float(rng.uniform(260, 800))
    plaques: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(1, 4))):
        long, high = float(rng.uniform(6, 18)), float(rng.uniform(4, 12))
        if falx:
            plaques.append(((0.0, float(rng.uniform(-66, -42)), float(rng.uniform(14, 50))), (8.0, long, high)))
        else:
            x = any_side(rng) * float(rng.uniform(18, 32))
            plaques.append(((x, float(rng.uniform(12, 32)), -9.0), (7.0, long, 9.0)))

    def paint(slab: Slab) -> Real:
        near = slab.nothing()
        for centre, radii in plaques:
            np.maximum(near, slab.blob(centre, radii, irregular_mm=1.5), out=near)
        leaf = np.abs(slab.x - 0.35 * slab.field("shift")) if falx else np.abs(slab.field("tentorium"))
        calcium = near * coverage(leaf - thick, 1.0) * slab.cavity
        slab.blend(hu, calcium)
        return np.asarray(calcium, dtype=np.float32)

    head.add(KEY, paint, order=45)


PAINTER = Painter(KEY, 0.06, _plan, hu=(90, 850), replaces_hu=(10, 56), older=0.6)
