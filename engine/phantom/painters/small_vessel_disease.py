"""White matter darkened around the ventricles, more at their horns, with blurred borders."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "small_vessel_disease"


def _plan(head: Head, rng: np.random.Generator) -> None:
    reach, drop = float(rng.uniform(6, 14)), float(rng.uniform(6, 11))

    def paint(slab: Slab) -> Real:
        uneven = slab.field("lateral") - reach - 2.5 * slab.field("cloud")
        area = coverage(uneven, 5.0) * slab.brain * unit(1 - 1.1 * slab.grey) * slab.supratentorial
        area = area * coverage(-slab.z - 2, 5.0)
        slab.add(-drop, area)
        return area

    head.add(KEY, paint, order=6)


PAINTER = Painter(KEY, 0.06, _plan, hu=(12, 28), replaces_hu=(22, 36), older=0.9)
