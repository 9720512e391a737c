"""Shear injury: many spots of blood of a few millimetres where grey meets white, in the callosum and the brainstem."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import around, nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "petechial_hemorrhage"
DEEP_MM: tuple[Point, ...] = ((7, -20, 25), (8, 10, 28), (8, 14, -12), (24, -10, 12))


def _plan(head: Head, rng: np.random.Generator) -> None:
    foci: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(6, 16))):
        if rng.random() < 0.75:
            direction = (any_side(rng) * 1.0, float(rng.uniform(-1.6, 0.8)), float(rng.uniform(0.3, 1.8)))
            centre = vault_point(head, direction, float(rng.uniform(11, 22)))
        else:
            x, y, z = around(rng, DEEP_MM[rng.integers(len(DEEP_MM))], 3.0)
            centre = (any_side(rng) * x, y, z)
        radius = float(rng.uniform(1.6, 3.4))
        foci.append((centre, (radius, radius, radius * float(rng.uniform(0.9, 1.6)))))
    hu = float(rng.uniform(58, 72))

    def paint(slab: Slab) -> Real:
        blood = nodules(slab, foci, irregular_mm=0.4) * slab.brain
        slab.blend(hu, blood)
        return np.asarray(blood, dtype=np.float32)

    head.add(KEY, paint, order=21)


PAINTER = Painter(KEY, 0.06, _plan, hu=(38, 72), replaces_hu=(22, 42), older=-0.5)
