"""A dense crescent between dura and brain, over much of one hemisphere."""

from __future__ import annotations

import numpy as np

from engine.phantom.crescents import crescent, plan_crescent
from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "acute_subdural_hematoma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    shape = plan_crescent(head, rng, thickness_mm=(4.0, 15.0))
    hu = float(rng.uniform(56, 72))

    def paint(slab: Slab) -> Real:
        blood = crescent(slab, shape)
        slab.blend(hu + 2 * slab.field("rough"), blood)
        return blood

    head.add(KEY, paint, order=40)


PAINTER = Painter(KEY, 0.06, _plan, hu=(54, 80), replaces_hu=(25, 45))
