"""The grey ribbon of one insula as dark as the white matter beneath it: the first hours of a middle cerebral stroke."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Paint, Side, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "loss_of_insular_ribbon"


def ribbon(slab: Slab, side: Side) -> Real:
    """Return the insular cortex and the strip of white matter under it."""
    near = slab.blob((side * 38.0, 0.0, 4.0), (9.0, 21.0, 16.0), edge_mm=3.0)
    return np.asarray(near * slab.brain * coverage(slab.field("sylvian") - 6, 3.0), dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    drop = float(rng.uniform(7, 12))

    def paint(slab: Slab) -> Real:
        area = ribbon(slab, side)
        slab.add(-drop, area * (0.35 + 0.65 * slab.grey))
        return area

    head.add(KEY, paint, order=9)


def _implied(head: Head) -> Paint | None:
    """A fresh infarct of the middle cerebral artery's trunk takes the insula too."""
    sides: list[Side] = [side for side in (-1, 1) if f"insula:{side}" in head.flags]
    return (lambda slab: ribbon(slab, sides[0])) if sides else None


PAINTER = Painter(KEY, 0.05, _plan, hu=(18, 34), replaces_hu=(26, 42), implied=_implied)
