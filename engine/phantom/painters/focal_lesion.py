"""A spot in the brain that fits nothing else: a thin smooth ring with oedema, or a vague darker patch."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.painters.vasogenic_edema import add_edema
from engine.phantom.shapes import Point, unit
from engine.phantom.tissue import Slab

KEY = "focal_lesion"
SITES_MM: tuple[Point, ...] = ((34, -50, 18), (42, 26, 28), (28, 56, 12), (46, -6, -16), (30, -14, 44), (40, -30, 34))


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = pick(rng, SITES_MM, 5.0)
    centre = (any_side(rng) * x, y, z)
    ring = rng.random() < 0.55
    radius = float(rng.uniform(6, 11)) if ring else float(rng.uniform(7, 13))
    rim_hu, core_hu = float(rng.uniform(42, 49)), float(rng.uniform(16, 24))
    drop = float(rng.uniform(8, 13))
    if ring:
        head.press(centre, radius, float(rng.uniform(0, 2)))
        add_edema(head, centre, radius + float(rng.uniform(6, 12)), float(rng.uniform(8, 12)))

    def paint(slab: Slab) -> Real:
        spot = slab.blob(centre, (radius,) * 3, irregular_mm=0.5 if ring else 2.0, edge_mm=1.2 if ring else 4.0)
        spot = spot * slab.brain
        if ring:
            core = slab.blob(centre, (radius - 2.2,) * 3, irregular_mm=0.4)
            slab.blend(rim_hu, spot)
            slab.blend(core_hu, core * slab.brain)
        else:
            slab.add(-drop, spot * unit(0.75 + 0.25 * slab.grey))
        return np.asarray(spot, dtype=np.float32)

    head.add(KEY, paint, order=16)


PAINTER = Painter(KEY, 0.06, _plan, hu=(14, 46), replaces_hu=(22, 42))
