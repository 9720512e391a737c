"""Ballooned ventricles, temporal horns included, under effaced sulci, with water pressed into the white matter."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Effacement, Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "hydrocephalus"


def dam_up(head: Head, rng: np.random.Generator) -> None:
    """Widen the ventricles above a blockage, unless they are dammed up already."""
    if head.has(KEY):
        return
    head.ventricle *= float(rng.uniform(1.9, 2.7))
    head.ventricle = max(head.ventricle, 1.9)
    head.third_ventricle_mm *= float(rng.uniform(1.2, 1.8))
    head.effacements.append(Effacement((0, 0, 40), 90.0, float(rng.uniform(0.55, 0.9))))
    drop = float(rng.uniform(3, 9))

    def paint(slab: Slab) -> Real:
        seep = coverage(slab.field("lateral") - 4, 4.0) * slab.brain
        slab.add(-drop, seep)
        return slab.ventricles.copy()

    head.add(KEY, paint, order=5, solid=False)


PAINTER = Painter(KEY, 0.05, dam_up, hu=(2, 16), replaces_hu=(12, 32), planned=4)
