"""Basal cisterns narrowed or gone: brain where the water around the midbrain was."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Paint
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "cistern_effacement"
NARROWED_MM = 1.0


def _paint(slab: Slab) -> Real:
    """Return the water that the cisterns have lost."""
    if slab.misses((0, 5, -13), 24):
        return slab.nothing()
    lost = unit(coverage(slab.field("cistern_free") - 0.3, 1.0) - coverage(slab.field("cistern") - 0.3, 1.0))
    return np.asarray(lost * slab.cavity * (1 - slab.ventricles), dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    head.cistern_loss_mm = max(head.cistern_loss_mm, float(rng.uniform(1.8, 5.0)))
    head.add(KEY, _paint, order=93, solid=False)


def _implied(head: Head) -> Paint | None:
    return _paint if head.cistern_loss_mm > NARROWED_MM else None


PAINTER = Painter(KEY, 0.035, _plan, hu=(22, 42), replaces_hu=(5, 34), implied=_implied)
