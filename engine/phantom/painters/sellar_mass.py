"""A mass that widens the sella and fills the cistern above it: dense, cystic, or with calcium."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import unit
from engine.phantom.tissue import Slab

KEY = "sellar_mass"


def _plan(head: Head, rng: np.random.Generator) -> None:
    radius = float(rng.uniform(7.5, 14))
    centre = (float(rng.uniform(-3, 3)), float(rng.uniform(-18, -14)), -27.0 + 0.55 * radius)
    radii = (radius, float(rng.uniform(0.85, 1.0)) * radius, float(rng.uniform(1.0, 1.3)) * radius)
    cystic, calcium = rng.random() < 0.3, rng.random() < 0.3
    hu = float(rng.uniform(40, 53))
    core_hu = float(rng.uniform(12, 24))

    def paint(slab: Slab) -> Real:
        mass = slab.blob(centre, radii, irregular_mm=0.9)
        mass = mass * unit(slab.cavity + 1.0 * (slab.z < -24))
        slab.blend(hu + slab.field("rough"), mass)
        inner = slab.blob(centre, (0.62 * radii[0], 0.62 * radii[1], 0.62 * radii[2]), edge_mm=1.5)
        if cystic:
            slab.blend(core_hu, inner * mass)
        if calcium:
            slab.blend(220.0, unit(mass - inner) * unit(2 * slab.field("rough") - 1.2))
        return np.asarray(mass, dtype=np.float32)

    head.add(KEY, paint, order=35)


PAINTER = Painter(KEY, 0.06, _plan, hu=(18, 70), replaces_hu=(2, 60))
