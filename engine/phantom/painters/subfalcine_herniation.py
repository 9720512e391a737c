"""The cingulate gyrus pushed under the falx: a shift of the midline by more than 7 mm."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Effacement, Head, Paint, Push, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "subfalcine_herniation"
HERNIATED_MM = 7.0


def _paint(slab: Slab) -> Real:
    """Return the brain between the middle line and where the fissure now is, over the callosum and beside it."""
    if slab.misses((0, -10, 20), 24):
        return slab.nothing()
    shift = slab.field("shift")
    across = slab.x * np.sign(shift)
    beyond = coverage(-across, 1.0) * coverage(across - np.abs(shift), 1.0) * (np.abs(shift) > 3)
    near = slab.blob((0.0, -10.0, 20.0), (22.0, 44.0, 22.0), edge_mm=3.0)
    return np.asarray(beyond * near * slab.cavity, dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng) if not head.pushes else (-1 if head.shifted_to() == 1 else 1)
    wanted = HERNIATED_MM + float(rng.uniform(1.0, 6.0))
    missing = wanted - head.midline_shift_mm()
    if missing > 0:
        head.pushes.append(Push((side * 35.0, -6.0, 16.0), -side * missing * 1.05))
        head.effacements.append(Effacement((side * 45.0, 0.0, 20.0), 55.0, 0.9))
    head.add(KEY, _paint, order=91, solid=False)


def _implied(head: Head) -> Paint | None:
    return _paint if head.midline_shift_mm() > HERNIATED_MM else None


PAINTER = Painter(KEY, 0.03, _plan, hu=(15, 45), replaces_hu=(15, 45), implied=_implied, planned=8)
