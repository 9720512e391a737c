"""The uncus over the edge of the tentorium: brain in the suprasellar and ambient cisterns of one side."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Push, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, union
from engine.phantom.tissue import Slab

KEY = "uncal_herniation"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = -head.shifted_to() if head.pushes else any_side(rng)
    size = float(rng.uniform(0.9, 1.3))
    head.cistern_loss_mm = max(head.cistern_loss_mm, float(rng.uniform(1.2, 3.0)))
    head.pushes.append(Push((side * 30.0, -4.0, -14.0), -side * float(rng.uniform(3.0, 6.0)), 26.0))

    def paint(slab: Slab) -> Real:
        if slab.misses((0, 0, -15), 18):
            return slab.nothing()
        uncus = slab.blob((side * 9.0, -11.0, -18.0), (8.5 * size, 9.5 * size, 7 * size), irregular_mm=0.8)
        beside = slab.blob((side * 17.0, 8.0, -13.0), (5 * size, 12 * size, 8.0), irregular_mm=0.8)
        brain = union(uncus, beside) * slab.cavity * (1 - slab.ventricles)
        brain = brain * coverage(slab.z + 4, 2.0)
        slab.blend(head.grey_hu - 1 + slab.field("rough"), brain * (1 - coverage(slab.field("stem"), 1.5)))
        return np.asarray(brain, dtype=np.float32)

    head.add(KEY, paint, order=29)


PAINTER = Painter(KEY, 0.06, _plan, hu=(24, 44), replaces_hu=(8, 42), planned=7)
