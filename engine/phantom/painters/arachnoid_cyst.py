"""A pouch of CSF outside the brain: at the temporal pole, behind the cerebellum, or over the convexity."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "arachnoid_cyst"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, place = any_side(rng), rng.random()
    radius = float(rng.uniform(13, 24))
    centre: Point = (side * 48.0, -32.0, -20.0)
    radii: Point = (0.85 * radius, 0.95 * radius, 0.8 * radius)
    if place > 0.85:
        centre = vault_point(head, (side * 1.0, float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.5, 1))), 4.0)
    elif place > 0.65:
        centre, radii = (side * 22.0, 62.0, -44.0), (radius, 0.7 * radius, 0.8 * radius)
    hu = head.csf_hu + float(rng.uniform(-2, 3))
    head.press(centre, 0.7 * radius, max(0.0, radius - 19) * float(rng.uniform(0.1, 0.5)))

    def paint(slab: Slab) -> Real:
        pouch = slab.blob(centre, radii, irregular_mm=0.6) * slab.cavity
        slab.blend(hu, pouch)
        return np.asarray(pouch, dtype=np.float32)

    head.add(KEY, paint, order=28)


PAINTER = Painter(KEY, 0.06, _plan, hu=(0, 18), replaces_hu=(15, 42))
