"""A dark line along or across one petrous bone, through mastoid cells that are filled with blood."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters import mastoid_effusion
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "mastoid_fracture"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, along = any_side(rng), rng.random() < 0.75
    # The petrous axis runs outwards and backwards from the clivus; its slope is that of the ridge.
    slope = 0.55 if along else -1.6
    offset = float(rng.uniform(-7, -2)) if along else float(rng.uniform(72, 84))
    width = float(rng.uniform(1.6, 3.0))
    low, high = float(rng.uniform(-52, -46)), float(rng.uniform(-32, -26))
    mastoid_effusion.add_fluid(head, rng, side)

    def paint(slab: Slab) -> Real:
        if slab.z_range[0] > high + 2 or slab.z_range[1] < low - 2:
            return slab.nothing()
        out = side * slab.x
        across = (slab.y - offset - slope * out) * np.float32(1 / np.hypot(1, slope)) + slab.field("rough")
        cleft = coverage(np.abs(across) - width / 2, 0.8) * coverage(22 - out, 2.0) * coverage(slab.y - 42, 2.0)
        cleft = cleft * coverage(slab.z - high, 2.0) * coverage(low - slab.z, 2.0)
        cleft = cleft * unit(2.5 * slab.bone) * (slab.hu > 100)
        slab.blend(30.0, cleft)
        return np.asarray(cleft, dtype=np.float32)

    head.add(KEY, paint, order=62)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-50, 600), replaces_hu=(200, 1300), planned=3, older=-0.3)
