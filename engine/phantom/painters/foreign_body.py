"""Things that do not belong there: fragments of metal in scalp, bone or brain, or glass in the scalp."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, Metal, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage
from engine.phantom.tissue import Slab

KEY = "foreign_body"


def _plan(head: Head, rng: np.random.Generator) -> None:
    direction = (any_side(rng) * 1.0, float(rng.uniform(-1.3, 1.3)), float(rng.uniform(0.0, 0.9)))
    metal = rng.random() < 0.65
    deepest = float(rng.uniform(-3, 45)) if metal else -head.skull_mm - 2
    pieces: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(1, 6))):
        aim = tuple(float(value + rng.uniform(-0.12, 0.12)) for value in direction)
        depth = float(rng.uniform(-head.skull_mm - 3, deepest))
        long, thin = float(rng.uniform(2.5, 6.0)), float(rng.uniform(1.4, 2.6))
        pieces.append((vault_point(head, (aim[0], aim[1], aim[2]), depth), (thin, long, float(rng.uniform(1.5, 3)))))
    hu = 5500.0 if metal else float(rng.uniform(700, 1700))
    if metal:
        head.metals.append(Metal(pieces[0][0], float(rng.uniform(40, 110))))

    def paint(slab: Slab) -> Real:
        body = nodules(slab, pieces, irregular_mm=0.5, edge_mm=0.8) * coverage(slab.field("skin") + 1, 1.0)
        slab.blend(hu, body)
        return np.asarray(body, dtype=np.float32)

    head.add(KEY, paint, order=67)


PAINTER = Painter(KEY, 0.06, _plan, hu=(250, 3071), replaces_hu=(-130, 1300))
