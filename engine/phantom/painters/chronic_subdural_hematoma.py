"""A crescent of old blood, darker than brain; in some with denser sediment at the back."""

from __future__ import annotations

import numpy as np

from engine.phantom.crescents import crescent, plan_crescent
from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "chronic_subdural_hematoma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    shape = plan_crescent(head, rng, thickness_mm=(6.0, 19.0))
    hu, mixed = float(rng.uniform(16, 25)), rng.random() < 0.35
    level_mm = float(rng.uniform(5, 30))

    def paint(slab: Slab) -> Real:
        blood = crescent(slab, shape)
        sediment = coverage(level_mm - slab.y + 2 * slab.field("rough"), 8.0) * (22.0 if mixed else 0.0)
        slab.blend(hu + sediment + slab.field("rough"), blood)
        return blood

    head.add(KEY, paint, order=40)


PAINTER = Painter(KEY, 0.06, _plan, hu=(12, 52), replaces_hu=(25, 45), older=0.6)
