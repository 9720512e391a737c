"""A tumour inside the brain: an uneven rim, a necrotic middle, and mostly vasogenic oedema around it."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.painters.vasogenic_edema import add_edema
from engine.phantom.tissue import Slab

KEY = "intra_axial_tumor"
SITES_MM = ((32.0, -44.0, 24.0), (34.0, 32.0, 30.0), (28.0, 54.0, 14.0), (44.0, 0.0, -14.0), (26.0, -12.0, 38.0))


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    x, y, z = (float(c + d) for c, d in zip(rng.choice(SITES_MM), rng.uniform(-5, 5, 3), strict=True))
    centre = (side * x, y, z)
    radius = float(rng.uniform(8, 20))
    rim_hu, core_hu = float(rng.uniform(43, 52)), float(rng.uniform(14, 24))
    core = float(rng.uniform(0.45, 0.75)) * radius
    head.press(centre, radius, max(0.0, radius - 9) * float(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.6:
        add_edema(head, centre, radius + float(rng.uniform(7, 16)), float(rng.uniform(8, 12)))

    def paint(slab: Slab) -> Real:
        mass = slab.blob(centre, (radius, radius, radius), irregular_mm=2.5) * slab.cavity * slab.supratentorial
        slab.blend(rim_hu + 2 * slab.field("rough"), mass)
        slab.blend(core_hu, mass * slab.blob(centre, (core, core, core), irregular_mm=2.0, edge_mm=2.0))
        return mass

    head.add(KEY, paint, order=18)


PAINTER = Painter(KEY, 0.06, _plan, hu=(30, 52), replaces_hu=(22, 40))
