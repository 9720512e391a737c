"""A smooth cavity of CSF in a hemisphere that opens into the lateral ventricle."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage, union
from engine.phantom.tissue import Slab

KEY = "porencephaly"
SITES_MM: tuple[Point, ...] = ((28, -32, 22), (34, 20, 26), (38, 40, 18), (28, -4, 34))


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    x, y, z = pick(rng, SITES_MM, 3.0)
    radius = float(rng.uniform(11, 19))
    # The neck leads to the nearest part of the ventricle's body or atrium.
    mouth: Point = (side * 9.0, -8.0, 17.0) if y < 0 else (side * 22.0, 32.0, 12.0)
    centre = (side * x, y, z)
    neck = [(mouth, 5.0), (centre, 0.6 * radius)]

    def paint(slab: Slab) -> Real:
        cavity = slab.blob(centre, (0.9 * radius, 1.1 * radius, 0.95 * radius), irregular_mm=0.8)
        cavity = union(cavity, coverage(slab.tube_mm(neck, 2.0), 1.0)) * slab.brain * (side * slab.x > 2)
        slab.blend(head.csf_hu, cavity)
        return np.asarray(cavity, dtype=np.float32)

    head.add(KEY, paint, order=11)


PAINTER = Painter(KEY, 0.06, _plan, hu=(2, 18), replaces_hu=(18, 40))
