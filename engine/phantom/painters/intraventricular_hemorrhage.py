"""Blood in the lateral ventricles: a level in the occipital horns, or a cast of one or both ventricles."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "intraventricular_hemorrhage"


def add_blood(head: Head, rng: np.random.Generator) -> None:
    """Take up blood in the lateral ventricles where there is none yet."""
    if head.has(KEY):
        return
    side, both = any_side(rng), rng.random() < 0.5
    level_mm = float(rng.uniform(-30, 42))
    hu = float(rng.uniform(56, 74))

    def paint(slab: Slab) -> Real:
        # The patient lies on the back, so blood settles towards +y.
        settled = coverage(level_mm - slab.y + 2 * slab.field("rough"), 2.0)
        blood = slab.cavity * coverage(slab.field("lateral") + 0.3, 1.0) * settled
        if not both:
            blood = blood * coverage(-side * slab.x, 2.0)
        slab.blend(hu, blood)
        return blood

    head.add(KEY, paint, order=30)


PAINTER = Painter(KEY, 0.05, add_blood, hu=(46, 78), replaces_hu=(2, 22), planned=4)
