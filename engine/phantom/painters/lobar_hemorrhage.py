"""A bleed into the white matter of a lobe, with a thin rim of oedema, pushing the midline when large."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "lobar_hemorrhage"
LOBES_MM = ((34.0, -46.0, 22.0), (38.0, 36.0, 32.0), (27.0, 62.0, 12.0), (46.0, -12.0, -16.0), (32.0, -10.0, 42.0))


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    x, y, z = (float(c + d) for c, d in zip(rng.choice(LOBES_MM), rng.uniform(-4, 4, 3), strict=True))
    centre = (side * x, y, z)
    radius = float(rng.uniform(6, 20))
    rx, ry, rz = (float(radius * factor) for factor in rng.uniform(0.8, 1.25, 3))
    hu, rim = float(rng.uniform(57, 72)), float(rng.uniform(2.0, 5.0))
    head.press(centre, radius, max(0.0, (radius - 9) * float(rng.uniform(0.35, 0.8))))

    def paint(slab: Slab) -> Real:
        edema = slab.blob(centre, (rx + rim, ry + rim, rz + rim), irregular_mm=2.0, edge_mm=3.0)
        slab.add(-8.0, edema * slab.brain)
        bleed = slab.blob(centre, (rx, ry, rz), irregular_mm=1.8) * slab.cavity * slab.supratentorial
        slab.blend(hu + 2 * slab.field("rough"), bleed)
        return bleed

    head.add(KEY, paint, order=20)


PAINTER = Painter(KEY, 0.06, _plan, hu=(50, 76), replaces_hu=(22, 42))
