"""A drain or shunt: a thin dense tube from a burr hole to the frontal horn or the atrium."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.burr_hole import drill
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage
from engine.phantom.tissue import Slab

KEY = "ventricular_catheter"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    # The entry in front is that of drains, 25 to 30 mm beside the middle line; the one behind is that of shunts.
    front = rng.random() < 0.65
    direction = (side * 27.0, -36.0, 62.0) if front else (side * 34.0, 78.0, 36.0)
    tip: Point = (side * float(rng.uniform(3, 9)), float(rng.uniform(-22, -12)), float(rng.uniform(7, 13)))
    if not front:
        tip = (side * float(rng.uniform(10, 18)), float(rng.uniform(-4, 14)), float(rng.uniform(16, 20)))
    outer = vault_point(head, direction, -head.skull_mm - 3)
    radius, hu = float(rng.uniform(1.4, 2.0)), float(rng.uniform(250, 600))
    drill(head, outer, float(rng.uniform(4.5, 6.0)), float(rng.uniform(5, 40)))

    def paint(slab: Slab) -> Real:
        tube = coverage(slab.tube_mm([(outer, radius), (tip, radius)], 2.0), 0.8)
        slab.blend(hu, tube)
        return tube

    head.add(KEY, paint, order=64)


PAINTER = Painter(KEY, 0.06, _plan, hu=(80, 560), replaces_hu=(0, 300))
