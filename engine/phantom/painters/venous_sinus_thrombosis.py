"""Fresh clot in a dural sinus: the sagittal one or a transverse one, denser than flowing blood and swollen."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "venous_sinus_thrombosis"


def _plan(head: Head, rng: np.random.Generator) -> None:
    sagittal, side = rng.random() < 0.6, any_side(rng)
    swollen = float(rng.uniform(0.4, 1.8))
    hu = float(rng.uniform(68, 84))
    front = float(rng.uniform(-30, 30))

    def paint(slab: Slab) -> Real:
        clot = coverage(slab.sinus_mm - swollen, 1.0) * slab.cavity
        if sagittal:
            clot = clot * coverage(np.abs(slab.x) - 12, 2.0) * coverage(front - slab.y, 4.0)
        else:
            clot = clot * coverage(8 - side * slab.x, 2.0) * coverage(slab.z - 6, 2.0)
        slab.blend(hu + slab.field("rough"), clot)
        return np.asarray(clot, dtype=np.float32)

    head.add(KEY, paint, order=43)


PAINTER = Painter(KEY, 0.06, _plan, hu=(52, 90), replaces_hu=(20, 60))
