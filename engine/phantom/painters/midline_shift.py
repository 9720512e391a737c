"""The septum and third ventricle displaced by more than 5 mm."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import SHIFT_LIMIT_MM, Effacement, Head, Paint, Push, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "midline_shift"


def _paint(slab: Slab) -> Real:
    """Return what lies between the ideal and the displaced midline."""
    shift = slab.field("shift")
    across = slab.x * np.sign(shift)
    between = coverage(-across, 1.0) * coverage(across - np.abs(shift), 1.0) * (np.abs(shift) > 2)
    return np.asarray(between * slab.cavity * slab.supratentorial * coverage(15 - slab.depth, 3.0), dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    wanted = float(rng.uniform(SHIFT_LIMIT_MM + 1.0, 14))
    if not head.pushes:
        # Without a mass in this head, the hemisphere is swollen as a whole.
        side = any_side(rng)
        head.pushes.append(Push((side * 35.0, 0.0, 12.0), -side * 1.0))
        head.effacements.append(Effacement((side * 45.0, 0.0, 20.0), 55.0, 0.9))
    missing = wanted - head.midline_shift_mm()
    if missing > 0:
        head.pushes.append(Push((-head.shifted_to() * 35.0, -2.0, 12.0), head.shifted_to() * missing))
    head.add(KEY, _paint, order=90, solid=False)


def _implied(head: Head) -> Paint | None:
    return _paint if head.midline_shift_mm() > SHIFT_LIMIT_MM else None


PAINTER = Painter(KEY, 0.03, _plan, hu=(20, 40), replaces_hu=(20, 40), implied=_implied, planned=9)
