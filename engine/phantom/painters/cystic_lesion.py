"""A smooth round cyst of the brain, nearly as dark as water, with hardly any rim and no oedema."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "cystic_lesion"
SITES_MM: tuple[Point, ...] = ((34, -42, 26), (36, 32, 30), (30, 12, -12), (20, 46, -36), (30, -6, 40), (24, 54, 16))


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = pick(rng, SITES_MM, 4.0)
    centre = (any_side(rng) * x, y, z)
    radius = float(rng.uniform(7, 17))
    stretch = rng.uniform(0.88, 1.12, 3)
    radii = (radius * float(stretch[0]), radius * float(stretch[1]), radius * float(stretch[2]))
    hu = float(rng.uniform(4, 17))
    head.press(centre, radius, max(0.0, radius - 12) * float(rng.uniform(0.1, 0.5)))

    def paint(slab: Slab) -> Real:
        cyst = slab.blob(centre, radii, irregular_mm=0.4) * slab.cavity
        slab.blend(hu, cyst)
        return cyst

    head.add(KEY, paint, order=17)


PAINTER = Painter(KEY, 0.06, _plan, hu=(2, 24), replaces_hu=(18, 42))
