"""A dark line through the floor of the skull, often with blood in the sphenoid sinus and air that came in."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters import pneumocephalus
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "skull_base_fracture"
# Where the line passes, and where it may end: the roof of an orbit, the sphenoid and the clivus, the occipital floor.
PLACES_MM = ((26.0, -52.0, (-85.0, -28.0)), (6.0, -22.0, (-36.0, 4.0)), (28.0, 58.0, (34.0, 86.0)))


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, place = any_side(rng), int(rng.integers(3))
    x, y, (front, back) = PLACES_MM[place]
    x = side * (x + float(rng.uniform(-4, 4)))
    angle = float(rng.uniform(-0.6, 0.6))
    width = float(rng.uniform(1.6, 3.2))
    bloody = place < 2 and rng.random() < 0.7
    fluid_hu = float(rng.uniform(40, 60))
    if place < 2 and rng.random() < 0.3:
        pneumocephalus.add_air(head, rng)

    def paint(slab: Slab) -> Real:
        if slab.z_range[0] > 0:
            return slab.nothing()
        across = (slab.x - x) * np.float32(np.cos(angle)) - (slab.y - y) * np.float32(np.sin(angle))
        cleft = coverage(np.abs(across + 1.2 * slab.field("rough")) - width / 2, 0.8)
        cleft *= coverage(front - slab.y, 2.0) * coverage(slab.y - back, 2.0)
        base = unit(2.5 * slab.bone) * coverage(slab.field("floor"), 1.0) * coverage(-slab.field("floor") - 24, 3.0)
        cleft = cleft * base * coverage(np.abs(slab.x - x) - 24, 3.0) * coverage(slab.z + 2, 2.0)
        if bloody:
            slab.blend(fluid_hu, coverage(slab.field("sphenoid"), 1.0) * (slab.hu < -200))
        slab.blend(25.0, cleft)
        return np.asarray(cleft, dtype=np.float32)

    head.add(KEY, paint, order=53)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-80, 500), replaces_hu=(250, 1300), planned=3, older=-0.3)
