"""A soft lining along the walls of a maxillary sinus, of both, or of the sphenoid; no level."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "sinus_mucosal_thickening"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side, both, deep = any_side(rng), rng.random() < 0.55, rng.random() < 0.35
    thick = float(rng.uniform(2.5, 7.0))
    hu = float(rng.uniform(28, 48))

    def paint(slab: Slab) -> Real:
        if slab.z_range[0] > -24:
            return slab.nothing()
        lining = thick * (1 + 0.3 * slab.field("cloud"))
        wall = coverage(-(slab.field("maxillary") + lining), 1.0)
        soft = coverage(slab.field("maxillary"), 1.0) * wall
        if not both:
            soft = soft * (side * slab.x > 0)
        if deep:
            inside = coverage(-(slab.field("sphenoid") + 0.6 * lining), 1.0)
            soft = np.maximum(soft, coverage(slab.field("sphenoid"), 1.0) * inside)
        soft = soft * coverage(slab.field("skin") + 2, 1.0) * (slab.hu < -200)
        slab.blend(hu, soft)
        return np.asarray(soft, dtype=np.float32)

    head.add(KEY, paint, order=58)


PAINTER = Painter(KEY, 0.06, _plan, hu=(0, 60), replaces_hu=(-1024, -500))
