"""Fluid in a maxillary sinus, with a level to the air above it: the patient lies on the back."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "sinusitis"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, both = any_side(rng), rng.random() < 0.35
    level_mm = float(rng.uniform(-70, -54))
    hu = float(rng.uniform(12, 30))

    def paint(slab: Slab) -> Real:
        if slab.z_range[0] > -40:
            return slab.nothing()
        fluid = coverage(slab.field("maxillary"), 1.0) * coverage(level_mm - slab.y, 1.0)
        fluid = fluid * coverage(slab.field("skin") + 2, 1.0) * coverage(slab.depth, 1.0)
        if not both:
            fluid = fluid * (side * slab.x > 0)
        slab.blend(hu, fluid)
        return fluid

    head.add(KEY, paint, order=60)


PAINTER = Painter(KEY, 0.06, _plan, hu=(5, 40), replaces_hu=(-1024, -850))
