"""Oedema that spreads along the white matter like fingers and spares the cortex."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, union, unit
from engine.phantom.tissue import Slab

KEY = "vasogenic_edema"
SITES_MM = ((32.0, -40.0, 26.0), (34.0, 30.0, 32.0), (28.0, 52.0, 16.0), (28.0, -10.0, 38.0))


def add_edema(head: Head, centre: Point, radius_mm: float, drop_hu: float) -> None:
    """Take up oedema of `drop_hu` around `centre`; more than one region is one finding."""
    earlier = next((layer for layer in head.layers if layer.key == KEY), None)

    def paint(slab: Slab) -> Real:
        mask = earlier.paint(slab) if earlier else slab.nothing()
        area = slab.blob(centre, (radius_mm, radius_mm, radius_mm), irregular_mm=4.5, edge_mm=4.0)
        area = area * slab.brain * slab.supratentorial * unit(1 - 1.1 * slab.grey)
        slab.add(-drop_hu, area)
        return union(mask, area)

    if earlier is not None:
        head.layers.remove(earlier)
    head.add(KEY, paint, order=12)


def _plan(head: Head, rng: np.random.Generator) -> None:
    if head.has(KEY):
        return
    x, y, z = (float(c + d) for c, d in zip(rng.choice(SITES_MM), rng.uniform(-5, 5, 3), strict=True))
    radius = float(rng.uniform(18, 30))
    centre = (any_side(rng) * x, y, z)
    head.press(centre, 0.5 * radius, max(0.0, radius - 20) * float(rng.uniform(0.1, 0.4)))
    add_edema(head, centre, radius, float(rng.uniform(8, 13)))


PAINTER = Painter(KEY, 0.02, _plan, hu=(10, 26), replaces_hu=(22, 36), planned=5)
