"""A crescent as dark as water between brain and dura."""

from __future__ import annotations

import numpy as np

from engine.phantom.crescents import crescent, plan_crescent
from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "chronic_subdural_hygroma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    shape = plan_crescent(head, rng, thickness_mm=(5.0, 12.0))
    hu = head.csf_hu + float(rng.uniform(-2, 4))

    def paint(slab: Slab) -> Real:
        water = crescent(slab, shape)
        slab.blend(hu, water)
        return water

    head.add(KEY, paint, order=39)


PAINTER = Painter(KEY, 0.06, _plan, hu=(2, 22), replaces_hu=(18, 45))
