"""One or a few grains of calcium in cortex or white matter, without oedema."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "parenchymal_calcification"


def _plan(head: Head, rng: np.random.Generator) -> None:
    grains: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(1, 5))):
        direction = (any_side(rng) * 1.0, float(rng.uniform(-1.6, 1.6)), float(rng.uniform(0.1, 1.5)))
        radius = float(rng.uniform(2.0, 4.5))
        grains.append((vault_point(head, direction, float(rng.uniform(7, 26))), (radius,) * 3))
    hu = float(rng.uniform(150, 420))

    def paint(slab: Slab) -> Real:
        calcium = nodules(slab, grains, irregular_mm=0.6) * slab.brain
        slab.blend(hu * (1 + 0.15 * slab.field("rough")), calcium)
        return np.asarray(calcium, dtype=np.float32)

    head.add(KEY, paint, order=24)


PAINTER = Painter(KEY, 0.06, _plan, hu=(70, 420), replaces_hu=(20, 42))
