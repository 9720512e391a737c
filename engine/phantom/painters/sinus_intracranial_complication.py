"""Pus behind a filled frontal sinus, through a gap in its back wall: a lens with a bright rim under the bone."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "sinus_intracranial_complication"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    cx, cy, cz = centre = vault_point(head, (side * float(rng.uniform(0.08, 0.3)), -1.0, 0.02), 0.0)
    radius, thickness = float(rng.uniform(17, 28)), float(rng.uniform(9, 16))
    hu = float(rng.uniform(16, 27))
    head.press(centre, thickness, max(0.0, thickness - 7) * 0.4)

    def paint(slab: Slab) -> Real:
        if slab.misses(centre, radius):
            return slab.nothing()
        filled = coverage(slab.field("frontal") - 0.5, 1.0) * (slab.hu < -100)
        slab.blend(38.0, filled)
        gap = slab.blob((side * 7.0, -84.0, -8.0), (6.0, 6.0, 7.0)) * unit(2 * slab.bone) * (slab.y > -88)
        slab.blend(45.0, gap)
        away = ((slab.x - cx) ** 2 + (slab.y - cy) ** 2 + (slab.z - cz) ** 2) / np.float32(radius**2)
        lens = slab.depth - thickness * (1 - away)
        pus = coverage(lens, 1.0) * coverage(away * 8 - 8, 1.0) * slab.cavity
        rim = pus * coverage(-(lens + 1.5), 1.0)
        slab.blend(hu, pus)
        slab.blend(48.0, rim)
        return np.asarray(pus, dtype=np.float32)

    head.add(KEY, paint, order=44)


PAINTER = Painter(KEY, 0.06, _plan, hu=(10, 52), replaces_hu=(15, 45))
