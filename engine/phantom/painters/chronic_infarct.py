"""An old infarct: a sharply bounded territory nearly as dark as water."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "chronic_infarct"
TERRITORIES_MM = (
    ((48.0, -14.0, 18.0), (18.0, 22.0, 20.0)),
    ((46.0, 30.0, 20.0), (18.0, 20.0, 20.0)),
    ((24.0, 60.0, 8.0), (16.0, 20.0, 18.0)),
    ((12.0, -46.0, 32.0), (11.0, 24.0, 22.0)),
)


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    (x, y, z), radii = TERRITORIES_MM[rng.integers(len(TERRITORIES_MM))]
    size = float(rng.uniform(0.65, 1.2))
    rx, ry, rz = (size * radius for radius in radii)
    hu = head.csf_hu + float(rng.uniform(3, 9))

    def paint(slab: Slab) -> Real:
        area = slab.blob((side * x, y, z), (rx, ry, rz), irregular_mm=3.0, edge_mm=2.0)
        area = area * slab.brain * slab.supratentorial * (side * slab.x > 1)
        slab.blend(hu + slab.field("rough"), area * 0.9)
        return area

    head.add(KEY, paint, order=11)


PAINTER = Painter(KEY, 0.17, _plan, hu=(8, 24), replaces_hu=(22, 38))
