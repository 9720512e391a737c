"""Fluid in the mastoid cells of one or both sides, in part or throughout; their walls stay."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Side, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "mastoid_effusion"


def add_fluid(head: Head, rng: np.random.Generator, side: Side) -> None:
    """Take up fluid in the cells of `side`, and sometimes of the other, where there is none yet."""
    if head.has(KEY):
        return
    both, level = rng.random() < 0.3, float(rng.uniform(-0.5, 2.0))
    hu = float(rng.uniform(12, 40))

    def paint(slab: Slab) -> Real:
        if slab.z_range[0] > -15:
            return slab.nothing()
        cells = coverage(slab.field("mastoid"), 2.0) * (slab.hu < 0) * coverage(slab.field("skin") + 3, 1.0)
        # Fluid fills the cells one by one: a smooth field decides which.
        fluid = cells * coverage(slab.field("cloud") - level, 0.5)
        if not both:
            fluid = fluid * (side * slab.x > 0)
        slab.blend(hu + 60 * slab.field("rough") ** 2, fluid)
        return np.asarray(fluid, dtype=np.float32)

    head.add(KEY, paint, order=61)


def _plan(head: Head, rng: np.random.Generator) -> None:
    add_fluid(head, rng, any_side(rng))


PAINTER = Painter(KEY, 0.035, _plan, hu=(0, 220), replaces_hu=(-1024, -200), planned=4)
