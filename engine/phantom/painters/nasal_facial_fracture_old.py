"""An old break of the face, healed: an orbit's inner wall bowed into the ethmoid, or a dent in a maxillary wall."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, unit
from engine.phantom.tissue import FAT_HU, Slab

KEY = "nasal_facial_fracture_old"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, orbit = any_side(rng), rng.random() < 0.6
    size = float(rng.uniform(0.9, 1.3))
    centre: Point = (side * 12.5, float(rng.uniform(-66, -56)), float(rng.uniform(-32, -26)))
    radii: Point = (5.5 * size, 9.0 * size, 6.0 * size)
    if not orbit:
        centre = (side * float(rng.uniform(24, 32)), -77.0, float(rng.uniform(-62, -55)))
        radii = (8.0 * size, 7.0 * size, 7.0 * size)

    def paint(slab: Slab) -> Real:
        if slab.misses(centre, 16):
            return slab.nothing()
        dent = slab.blob(centre, radii, irregular_mm=0.5)
        outer = slab.blob(centre, (radii[0] + 1.8, radii[1] + 1.8, radii[2] + 1.8), irregular_mm=0.5)
        inside = slab.hu < -300
        walled = unit(outer - dent) * inside
        fat = dent * np.maximum(inside, (slab.hu > 150) & (slab.field("skin") < -6))
        slab.blend(FAT_HU, fat)
        slab.blend(750.0, walled)
        return np.asarray(np.maximum(fat, walled), dtype=np.float32)

    head.add(KEY, paint, order=65)


PAINTER = Painter(KEY, 0.06, _plan, hu=(-250, 600), replaces_hu=(-1024, 1150))
