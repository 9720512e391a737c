"""Air inside the skull: a pocket under the frontal bone, where it rises to, and some bubbles."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import AIR_HU, Slab

KEY = "pneumocephalus"


def add_air(head: Head, rng: np.random.Generator) -> None:
    """Take up air inside the skull where there is none yet."""
    if head.has(KEY):
        return
    side = any_side(rng)
    front = vault_point(head, (side * float(rng.uniform(0.15, 0.5)), -1.0, float(rng.uniform(0.1, 0.5))), 2.0)
    size = float(rng.uniform(5, 15))
    bubbles: list[tuple[Point, Point]] = [(front, (size, 0.45 * size + 1.5, size))]
    for _ in range(int(rng.integers(1, 6))):
        direction = (side * float(rng.uniform(0.05, 1)), -1.0, float(rng.uniform(0, 0.8)))
        radius = float(rng.uniform(1.5, 4))
        bubbles.append((vault_point(head, direction, float(rng.uniform(2, 10))), (radius, radius, radius)))

    def paint(slab: Slab) -> Real:
        air = slab.nothing()
        for centre, radii in bubbles:
            air = np.maximum(air, slab.blob(centre, radii, irregular_mm=0.5, edge_mm=0.9))
        air = air * slab.cavity
        slab.blend(AIR_HU, air)
        return air

    head.add(KEY, paint, order=60)


PAINTER = Painter(KEY, 0.05, add_air, hu=(-1024, -450), replaces_hu=(15, 60), planned=4)
