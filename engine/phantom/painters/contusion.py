"""Bruised cortex where brain meets rough bone: spots of blood in swollen dark tissue, frontobasal or temporal."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Region, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.lesions import around, grown, nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "contusion"
SITES_MM: tuple[Point, ...] = ((16, -60, 0), (24, -52, -4), (44, -30, -20), (52, -12, -16), (18, -68, 8), (56, 14, 4))


def _plan(head: Head, rng: np.random.Generator) -> None:
    first = any_side(rng)
    regions = []
    for index in range(int(rng.integers(1, 4))):
        x, y, z = pick(rng, SITES_MM, 4.0)
        side = first if index == 0 else any_side(rng)
        radius = float(rng.uniform(7, 14))
        regions.append(Region((side * x, y, z), (0.9 * radius, 1.1 * radius, 0.8 * radius)))
        head.press((side * x, y, z), 0.6 * radius, max(0.0, radius - 9) * float(rng.uniform(0.1, 0.4)))
    hu = float(rng.uniform(56, 70))
    clots = [_clot(rng, region) for region in regions for _ in range(int(rng.integers(4, 9)))]

    def paint(slab: Slab) -> Real:
        area = slab.nothing()
        for region in regions:
            swollen = slab.blob(region.centre, grown(region.radii, 4.0), irregular_mm=2.0, edge_mm=4.0)
            slab.add(-9.0, swollen * slab.brain)
            np.maximum(area, slab.blob(region.centre, region.radii, irregular_mm=2.0, edge_mm=2.0), out=area)
        area = area * slab.brain
        slab.blend(hu, area * nodules(slab, clots, irregular_mm=1.0, edge_mm=1.5))
        return np.asarray(area, dtype=np.float32)

    head.add(KEY, paint, order=23)


def _clot(rng: np.random.Generator, region: Region) -> tuple[Point, Point]:
    """Draw one of the spots of blood that make up a contusion."""
    size = min(region.radii)
    radius = float(rng.uniform(0.22, 0.5)) * size
    return around(rng, region.centre, 0.6 * size), (radius, radius * float(rng.uniform(0.8, 1.6)), radius)


PAINTER = Painter(KEY, 0.06, _plan, hu=(20, 66), replaces_hu=(22, 42))
